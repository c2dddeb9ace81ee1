"""A trial that its sweep gives up stops after an epoch, and can be resumed to its usual end."""

from dataclasses import replace

import pytest

from medimg_baseline_cls.errors import RunInterrupted, RunPruned
from medimg_baseline_cls.training.history import read_history


def stop_at(count):
    """Return what is asked after each epoch, and the number of times that it was."""
    asked = []

    def is_hopeless():
        asked.append(None)
        return len(asked) == count

    return is_hopeless, asked


def train_asking(toy, run_dir, *, count, resume=False, **changes):
    is_hopeless, asked = stop_at(count)
    data = replace(toy.make_data(), is_hopeless=is_hopeless)
    settings = toy.make_settings(**changes)
    try:
        toy.train_toy(run_dir, data=data, settings=settings, resume=resume)
    except RunInterrupted as stop:
        return stop, asked
    return None, asked


@pytest.mark.parametrize(
    ("count", "where"),
    [(1, "stage head after epoch 1"), (3, "stage head after epoch 3"), (5, "finetune after")],
)
def test_it_stops_after_the_epoch_that_is_hopeless(toy, tmp_path, count, where):
    stop, asked = train_asking(toy, tmp_path, count=count)
    assert isinstance(stop, RunPruned)
    assert where in str(stop)
    assert len(asked) == count
    assert len(read_history(tmp_path).rows) == count
    assert (tmp_path / "best.pt").is_file()


def test_it_is_not_asked_after_the_last_epoch(toy, tmp_path):
    """At its end a trial is complete, whatever its value."""
    stop, asked = train_asking(toy, tmp_path, count=6)
    assert stop is None
    assert len(asked) == 5


def test_it_is_not_asked_where_patience_has_ended_the_last_stage(toy, tmp_path):
    stop, asked = train_asking(toy, tmp_path, count=99, patience=1, finetune_epochs=9)
    assert stop is None
    assert len(asked) == len(read_history(tmp_path).rows) - 1


def test_one_that_is_resumed_ends_as_if_it_had_not_been_stopped(toy, tmp_path):
    whole, pruned = tmp_path / "whole", tmp_path / "pruned"
    for folder in (whole, pruned):
        folder.mkdir()
    toy.train_toy(whole, settings=toy.make_settings())
    train_asking(toy, pruned, count=4)
    stop, _ = train_asking(toy, pruned, count=99, resume=True)
    assert stop is None
    for name in ("history.csv", "best.pt", "best_head.pt", "last.pt"):
        assert (pruned / name).read_bytes() == (whole / name).read_bytes()


def test_an_ordinary_run_is_never_asked(toy):
    assert toy.make_data().is_hopeless is None
