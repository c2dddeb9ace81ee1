"""Trials whose process dies at any point: the resumed sweep ends as one that was never stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls import Config, resume_sweep, sweep
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.pipeline import trials
from medimg_baseline_cls.pipeline.commands import sweep as command
from medimg_baseline_cls.pipeline.commands import train
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.pipeline.steps.study import Study
from medimg_baseline_cls.pipeline.trials import TrialMaker, objective_of
from medimg_baseline_cls.training import fit as loop
from medimg_baseline_cls.training.history import EpochRow
from medimg_baseline_cls.utils.locks import hold_folder

ConfigMaker = Callable[..., Config]
SPACE = {"finetune_lr": {"low": 1e-4, "high": 1e-2, "log": True}, "batch_size": [8, 16]}
SMALL = {"head_epochs": 0, "finetune_epochs": 2, "num_resamples": 50}
FIRST_IS_HOPELESS = "is_hopeless"


class Died(BaseException):
    """As by SIGKILL: nothing is written on the way out; locks end with the process."""


def results_of(result: RunResult) -> list[dict[str, Any]]:
    return [trial | {"run": None} for trial in result.summary["trials"]]


@pytest.fixture(scope="module")
def whole(
    phantoms: Path, make_config: ConfigMaker, tmp_path_factory: pytest.TempPathFactory
) -> RunResult:
    return sweep(make_config(phantoms, tmp_path_factory.mktemp("whole"), **SMALL), SPACE, trials=2)


def die(*_: Any, **__: Any) -> None:
    raise Died


def die_after(function: Callable[..., Any]) -> Callable[..., Any]:
    def dying(*arguments: Any, **keywords: Any) -> None:
        function(*arguments, **keywords)
        raise Died

    return dying


POINTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "a number, no settings": (Study, "begin", lambda study: study._study.ask() and die()),
    "settings, no lock": (Study, "begin", die_after(Study.begin)),
    "a lock, no folder": (TrialMaker, "_train", die),
    "a folder, no config.json": (train, "write_settings", die),
    "config.json, no epoch": (loop, "_train_stage", die),
    "an epoch trained, not written": (loop, "_write_epoch", die),
    "an epoch written, not reported": (loop, "_stop_if_hopeless", die),
    "trained, not scored": (TrialMaker, "_score", die),
    "scored, not told": (TrialMaker, "_score", die_after(TrialMaker._score)),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_trial_that_died_anywhere_is_done_once(
    whole: RunResult, phantoms: Path, make_config: ConfigMaker, tmp_path: Path, point: str
) -> None:
    place, name, dying = POINTS[point]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, dying)
        with pytest.raises(Died):
            sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=2)
    (folder,) = (tmp_path / "sweep").iterdir()
    assert results_of(resume_sweep(folder)) == results_of(whole)


def test_a_pruned_trial_whose_process_died_stays_pruned(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, FIRST_IS_HOPELESS, lambda _, number: number == 0)
        patch.setattr(Study, "end", die)
        with pytest.raises(Died):
            sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=2)
    (folder,) = (tmp_path / "sweep").iterdir()
    states = [trial["state"] for trial in resume_sweep(folder).summary["trials"]]
    assert states == ["pruned", "complete"]


def test_a_trial_that_another_process_has_locked_is_left_to_it(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process does the other trials, and says that the results are not its own."""
    config = make_config(phantoms, tmp_path, **SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(TrialMaker, "make", die)
        with pytest.raises(Died):
            sweep(config, SPACE, trials=2)
    (folder,) = (tmp_path / "sweep").iterdir()
    holders = {"0": "another process"}
    monkeypatch.setattr(command, "find_holder", lambda place: holders.get(place.name))
    result = resume_sweep(folder)
    assert result.summary == {}
    log = (folder / "log.txt").read_text()
    assert "other processes train the other trials: 1 of 2 are done" in log
    assert not (folder / "sweep_summary.json").exists()
    monkeypatch.undo()
    assert len(resume_sweep(folder).summary["trials"]) == 2


def test_a_lock_that_is_taken_between_two_looks_is_left_to_the_other(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holders = iter([None, "other", None, None])
    taken: list[str] = []

    def hold(place: Path, **keywords: Any) -> Any:
        if place.parent.name == "trials" and not taken:
            taken.append(place.name)
            raise RunError("held")
        return hold_folder(place, **keywords)

    monkeypatch.setattr(command, "hold_folder", hold)
    monkeypatch.setattr(command, "find_holder", lambda _: next(holders, None))
    result = sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=2)
    assert taken == ["0"]
    assert len(result.summary["trials"]) == 2  # the other is dead meanwhile


def test_a_folder_that_cannot_be_locked_stops_the_sweep(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold(place: Path, **keywords: Any) -> Any:
        if place.parent.name == "trials":
            raise RunError("cannot be written to")
        return hold_folder(place, **keywords)

    monkeypatch.setattr(command, "hold_folder", hold)
    with pytest.raises(RunError, match="cannot be written to"):
        sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=2)


def test_stressed_validation_is_the_objective_where_it_chooses(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path
) -> None:
    config = make_config(phantoms, tmp_path, **SMALL, select="stressed_val")
    result = sweep(config, SPACE, trials=2)
    assert result.summary["objective"] == "stressed_val"
    for trial in result.summary["trials"]:
        rows = trials.read_history(Path(trial["run"])).rows
        assert trial["value"] == max(row.stressed_ap for row in rows)
        folder = trials.trial_folder(result.run_dir, trial["number"])
        assert len(list(folder.glob("predictions_val*.csv"))) == len(trials.make_stresses())
    assert result.summary["optimism"]["num_models"] == 2


@pytest.mark.parametrize(
    ("val_ap", "stressed_ap", "expected"), [(0.7, None, 0.7), (0.7, 0.6, 0.6), (None, None, None)]
)
def test_the_objective_is_what_chooses_the_best_epoch(
    val_ap: float | None, stressed_ap: float | None, expected: float | None
) -> None:
    row = EpochRow(
        stage="head",
        epoch=1,
        lr=1e-3,
        train_loss=0.5,
        val_loss=0.5,
        val_ap=val_ap,
        val_auroc=0.5,
        stressed_ap=stressed_ap,
    )
    assert objective_of(row) == expected
    assert objective_of(None) is None
