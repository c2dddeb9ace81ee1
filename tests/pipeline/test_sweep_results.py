"""The table, the summary and the choice of a sweep, from invented trials."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.prediction_files import write_predictions
from medimg_baseline_cls.pipeline.steps.study import Trial
from medimg_baseline_cls.pipeline.sweep_results import (
    KIND,
    TrialsPlan,
    describe_values,
    read_sweep_plan,
    show_setting,
    summarize_trials,
)
from medimg_baseline_cls.pipeline.trials import find_predictions
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.files import read_csv, write_json
from medimg_baseline_cls.utils.log import RunLog
from medimg_baseline_cls.utils.runs import SELECTION

MakePredictions = Callable[..., Predictions]


@pytest.fixture
def plan(tmp_path: Path) -> TrialsPlan:
    folder = tmp_path / "sweep" / "films_20260101-120000"
    folder.mkdir(parents=True)
    facts: dict[str, Any] = {
        "space": {"finetune_lr": {"low": 1e-5, "high": 1e-2, "log": True}, "augment": ["none"]},
        "num_trials": 3,
        "provenance": {"positive_class": "PNEUMONIA", "task": "multiclass"},
    }
    return TrialsPlan(
        kind=KIND, folder=folder, config=Config(num_resamples=50), entries=(), facts=facts
    )


def invent(plan: TrialsPlan, draw: MakePredictions, *, number: int, value: float | None) -> Trial:
    """Return a trial with a run folder, and predictions where it is complete."""
    run = plan.folder.parents[1] / "runs" / f"films_t{number}"
    write_json(run / "config.json", {})
    facts: dict[str, Any] = {"run": run.as_posix()}
    if value is None:
        facts["reason"] = "the loss is not finite."
    else:
        write_predictions(find_predictions(plan.folder, number, view=0), draw("val", seed=number))
    return Trial(
        number=number,
        state="failed" if value is None else "complete",
        values={"finetune_lr": 0.00012345678, "augment": "none"},
        value=value,
        epochs={} if value is None else {1: 0.25, 3: value},
        facts=facts,
    )


def test_what_is_written_is_what_the_trials_were(
    plan: TrialsPlan, draw: MakePredictions, tmp_path: Path
) -> None:
    trials = [invent(plan, draw, number=n, value=value) for n, value in enumerate((0.7, None, 0.8))]
    result = summarize_trials(plan, trials, log=RunLog(None, tmp_path / "log.txt"))
    assert json.loads((plan.folder / "sweep_summary.json").read_text()) == result.summary
    assert result.summary["best"]["number"] == 2
    assert result.summary["trials"][0]["epochs"] == [0.25, None, 0.7]
    rows = read_csv(plan.folder / "trials.csv")
    assert [row["finetune_lr"] for row in rows] == ["0.00012345678"] * 3
    assert [row["run"] for row in rows] == ["films_t0", "films_t1", "films_t2"]
    assert [row["epochs"] for row in rows] == ["3", "0", "3"]
    again = read_sweep_plan(plan.folder)
    assert [entry.title for entry in again.entries] == ["trial 0", "trial 1", "trial 2"]
    assert again.facts == plan.facts
    said = (tmp_path / "log.txt").read_text()
    assert "best: trial 2, AP on VAL 0.800" in said
    assert "the best of 2 values on VAL is too high by about" in said


def test_one_complete_trial_has_no_optimism(
    plan: TrialsPlan, draw: MakePredictions, tmp_path: Path
) -> None:
    trials = [invent(plan, draw, number=n, value=value) for n, value in enumerate((0.7, None))]
    result = summarize_trials(plan, trials, log=RunLog(None, tmp_path / "log.txt"))
    assert result.summary["optimism"]["optimism"] is None
    assert "too high" not in (tmp_path / "log.txt").read_text()


def test_another_best_trial_takes_over_the_note(
    plan: TrialsPlan, draw: MakePredictions, tmp_path: Path
) -> None:
    """After a time limit, further trials may be better."""
    log = RunLog(None, tmp_path / "log.txt")
    trials = [invent(plan, draw, number=n, value=value) for n, value in enumerate((0.7, 0.6))]
    summarize_trials(plan, trials, log=log)
    trials.append(invent(plan, draw, number=2, value=0.9))
    summarize_trials(plan, trials, log=log)
    noted = [(Path(trial.facts["run"]) / SELECTION).is_file() for trial in trials]
    assert noted == [False, False, True]


def test_without_a_complete_trial_the_reasons_are_said(
    plan: TrialsPlan, draw: MakePredictions, tmp_path: Path
) -> None:
    trials = [invent(plan, draw, number=n, value=None) for n in range(2)]
    with pytest.raises(RunError, match=r"so none can be chosen: the loss is not finite\.$"):
        summarize_trials(plan, trials, log=RunLog(None, tmp_path / "log.txt"))
    assert not (plan.folder / "trials.csv").exists()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.00012345678, "0.0001235"), (1e-05, "1e-05"), (True, "true"), (8, "8"), ("light", "light")],
)
def test_settings_are_shown_as_in_a_file(value: Any, shown: str) -> None:
    assert show_setting(value) == shown
    assert describe_values({"a": value, "b": 1}) == f"a = {shown}, b = 1"
