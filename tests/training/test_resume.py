"""A run that was killed ends as one that was not. The kills are real: see killed_runs.py."""

import csv
import json
from dataclasses import replace

import pytest
import torch

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.training.checkpoint import _check_settings
from medimg_baseline_cls.training.fit import _identify

POINTS = [
    *("head_first", "head_middle", "tune_first", "tune_middle", "last_of_head"),
    *("best_of_head", "best_of_tune", "between", "before_history"),
]


@pytest.fixture(scope="module")
def folder(run_script):
    return run_script("killed_runs.py")


def load(path):
    return torch.load(path, weights_only=True)


def assert_same(found, expected, where=""):
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype and torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, f"{where}[{number}]")
    else:
        assert found == expected, where


def test_every_run_was_killed_and_then_ended(folder):
    codes = json.loads((folder / "codes.json").read_text())
    assert codes == {"whole": [0], **{point: [-9, 0] for point in POINTS}}


def test_the_kills_at_a_best_hit_the_epoch_that_stays_the_best(folder):
    epochs = [load(folder / "whole" / name)["epoch"] for name in ("best_head.pt", "best.pt")]
    assert epochs == [3, 3]


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_ends_bit_for_bit_as_one_that_was_not(folder, point):
    whole, killed = folder / "whole", folder / point
    assert (killed / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()
    for name in ("best.pt", "best_head.pt", "last.pt"):
        assert_same(load(killed / name), load(whole / name), name)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_has_one_time_for_each_epoch(folder, point):
    def epochs_of(name):
        with (folder / point / name).open() as file:
            return [(row["stage"], row["epoch"]) for row in csv.DictReader(file)]

    assert epochs_of("timings.csv") == epochs_of("history.csv")


@pytest.mark.parametrize("point", POINTS)
def test_no_half_written_file_stays(folder, point):
    expected = {"best.pt", "best_head.pt", "last.pt", "history.csv", "timings.csv"}
    assert {path.name for path in (folder / point).iterdir()} == expected


def test_resuming_a_finished_run_changes_nothing(toy, tmp_path):
    first, model = toy.train_toy(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != "timings.csv"}
    again, twin = toy.train_toy(tmp_path, model=toy.build_toy(seed=5), resume=True)
    assert again == first
    assert_same(twin.net.state_dict(), model.net.state_dict())
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_resuming_at_the_best_epoch_of_an_average_keeps_the_bytes(toy, tmp_path):
    settings = toy.make_settings(ema_decay=0.9)
    result, _ = toy.train_toy(tmp_path / "whole", settings=settings)
    assert (result.best_stage, result.best_epoch) == ("finetune", 3)  # the last one: written again
    expected = {n: (tmp_path / "whole" / n).read_bytes() for n in ("best.pt", "last.pt")}
    toy.train_toy(tmp_path / "whole", settings=settings, resume=True)
    stopped = toy.make_data()
    calls = iter(range(1000))
    stopped.train.on_batch = lambda: 1 / (next(calls) != 23)  # fails in the middle of an epoch
    with pytest.raises(ZeroDivisionError):
        toy.train_toy(tmp_path / "stopped", settings=settings, data=stopped)
    toy.train_toy(tmp_path / "stopped", settings=settings, resume=True)
    for name, content in expected.items():
        assert (tmp_path / "whole" / name).read_bytes() == content
    assert (tmp_path / "stopped" / "best.pt").read_bytes() == expected["best.pt"]


def test_a_run_without_a_finished_epoch_starts_at_the_first(toy, tmp_path):
    whole, _ = toy.train_toy(tmp_path / "whole")
    (tmp_path / "resumed").mkdir()
    resumed, _ = toy.train_toy(tmp_path / "resumed", resume=True)
    assert resumed == whole
    names = ("history.csv", "best.pt")
    for name in names:
        found = (tmp_path / "resumed" / name).read_bytes()
        assert found == (tmp_path / "whole" / name).read_bytes()


def test_a_run_that_lost_its_last_checkpoint_is_no_fresh_start(toy, tmp_path):
    toy.train_toy(tmp_path)
    (tmp_path / "last.pt").unlink()
    with pytest.raises(TrainingError, match=r"last\.pt is missing"):
        toy.train_toy(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 8}, "seed was 7 and is 8"),
        ({"weight_decay": 0.5}, "weight_decay was 0.01 and is 0.5"),
        ({"finetune_epochs": 9}, "finetune_epochs was 3 and is 9"),
        ({"head_epochs": 1}, "head_epochs was 3 and is 1"),
        ({"stage": {"batchnorm": "frozen"}}, "batchnorm was 'train' and is 'frozen'"),
        ({"stage": {"frozen_stem": True}}, "frozen_stem was False and is True"),
        ({"stage": {"backbone_lr": 0.5}}, "finetune_lr was 0.01 and is 0.5"),
        ({"inputs": {"augment": "light"}}, "augment was 'standard' and is 'light'"),
        ({"inputs": {}}, "augment was 'standard' and is None"),
    ],
)
def test_other_settings_are_refused_by_the_name_that_users_know(toy, tmp_path, changes, named):
    inputs = {"inputs": {"augment": "standard"}}
    toy.train_toy(tmp_path, settings=toy.make_settings(**inputs))
    settings = toy.make_settings(**(inputs | changes))
    with pytest.raises(TrainingError) as caught:
        toy.train_toy(tmp_path, settings=settings, resume=True)
    assert f"may change), but {named}: restore" in str(caught.value)


