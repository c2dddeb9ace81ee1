from dataclasses import replace

import pytest
import torch

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.training.checkpoint import copy_weights, read_best, write_best
from medimg_baseline_cls.training.history import EpochRow

ROW = EpochRow(
    stage="head", epoch=2, lr=0.1, train_loss=0.5, val_loss=0.25, val_ap=0.75, val_auroc=None
)


def test_best_holds_the_given_weights_and_says_what_they_are(toy, tmp_path):
    model = toy.build_toy()
    weights = {name: tensor + 1 for name, tensor in copy_weights(model.net).items()}
    header = {"class_names": ["A", "B"], "pixels": {"image_size": 8}}
    write_best(tmp_path / "best.pt", model, weights=weights, row=ROW, header=header)
    content = torch.load(tmp_path / "best.pt", weights_only=True)
    assert content["description"]["arch"] == "toy"
    assert content["class_names"] == ["A", "B"] and content["format"] == 1
    found = {name: content[name] for name in ("stage", "epoch", "val_ap", "val_loss")}
    assert found == {"stage": "head", "epoch": 2, "val_ap": 0.75, "val_loss": 0.25}
    assert content["model"].keys() == model.net.state_dict().keys()
    assert all(torch.equal(content["model"][name], weights[name]) for name in weights)


def test_equal_contents_are_equal_bytes_wherever_their_texts_are_from(toy, tmp_path):
    model, weights = toy.build_toy(), copy_weights(toy.build_toy().net)
    name = "sick sick"
    twin = " ".join(["sick", "sick"])  # as read from a file: equal, but another object
    assert twin == name and twin is not name
    written = []
    for second in (name, twin):
        header = {"class_names": ["healthy", name], "positive_class": second}
        write_best(tmp_path / "best.pt", model, weights=weights, row=ROW, header=header)
        written.append((tmp_path / "best.pt").read_bytes())
    assert written[0] == written[1]


def test_a_copy_of_the_weights_does_not_follow_them(toy):
    model = toy.build_toy().to(memory_format=torch.channels_last)
    weights = copy_weights(model.net)
    before = {name: tensor.clone() for name, tensor in weights.items()}
    with torch.no_grad():
        for tensor in model.net.state_dict().values():
            tensor += 1
    assert all(torch.equal(weights[name], before[name]) for name in before)
    assert all(tensor.is_contiguous() for tensor in weights.values())


def test_a_failing_write_leaves_the_old_file(toy, tmp_path):
    model, path = toy.build_toy(), tmp_path / "best.pt"
    write_best(path, model, weights={}, row=ROW, header={})
    before = path.read_bytes()
    with pytest.raises(Exception, match=r"pickle|local"):
        write_best(path, model, weights={}, row=ROW, header={"bad": lambda: None})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["best.pt"]


def test_what_is_not_a_checkpoint_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    with pytest.raises(TrainingError, match="is missing"):
        read_best(path, row=None)
    for garbage in (b"", b"not a zip file", b"PK\x03\x04 cut"):
        path.write_bytes(garbage)
        with pytest.raises(TrainingError, match="not a readable checkpoint"):
            read_best(path, row=None)
    for content in ([1, 2], {"format": torch.ones(3)}, {"epoch": 1}, torch.ones(2)):
        torch.save(content, path)
        with pytest.raises(TrainingError, match="not a checkpoint of this program"):
            read_best(path, row=None)
    torch.save({"format": 99}, path)
    with pytest.raises(TrainingError, match="has format 99, but this version reads 1"):
        read_best(path, row=None)


def test_a_checkpoint_with_code_in_it_is_refused_without_torchs_advice(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"format": 1, "model": torch.nn.Linear(1, 1)}, path)
    with pytest.raises(TrainingError, match="not a readable checkpoint: .*Python objects") as found:
        read_best(path, row=None)
    assert "weights_only" not in str(found.value)


def test_a_cut_file_is_refused(toy, tmp_path):
    path = tmp_path / "best.pt"
    model = toy.build_toy()
    write_best(path, model, weights=copy_weights(model.net), row=ROW, header={})
    whole = path.read_bytes()
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(TrainingError, match="not a readable checkpoint"):
            read_best(path, row=None)


@pytest.mark.parametrize(
    "change", [{"epoch": 1}, {"stage": "finetune"}, {"val_loss": 0.2500001}, {"val_ap": None}]
)
def test_a_checkpoint_of_another_epoch_than_the_best_is_refused(toy, tmp_path, change):
    path, model = tmp_path / "best.pt", toy.build_toy()
    write_best(path, model, weights=copy_weights(model.net), row=ROW, header={})
    assert read_best(path, row=ROW)["epoch"] == 2
    with pytest.raises(TrainingError, match="not of its best epoch.* history.csv has stage"):
        read_best(path, row=replace(ROW, **change))


def test_a_checkpoint_whose_parts_are_not_what_they_must_be_is_refused(toy, tmp_path):
    path, model = tmp_path / "best.pt", toy.build_toy()
    write_best(path, model, weights=copy_weights(model.net), row=ROW, header={})
    content = torch.load(path, weights_only=True)
    for change in ({"model": [1]}, {"model": {"w": 1}}, {"epoch": "2"}, {"description": {}}):
        torch.save({**content, **change}, path)
        with pytest.raises(TrainingError, match="another kind|does not describe its network"):
            read_best(path, row=ROW)
