"""Trials in Optuna's journal: shared, repeatable, and never the same settings twice."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls.config import Config, parse_space
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.pipeline.steps.study import JOURNAL, Study, quiet_optuna
from medimg_baseline_cls.utils.log import RunLog

WIDE = {"finetune_lr": {"low": 1e-5, "high": 1e-2, "log": True}, "augment": ["none", "light"]}
NARROW = {"batch_size": [8, 16], "imbalance": ["none", "focal"], "patience": {"low": 0, "high": 2}}


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path) -> Iterator[None]:
    with quiet_optuna(RunLog(None, tmp_path / "log.txt")):
        yield


def open_study(folder: Path, space: dict[str, Any] = WIDE, **changes: Any) -> Study:
    settings = {"num_trials": 12, "seed": 0, "quiet_epochs": 0, **changes}
    return Study(folder, parse_space(space, Config()), **settings)


def value_of(number: int) -> float:
    return (number * 7 % 12) / 12


def do_all(folder: Path, space: dict[str, Any] = WIDE, *, reopen: bool, **changes: Any) -> list:
    study = open_study(folder, space, **changes)
    while (number := study.begin()) is not None:
        study.report(number, [0.1, value_of(number)])
        study.end(number, "complete", value=value_of(number))
        if reopen:
            study = open_study(folder, space, **changes)
    return [trial.values for trial in study.list()]


def test_a_sweep_that_is_stopped_after_each_trial_suggests_the_same(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("whole", "stopped", "other")]
    for folder in folders:
        folder.mkdir()
    whole = do_all(folders[0], reopen=False)
    assert do_all(folders[1], reopen=True) == whole
    assert do_all(folders[2], reopen=False, seed=1) != whole
    assert all(1e-5 <= v["finetune_lr"] <= 1e-2 and v["augment"] in WIDE["augment"] for v in whole)


def test_a_small_space_is_tried_whole_and_nothing_twice(tmp_path: Path) -> None:
    found = do_all(tmp_path, NARROW, reopen=False)
    assert len({tuple(sorted(values.items())) for values in found}) == 2 * 2 * 3


def test_two_processes_share_the_trials(tmp_path: Path) -> None:
    """No number is begun twice, and none beyond the last, in any order of their calls."""
    studies = [open_study(tmp_path, num_trials=5) for _ in range(2)]
    begun = [studies[step % 2].begin() for step in range(8)]
    assert begun == [0, 1, 2, 3, 4, None, None, None]
    studies[0].end(3, "pruned")
    states = ["running", "running", "running", "pruned", "running"]
    assert [trial.state for trial in studies[1].list()] == states


def test_one_that_is_begun_too_late_is_none(tmp_path: Path, monkeypatch: Any) -> None:
    """Between the look at the journal and the new trial, another process began the last one."""
    slow, fast = open_study(tmp_path, num_trials=2), open_study(tmp_path, num_trials=2)
    slow.begin()
    before = slow._own_trials()
    fast.begin()
    monkeypatch.setattr(slow, "_own_trials", lambda: before)
    assert slow.begin() is None
    assert [trial.number for trial in fast.list()] == [0, 1]


def test_what_is_kept_with_a_trial_reads_back(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    number = study.begin()
    assert number == 0
    study.note(number, run="runs/a", reason="x")
    study.report(number, [0.5, None])
    study.report(number, [0.5, None, 0.7])  # after a resume, all epochs again
    trial = open_study(tmp_path).list()[0]
    assert (trial.epochs, trial.facts) == ({1: 0.5, 3: 0.7}, {"run": "runs/a", "reason": "x"})
    assert study.require_values(0) == trial.values


def test_a_trial_whose_process_died_before_its_settings_gets_them_later(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    study._study.ask()  # and dead
    expected = do_all_first(tmp_path / "other")
    assert study.list()[0].values == {}
    assert open_study(tmp_path).require_values(0) == expected


def do_all_first(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    study = open_study(folder)
    study.begin()
    return dict(study.list()[0].values)


def test_a_trial_below_the_median_is_hopeless_once_there_are_others(tmp_path: Path) -> None:
    study = open_study(tmp_path, quiet_epochs=1)
    for values in ([0.5, 0.6], [0.5, 0.7], [0.5, 0.8]):
        number = study.begin()
        assert number is not None
        study.report(number, values)
        assert not study.is_hopeless(number)
        study.end(number, "complete", value=max(values))
    number = study.begin()
    assert number is not None
    study.report(number, [0.1])
    assert not study.is_hopeless(number)  # the head alone is not judged
    study.report(number, [0.1, 0.69])
    assert study.is_hopeless(number)
    better = study.begin()
    assert better is not None
    study.report(better, [0.1, 0.71])
    assert not study.is_hopeless(better)


def test_a_damaged_journal_is_one_sentence(tmp_path: Path) -> None:
    open_study(tmp_path).begin()
    path = tmp_path / JOURNAL
    path.write_bytes(path.read_bytes()[:-30] + b'\n{"op_code"\n')
    with pytest.raises(RunError, match="was changed or damaged"):
        open_study(tmp_path)


def test_warnings_of_optuna_go_into_the_log_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("optuna.trial").warning("be careful")
    logging.getLogger("optuna.trial").info("done")
    assert (tmp_path / "log.txt").read_text() == "warning: Optuna: be careful\n"
    assert capsys.readouterr() == ("", "")


def test_the_logger_of_optuna_is_left_as_it_was(tmp_path: Path) -> None:
    logger = logging.getLogger("optuna")
    before = logger.level, logger.propagate, list(logger.handlers)
    with quiet_optuna(RunLog(None, tmp_path / "inner.txt")):
        assert not logger.propagate
        logger.warning("inside")
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
    assert (tmp_path / "inner.txt").read_text() == "warning: Optuna: inside\n"


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        ({"low": 1, "high": 7, "step": 3}, {1, 4, 7}),
        ({"low": 2, "high": 4}, {2, 3, 4}),
        ([0, 5, 9], {0, 5, 9}),
    ],
)
def test_whole_numbers_stay_whole_numbers_of_their_steps(
    tmp_path: Path, entry: Any, allowed: set[int]
) -> None:
    space = {"patience": entry, "batch_size": [8, 16, 32, 64]}
    found = [values["patience"] for values in do_all(tmp_path, space, reopen=False)]
    assert len(found) == 12
    assert all(isinstance(value, int) and value in allowed for value in found)


def test_every_setting_of_a_small_space_is_seen_equally_often(tmp_path: Path) -> None:
    found = do_all(tmp_path, NARROW, reopen=False)
    for name, number in (("batch_size", 6), ("imbalance", 6), ("patience", 4)):
        values = [values[name] for values in found]
        assert {values.count(value) for value in values} == {number}
