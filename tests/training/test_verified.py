"""Only the checkpoints of a run are resumed: what is damaged or of another run is refused."""

import re
import shutil

import pytest
import torch

from medimg_baseline_cls.errors import MedimgError, RunError, TrainingError, WeightsError


@pytest.fixture(scope="module")
def folder(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    toy.train_toy(folder)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "run")


def resume(toy, folder):
    return toy.train_toy(folder, model=toy.build_toy(seed=5), resume=True)


def assert_refused(toy, copy, folder, *, name, match):
    """A checkpoint is refused before an epoch is trained; best.pt may be written again instead."""
    if name == "best.pt":
        try:
            resume(toy, copy)
        except TrainingError as error:
            assert re.search(match, str(error))
        else:
            assert (copy / name).read_bytes() == (folder / name).read_bytes()
        return
    before = (copy / "history.csv").read_bytes()
    with pytest.raises(TrainingError, match=match):
        resume(toy, copy)
    assert (copy / "history.csv").read_bytes() == before


def change_tensors(path, change):
    content = torch.load(path, weights_only=True)
    change(content["model"])
    torch.save(content, path)


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_a_flipped_bit_is_refused(toy, copy, folder, name):
    data = bytearray((copy / name).read_bytes())
    weights = torch.load(copy / name, weights_only=True)["model"]["conv1.weight"]
    data[data.index(weights.numpy().tobytes()) + 7] ^= 0x40
    (copy / name).write_bytes(data)
    words = rf"{name} is not a readable checkpoint: it is damaged"
    assert_refused(toy, copy, folder, name=name, match=words)


@pytest.mark.parametrize(("source", "target"), [("best.pt", "last.pt"), ("last.pt", "best.pt")])
def test_one_checkpoint_in_place_of_the_other_is_refused(toy, copy, folder, source, target):
    shutil.copy(copy / source, copy / target)
    words = rf"{target} is a checkpoint of another kind"
    assert_refused(toy, copy, folder, name=target, match=words)


def test_best_head_in_place_of_best_is_refused(toy, copy, folder):
    shutil.copy(copy / "best_head.pt", copy / "best.pt")
    words = "not of this run, or not of its best epoch"
    assert_refused(toy, copy, folder, name="best.pt", match=words)


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_a_checkpoint_of_another_run_is_refused(toy, copy, folder, tmp_path, name):
    toy.train_toy(tmp_path / "other", model=toy.build_toy(seed=3))  # with the same settings
    shutil.copy(tmp_path / "other" / name, copy / name)
    assert_refused(toy, copy, folder, name=name, match=rf"{name} is not of this run")


def test_a_network_of_another_shape_is_named_by_its_tensors(toy, copy):
    with pytest.raises(WeightsError, match=r"last\.pt is not of this TinyNet: .*conv1\.bias"):
        toy.train_toy(copy, model=toy.build_toy(has_norm=False), resume=True)


def test_a_value_that_is_not_finite_is_refused(toy, copy):
    change_tensors(copy / "last.pt", lambda model: model["fc.weight"].fill_(float("nan")))
    with pytest.raises(WeightsError, match=r"last\.pt has values in fc\.weight .* not finite"):
        resume(toy, copy)


def test_an_earlier_last_checkpoint_of_the_same_run_leads_to_the_same_end(toy, folder, tmp_path):
    stopped = toy.make_data()
    calls = iter(range(1000))
    stopped.train.on_batch = lambda: 1 / (next(calls) != 23)  # fails in the middle of an epoch
    with pytest.raises(ZeroDivisionError):
        toy.train_toy(tmp_path, data=stopped)
    earlier = (tmp_path / "last.pt").read_bytes()
    resume(toy, tmp_path)
    (tmp_path / "last.pt").write_bytes(earlier)
    resume(toy, tmp_path)
    for name in ("history.csv", "best.pt", "best_head.pt"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_an_edited_history_is_refused(toy, copy):
    text = (copy / "history.csv").read_text()
    (copy / "history.csv").write_text(text.replace("head,1,", "head,x,"))
    with pytest.raises(RunError, match=r"history\.csv was edited"):
        resume(toy, copy)


def test_a_run_without_history_is_resumed(toy, copy, folder):
    (copy / "history.csv").unlink()
    resume(toy, copy)
    assert (copy / "history.csv").read_bytes() == (folder / "history.csv").read_bytes()


@pytest.mark.parametrize("seed", range(25))
def test_a_random_flipped_bit_is_refused_or_changes_nothing(toy, copy, folder, seed):
    draw = torch.Generator().manual_seed(seed)
    path = copy / "last.pt"
    data = bytearray(path.read_bytes())
    position = int(torch.randint(len(data), (), generator=draw))
    data[position] ^= 1 << int(torch.randint(8, (), generator=draw))
    path.write_bytes(data)
    try:
        resume(toy, copy)
    except MedimgError as error:
        assert "weights_only" not in str(error) and "\n" not in str(error)
        return
    assert (copy / "best.pt").read_bytes() == (folder / "best.pt").read_bytes()
    assert (copy / "history.csv").read_bytes() == (folder / "history.csv").read_bytes()
