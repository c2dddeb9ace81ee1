"""A run of a network of the user's own: every command takes it again, and says so without it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.pipeline.conftest import Stopper
from torch import nn

from medimg_baseline_cls import evaluate, explain, predict, resume, run, train
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, ModelError, RunInterrupted
from medimg_baseline_cls.utils.files import read_csv

ConfigMaker = Callable[..., Config]
# The default network: any other one would contradict `model`.
SHORT = {"arch": "resnet18", "finetune_epochs": 1, "num_resamples": 50, "horizontal_flip": False}


class OwnNet(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(3, 6, 7, stride=4, padding=3)
            self.norm = nn.BatchNorm2d(6)
            self.body = nn.Conv2d(6, 8, 3, stride=2, padding=1)
            self.fc = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(torch.relu(self.norm(self.stem(x))))
        return self.fc(torch.relu(x).mean(dim=(2, 3)))


class OtherNet(OwnNet):
    pass


@pytest.fixture(scope="module")
def own_run(
    phantoms: Path, tmp_path_factory: pytest.TempPathFactory, make_config: ConfigMaker
) -> Path:
    outputs = tmp_path_factory.mktemp("own")
    return run(make_config(phantoms, outputs, **SHORT), model=OwnNet()).run_dir


def test_the_run_records_the_class_and_completes(own_run: Path) -> None:
    config = json.loads((own_run / "config.json").read_text())
    assert config["arch"] == "module:OwnNet"
    assert config["provenance"]["weights"]["source"] == "OwnNet"
    assert (own_run / "report.html").is_file() and (own_run / "test_summary.json").is_file()


def test_all_layers_are_trained_as_some_may_be_random(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    config = make_config(phantoms, tmp_path, **SHORT, pretrained=True, batchnorm="train")
    run_dir = train(config, model=OwnNet()).run_dir
    found = torch.load(run_dir / "last.pt", weights_only=True)["model"]
    assert not torch.equal(found["stem.weight"], OwnNet().stem.weight)


def test_best_weights_load_into_the_plain_module(own_run: Path) -> None:
    module = OwnNet(seed=1)
    module.load_state_dict(torch.load(own_run / "best.pt", weights_only=True)["model"])


def test_predict_gives_the_probabilities_of_the_evaluation(
    own_run: Path, phantoms: Path, tmp_path: Path
) -> None:
    rows = read_csv(own_run / "predictions_test.csv")[:2]
    files = [phantoms / row["path"] for row in rows]
    predict(own_run, files, output=tmp_path / "p.csv", model=OwnNet(seed=2))
    found = [float(row["prob_PNEUMONIA"]) for row in read_csv(tmp_path / "p.csv")]
    np.testing.assert_array_equal(found, [float(row["prob_PNEUMONIA"]) for row in rows])


@pytest.mark.parametrize("command", [evaluate, explain, predict])
def test_a_command_without_the_network_says_so(
    own_run: Path, phantoms: Path, command: Callable[..., object]
) -> None:
    more = [[phantoms / "test"]] if command is predict else []
    with pytest.raises(ModelError, match="OwnNet is a network that was passed from Python"):
        command(own_run, *more)


def test_the_command_line_names_the_python_call(
    own_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(own_run)]) == 2
    assert "as in evaluate(run, model=OwnNet())" in capsys.readouterr().err


def test_another_class_is_refused(own_run: Path) -> None:
    with pytest.raises(ModelError, match=r"best\.pt is of module:OwnNet, not of module:OtherNet"):
        explain(own_run, model=OtherNet())


def test_an_interrupted_run_resumes_with_the_network_to_the_same_weights(
    own_run: Path, phantoms: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    stopper = Stopper()
    with pytest.raises(RunInterrupted):
        train(make_config(phantoms, tmp_path, **SHORT), model=OwnNet(), callbacks=[stopper])
    assert (stopper.run_dir / "figures" / "training.png").is_file()
    with pytest.raises(ModelError, match="is a network that was passed from Python"):
        resume(stopper.run_dir)
    with pytest.raises(ModelError, match="trains module:OwnNet, not module:OtherNet"):
        resume(stopper.run_dir, model=OtherNet())
    resume(stopper.run_dir, model=OwnNet(seed=5))
    best = [
        torch.load(f / "best.pt", weights_only=True)["model"] for f in (own_run, stopper.run_dir)
    ]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arch": "resnet34"}, "arch=resnet34 and model=module:OwnNet are two networks"),
        ({"weights": Path("w.pth"), "pretrained": True}, r"weights=w\.pth would not be used"),
        (
            {"pretrained": True},
            "no image has moved the BatchNorm statistics of model=module:OwnNet",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_contradict_the_network_are_refused(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker, changes: dict[str, object], words: str
) -> None:
    with pytest.raises((ConfigError, ModelError), match=words):
        train(make_config(phantoms, tmp_path, **{**SHORT, **changes}), model=OwnNet())
    assert not (tmp_path / "runs").exists()
