"""The training command: what the settings do to it, and what the folder says afterwards."""

import csv
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from medimg_baseline_cls import check, report, resume, train
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, DataError, ModelError, WeightsError
from medimg_baseline_cls.models import build
from medimg_baseline_cls.utils.runs import read_status, write_status

ConfigMaker = Callable[..., Config]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with 1000 classes, as a hub would give them."""
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(5)
        save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def read_history(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "history.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_model(run_dir: Path, name: str = "best.pt") -> dict[str, torch.Tensor]:
    return torch.load(run_dir / name, weights_only=True)["model"]


def test_unknown_architecture_is_refused_before_any_image_is_read(
    tmp_path: Path, make_config: ConfigMaker
) -> None:
    config = make_config(tmp_path / "no data at all", tmp_path, arch="resnet19")
    with pytest.raises(ModelError, match=r"resnet19.*resnet18"):
        train(config)
    assert not (tmp_path / "runs").exists()


def test_best_checkpoint_loads_into_plain_timm(
    finished_run: Path,
) -> None:
    network = timm.create_model("test_resnet", num_classes=2)
    network.load_state_dict(read_model(finished_run), strict=True)


def test_head_stage_leaves_the_backbone_as_the_file_has_it(
    weights: Path, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    config = make_config(phantoms, tmp_path, pretrained=True, weights=weights)
    run_dir = train(config).run_dir
    network = timm.create_model("test_resnet")
    from safetensors.torch import load_file

    network.load_state_dict(load_file(weights))
    backbone = {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}
    head_only = read_model(run_dir, "best_head.pt")
    assert all(torch.equal(head_only[key], value) for key, value in backbone.items())
    final = read_model(run_dir, "last.pt")
    changed = {key for key, value in backbone.items() if not torch.equal(final[key], value)}
    assert "layer4.0.conv1.weight" in changed
    # The first pretrained layers stay as they are in fine-tuning too.
    assert not {key for key in changed if key.startswith(("conv1", "bn1", "layer1"))}


def test_pretrained_batchnorm_statistics_are_kept_unless_told(
    weights: Path, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    changes = {"pretrained": True, "weights": weights, "head_epochs": 0, "finetune_epochs": 1}
    changes["frozen_stem"] = False
    kept = train(make_config(phantoms, tmp_path, **changes)).run_dir
    moved = train(make_config(phantoms, tmp_path, **changes, batchnorm="train")).run_dir
    network = timm.create_model("test_resnet").state_dict()
    name = "layer1.0.bn1.running_mean"
    assert torch.equal(read_model(kept, "last.pt")[name], network[name])
    assert not torch.equal(read_model(moved, "last.pt")[name], network[name])


def test_source_of_the_weights_is_written_down(
    weights: Path, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    import hashlib

    config = make_config(phantoms, tmp_path, pretrained=True, weights=weights, finetune_epochs=0)
    run_dir = train(config).run_dir
    settings = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    report = settings["provenance"]["weights"]
    assert report["kind"] == "file"
    assert report["source"] == "resnet.safetensors"
    assert report["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_a_run_without_an_epoch_resumes_only_from_the_weights_it_began_with(
    weights: Path, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    own = tmp_path / "own.safetensors"
    own.write_bytes(weights.read_bytes())
    config = make_config(phantoms, tmp_path, pretrained=True, weights=own, finetune_epochs=0)
    run_dir = train(config).run_dir
    for name in ("last.pt", "best.pt", "best_head.pt", "history.csv", "timings.csv"):
        (run_dir / name).unlink()
    write_status(run_dir, "interrupted")
    save_file({k: v + 1 for k, v in load_file(weights).items()}, own)
    with pytest.raises(ModelError, match=r"its weights, own\.safetensors, have changed"):
        resume(run_dir)
    own.write_bytes(weights.read_bytes())
    assert resume(run_dir).run_dir == run_dir


def test_weights_that_do_not_fit_are_refused(
    weights: Path, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    config = make_config(phantoms, tmp_path, arch="resnet34", pretrained=True, weights=weights)
    with pytest.raises(WeightsError, match="layer"):
        train(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_dir": "nowhere"}, "nowhere"),
        ({"class_names": ("NORMAL", "TB")}, "TB"),
        ({"positive_class": "TB"}, "TB"),
    ],
    ids=str,
)
def test_what_names_alone_tell_is_said_before_the_weights_are_looked_for(
    phantoms: Path,
    tmp_path: Path,
    make_config: ConfigMaker,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    words: str,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = {"data_dir": phantoms, "output_dir": tmp_path, "pretrained": True}
    with pytest.raises((ConfigError, DataError), match=words):
        train(make_config(**{**place, **changes}))


def test_an_early_interruption_leaves_no_folder_and_says_so(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    room = import_module("medimg_baseline_cls.pipeline.commands.train")
    monkeypatch.setattr(room, "prepare_data", interrupt)
    with pytest.raises(KeyboardInterrupt, match="nothing was begun; start the command again"):
        train(make_config(phantoms, tmp_path))
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cam_layer": "layer9"}, "cam_layer 'layer9' does not exist"),
        ({"pretrained": True}, "the hub cannot be reached"),
        ({"pretrained": True, "weights": "text"}, "cannot be read as weights: it is neither"),
        ({"pretrained": True, "weights": "folder"}, "cannot be read as weights: it is a folder"),
        ({"pretrained": True, "weights": "other"}, "does not fit ResNet: pass --arch"),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", [train, check])
def test_a_network_that_cannot_be_had_is_refused_before_any_image_is_decoded(
    command: Callable[..., object],
    changes: dict[str, object],
    words: str,
    weights: Path,
    phantoms: Path,
    tmp_path: Path,
    make_config: ConfigMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise WeightsError("the hub cannot be reached")

    (tmp_path / "w.pth").write_text("hello")
    files = {"text": tmp_path / "w.pth", "folder": tmp_path, "other": weights}
    if "weights" in changes:
        changes = {**changes, "weights": files[str(changes["weights"])]}
    monkeypatch.setattr(build, "load_hub_weights", refuse)
    for name in ("steps.prepare", "commands.check"):
        module = import_module(f"medimg_baseline_cls.pipeline.{name}")
        monkeypatch.setattr(module, "build_cache", None)  # a call of it would be a TypeError
    arch = "resnet34" if "weights" in changes else "resnet18"
    config = make_config(phantoms, tmp_path / "out", arch=arch, **changes)
    more = {"label_noise": True} if command is check else {}
    with pytest.raises(ModelError, match=words):
        command(config, **more)
    assert not list(tmp_path.glob("out/*/*/*"))


def test_a_missing_data_folder_is_said_before_missing_weights(
    tmp_path: Path, make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "load_hub_weights", None)
    with pytest.raises(DataError, match="no data at all"):
        train(make_config(tmp_path / "no data at all", tmp_path, pretrained=True))


def test_weights_that_were_matched_by_order_are_told(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    net = timm.create_model("test_resnet", num_classes=0)
    body = torch.nn.Sequential(*list(net.children())[:-1])
    state = {f"backbone.{key}": value for key, value in body.state_dict().items()}
    torch.save(state, tmp_path / "rad.pt")
    changes = {"pretrained": True, "weights": tmp_path / "rad.pt", "finetune_epochs": 0}
    run_dir = train(make_config(phantoms, tmp_path, arch="test_resnet", **changes)).run_dir
    settings = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    renamed = settings["provenance"]["weights"]["renamed"]
    assert renamed.endswith("by their order, such as backbone.0.0.weight as conv1.0.weight")
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"from file rad.pt (tensors matched {renamed})" in said
    report(run_dir)
    assert renamed in (run_dir / "report.html").read_text(encoding="utf-8")
    found = read_model(run_dir)
    own = {k: v for k, v in net.state_dict().items() if not k.startswith("fc.")}
    assert all(torch.equal(found[key], value) for key, value in own.items())


@pytest.mark.parametrize("stage", ["head", "finetune"])
def test_either_stage_may_be_left_out(
    stage: str, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    epochs = {"head_epochs": 0, "finetune_epochs": 0, f"{stage}_epochs": 1}
    run_dir = train(make_config(phantoms, tmp_path, **epochs)).run_dir
    assert [row["stage"] for row in read_history(run_dir)] == [stage]
    assert (run_dir / "best_head.pt").exists() == (stage == "head")


@pytest.mark.parametrize("imbalance", ["class_weights", "balanced_sampler", "focal"])
def test_imbalance_settings_change_the_training(
    imbalance: str, finished_run: Path, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    run_dir = train(make_config(phantoms, tmp_path, imbalance=imbalance)).run_dir
    assert len(read_history(run_dir)) == 3
    assert read_history(run_dir) != read_history(finished_run)


@pytest.mark.parametrize(
    "change", [{"augment": "none"}, {"augment": "light"}, {"horizontal_flip": True}], ids=str
)
def test_augmentation_settings_change_the_training(
    change: dict[str, object],
    finished_run: Path,
    phantoms: Path,
    tmp_path: Path,
    make_config: ConfigMaker,
) -> None:
    run_dir = train(make_config(phantoms, tmp_path, head_epochs=0, **change)).run_dir
    losses = [row["train_loss"] for row in read_history(run_dir)]
    assert losses != [row["train_loss"] for row in read_history(finished_run)[1:]]


def test_patience_stops_and_says_so(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    # A rate this small moves nothing, so no epoch is better than the first.
    config = make_config(
        phantoms, tmp_path, head_epochs=0, finetune_epochs=6, finetune_lr=1e-12, head_lr=1e-12,
        batchnorm="frozen", patience=2,
    )  # fmt: skip
    run_dir = train(config).run_dir
    assert len(read_history(run_dir)) < 6
    assert "no improvement for" in (run_dir / "log.txt").read_text(encoding="utf-8")


def test_average_of_the_weights_is_what_is_kept(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    config = make_config(phantoms, tmp_path, head_epochs=0, ema_decay=0.9)
    run_dir = train(config).run_dir
    best, last = read_model(run_dir), read_model(run_dir, "last.pt")
    assert not torch.equal(best["conv1.0.weight"], last["conv1.0.weight"])


def test_log_says_what_is_trained_on_what(finished_run: Path) -> None:
    text = (finished_run / "log.txt").read_text(encoding="utf-8")
    for words in ("test_resnet", "random weights", "CPU", "PNEUMONIA", "val AP", str(finished_run)):
        assert words in text, words
    assert "\x1b[" not in text


def test_run_is_marked_as_trained_and_latest(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    run_dir = train(make_config(phantoms, tmp_path, head_epochs=0, finetune_epochs=1)).run_dir
    assert read_status(run_dir) == "trained"
    assert (tmp_path / "runs" / "latest").resolve() == run_dir.resolve()


def test_first_batch_is_drawn_large_enough_to_look_at(finished_run: Path) -> None:
    with Image.open(finished_run / "figures" / "train_batch.png") as image:
        assert min(image.size) >= 600


def test_environment_names_no_user_and_no_host(finished_run: Path) -> None:
    import getpass
    import socket

    report = json.loads((finished_run / "env_report.json").read_text(encoding="utf-8"))
    text = json.dumps(report["command"])
    assert socket.gethostname() not in text
    assert f"/{getpass.getuser()}/" not in text
    assert {"python", "packages"} <= set(report)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["monai:DenseNet121", "convnext_atto", "vit_tiny_patch16_224"])
def test_other_families_go_all_the_way(
    arch: str, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    from medimg_baseline_cls import run

    config = make_config(phantoms, tmp_path, arch=arch, head_epochs=0, finetune_epochs=1, limit=48)
    run_dir = run(config).run_dir
    assert (run_dir / "report.html").is_file()