def test_a_head_that_is_to_be_solved_instead_of_learned_is_refused_by_that_name(toy, tmp_path):
    settings = toy.make_settings()
    toy.train_toy(tmp_path, settings=settings)
    head = replace(settings.stages[0], fit="logistic", epochs=1)
    solved = replace(settings, stages=(head, settings.stages[1]))
    with pytest.raises(TrainingError, match=r"but head_fit was 'adamw' and is 'logistic': restore"):
        toy.train_toy(tmp_path, settings=solved, resume=True)


@pytest.mark.parametrize("is_stressed_first", [False, True])
def test_another_choice_of_the_best_epoch_is_refused_by_name(toy, tmp_path, is_stressed_first):
    plain, stressed = toy.make_data(), replace(toy.make_data(), stresses=(torch.flip,))
    first, then = (stressed, plain) if is_stressed_first else (plain, stressed)
    old, new = (_identify(data, toy.make_settings()) for data in (first, then))
    words = ["stressed_val", "val_ap"] if is_stressed_first else ["val_ap", "stressed_val"]
    with pytest.raises(TrainingError, match="but select was '{}' and is '{}': r".format(*words)):
        _check_settings(old, new)


def test_a_checkpoint_of_an_earlier_version_can_be_resumed(toy, tmp_path):
    result, _ = toy.train_toy(tmp_path)
    content = load(tmp_path / "last.pt")
    del content["settings"]["inputs"]  # as earlier versions wrote it
    for stage in content["settings"]["stages"]:
        del stage["frozen_stem"], stage["fit"]
    torch.save(content, tmp_path / "last.pt")
    settings = toy.make_settings(inputs={"augment": "standard"})
    again, _ = toy.train_toy(tmp_path, settings=settings, resume=True)
    assert again == result


def test_the_settings_of_a_checkpoint_may_be_of_something_else(toy):
    new = _identify(toy.make_data(), toy.make_settings())
    for old in ({}, {"stages": []}, {"stages": [{}]}):
        with pytest.raises(TrainingError, match="seed was None and is 7"):
            _check_settings(old, new)


def test_other_images_are_refused(toy, tmp_path):
    toy.train_toy(tmp_path)
    with pytest.raises(TrainingError, match="num_train was 40 and is 48"):
        toy.train_toy(tmp_path, data=toy.make_data(num_train=48), resume=True)


def test_patience_may_change_without_reopening_a_stage_that_is_over(toy, tmp_path):
    settings = {"head_epochs": 6, "finetune_epochs": 1}
    impatient = toy.make_settings(**settings, patience=1)
    first, _ = toy.train_toy(tmp_path, settings=impatient)
    assert first.stopped_early
    again, _ = toy.train_toy(tmp_path, settings=toy.make_settings(**settings), resume=True)
    assert again == first
