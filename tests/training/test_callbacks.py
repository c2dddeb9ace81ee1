import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from medimg_baseline_cls import Callback
from medimg_baseline_cls.errors import ConfigError, TrainingError
from medimg_baseline_cls.training.callbacks import GuardedCallback, require_callbacks
from medimg_baseline_cls.utils.files import read_csv
from medimg_baseline_cls.utils.log import open_log


class Recorder(Callback):
    """Notes what it is told, and which files were there by then."""

    def __init__(self):
        self.told = []

    def on_start(self, run_dir):
        self.run_dir = run_dir
        self.told.append(("start", run_dir))

    def on_epoch(self, row):
        assert len(read_csv(self.run_dir / "history.csv")) == self.count("epoch") + 1
        self.told.append(("epoch", row))

    def on_best(self, row):
        best = torch.load(self.run_dir / "best.pt", weights_only=True)
        assert (best["stage"], best["epoch"]) == (row.stage, row.epoch)
        self.told.append(("best", row))

    def on_end(self, result):
        self.told.append(("end", result))

    def count(self, what):
        return sum(kind == what for kind, _ in self.told)


class Meddler(Callback):
    """Draws and seeds global random numbers at every turn."""

    def meddle(self, *_):
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(0)
        torch.rand(7), np.random.rand(7), random.random()

    on_start = on_epoch = on_best = on_end = meddle


def make_data(toy, *callbacks):
    return replace(toy.make_data(), callbacks=callbacks)


def test_each_epoch_is_told_once_and_the_best_after_it(toy, tmp_path):
    recorder = Recorder()
    result, _ = toy.train_toy(tmp_path, data=make_data(toy, recorder))
    kinds = [kind for kind, _ in recorder.told]
    assert recorder.told[0] == ("start", tmp_path) and recorder.told[-1] == ("end", result)
    rows = [row for kind, row in recorder.told if kind == "epoch"]
    assert [(row.stage, row.epoch) for row in rows] == [
        (stage, epoch) for stage in ("head", "finetune") for epoch in (1, 2, 3)
    ]
    bests = [row for kind, row in recorder.told if kind == "best"]
    assert (bests[-1].stage, bests[-1].epoch) == (result.best_stage, result.best_epoch)
    for number, kind in enumerate(kinds):
        if kind == "best":
            assert recorder.told[number - 1] == ("epoch", recorder.told[number][1])


def test_weights_are_bit_identical_with_and_without_callbacks(toy, tmp_path):
    toy.train_toy(tmp_path / "without")
    toy.train_toy(tmp_path / "with", data=make_data(toy, Meddler(), Recorder()))
    for name in ("best.pt", "best_head.pt", "last.pt", "history.csv"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_a_resumed_training_starts_again_and_tells_of_the_rest(toy, tmp_path):
    class Failing(Callback):
        def on_epoch(self, row):
            if (row.stage, row.epoch) == ("finetune", 1):
                raise OSError("disk full")

    first, second = Recorder(), Recorder()
    with pytest.raises(OSError, match="disk full"):
        toy.train_toy(tmp_path, data=make_data(toy, first, Failing()))
    assert first.told[-1] == ("end", None)
    second.told = [("epoch", None)] * 4
    result, _ = toy.train_toy(tmp_path, data=make_data(toy, second), resume=True)
    rest = second.told[4:]
    assert [kind for kind, _ in rest if kind != "best"] == ["start", "epoch", "epoch", "end"]
    assert rest[-1] == ("end", result)


def test_a_failed_training_ends_with_none_and_its_own_error(toy, tmp_path):
    class Loud(Recorder):
        def on_end(self, result):
            super().on_end(result)
            raise ValueError("not the cause")

    loud, quiet = Loud(), Recorder()
    data = replace(make_data(toy, loud, quiet), augment=lambda pixels, *_: pixels * float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        toy.train_toy(tmp_path, data=data, settings=toy.make_settings(head_epochs=0))
    assert loud.told[-1] == quiet.told[-1] == ("end", None)


@pytest.mark.parametrize("method", ["on_start", "on_epoch", "on_best", "on_end"])
def test_an_error_of_a_guarded_callback_is_one_warning(toy, tmp_path, method):
    calls = []

    class Broken(Callback):
        pass

    def fail(self, argument):
        calls.append(argument)
        raise ConnectionError("no server\n at 127.0.0.1")

    setattr(Broken, method, fail)
    log, recorder = open_log(tmp_path / "log.txt"), Recorder()
    guarded = GuardedCallback(Broken(), log)
    result, _ = toy.train_toy(tmp_path / "run", data=make_data(toy, guarded, recorder))
    assert recorder.told[-1] == ("end", result)
    warnings = [line for line in (tmp_path / "log.txt").read_text().splitlines() if "warn" in line]
    (warning,) = warnings
    assert f"Broken failed in {method} (ConnectionError: no server at 127.0.0.1)" in warning
    assert len(calls) == 1


@pytest.mark.parametrize("wrong", [print, Recorder, "wandb"])
def test_what_is_not_a_callback_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"callbacks=.*: expected instances of subclasses"):
        require_callbacks([Recorder(), wrong])


@pytest.mark.parametrize("wrong", [Recorder(), None, print])
def test_callbacks_that_are_not_in_a_list_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"callbacks=.*: expected a list, such as callbacks=\["):
        require_callbacks(wrong)
