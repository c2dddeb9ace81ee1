"""Sweeps: trials are ordinary runs that never see TEST; stopped and shared sweeps end the same."""

import builtins
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_baseline_cls import (
    Callback,
    Config,
    compare,
    evaluate,
    report,
    resume_sweep,
    sweep,
    train,
)
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.errors import ConfigError, RunError, RunInterrupted, TrainingError
from medimg_baseline_cls.evaluation.prediction_files import (
    collect_predictions,
    read_predictions,
    write_predictions,
)
from medimg_baseline_cls.evaluation.selection import estimate_optimism
from medimg_baseline_cls.pipeline import trials
from medimg_baseline_cls.pipeline.commands import sweep as sweep_module
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.pipeline.steps.study import Study
from medimg_baseline_cls.pipeline.trials import TrialMaker, find_predictions
from medimg_baseline_cls.reporting.documents.methods import describe_selection
from medimg_baseline_cls.reporting.text.format import format_score
from medimg_baseline_cls.statistics import average_precision_score
from medimg_baseline_cls.training.callbacks import Turn
from medimg_baseline_cls.training.history import EpochRow
from medimg_baseline_cls.utils.files import read_csv, write_json
from medimg_baseline_cls.utils.runs import SELECTION, read_status

ConfigMaker = Callable[..., Config]
SPACE = {"finetune_lr": {"low": 1e-4, "high": 1e-2, "log": True}, "augment": ["none", "light"]}
SMALL = {"finetune_epochs": 1, "num_resamples": 50, "num_hard_examples": 1}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def runs_of(folder: Path) -> list[Path]:
    return [Path(entry["run"]) for entry in read_json(folder / "sweep.json")["runs"]]


def results_of(result: RunResult) -> list[dict[str, Any]]:
    """Return what the trials of a sweep ended with, without the names of their folders."""
    return [trial | {"run": None} for trial in result.summary["trials"]]


@dataclass
class Spy(Callback):
    """Notes the files that are opened while a trial is made, and what callbacks are told."""

    opened: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def on_run(self, turn: Turn) -> None:
        self.told.append(f"{turn.number} of {turn.total}")

    def on_epoch(self, row: EpochRow) -> None:
        self.told.append(row.stage)

    @contextmanager
    def watching(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for place, name in ((builtins, "open"), (io, "open"), (os, "open")):
                patch.setattr(place, name, self._noting(getattr(place, name)))
            yield

    def _noting(self, genuine: Callable[..., Any]) -> Callable[..., Any]:
        def noting(file: Any, *rest: Any, **keywords: Any) -> Any:
            if not isinstance(file, int):
                self.opened.append(os.fsdecode(file))
            return genuine(file, *rest, **keywords)

        return noting


@pytest.fixture(scope="module")
def spied(
    phantoms: Path, make_config: ConfigMaker, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunResult, Spy]:
    """A sweep of three trials, and what was opened while they were made."""
    spy, make = Spy(), TrialMaker.make

    def watched(maker: TrialMaker, number: int) -> None:
        with spy.watching():
            make(maker, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrialMaker, "make", watched)
        config = make_config(phantoms, tmp_path_factory.mktemp("sweep"), **SMALL)
        return sweep(config, SPACE, trials=3, callbacks=[spy]), spy


@pytest.fixture(scope="module")
def finished(spied: tuple[RunResult, Spy]) -> RunResult:
    return spied[0]


def test_a_trial_opens_no_image(spied: tuple[RunResult, Spy], phantoms: Path) -> None:
    opened = spied[1].opened
    assert sum(Path(file).name.startswith(".last.pt") for file in opened) == 6  # it is watching
    assert [file for file in opened if str(phantoms) in str(Path(file).absolute())] == []


def test_a_trial_reads_no_pixel_of_test(
    finished: RunResult,
    phantoms: Path,
    make_config: ConfigMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With noise in place of the TEST images, every number of every trial is the same."""
    prepare = sweep_module.prepare_data

    def spoil(session: Any) -> Any:
        data = prepare(session)
        pixels = np.array(data.pixels)
        rows = data.cache_rows[data.split.rows("test")]
        pixels[rows] = np.random.default_rng(0).integers(0, 256, pixels[rows].shape)
        return replace(data, pixels=pixels)

    monkeypatch.setattr(sweep_module, "prepare_data", spoil)
    spoiled = sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=3)
    assert results_of(spoiled) == results_of(finished)


def test_callbacks_are_told_of_every_trial_in_turn(spied: tuple[RunResult, Spy]) -> None:
    stages = ["head", "finetune"]
    assert spied[1].told == ["1 of 3", *stages, "2 of 3", *stages, "3 of 3", *stages]


def test_a_trial_is_an_ordinary_run(
    finished: RunResult, phantoms: Path, make_config: ConfigMaker, tmp_path: Path
) -> None:
    run, trial = runs_of(finished.run_dir)[1], finished.summary["trials"][1]
    settings = {name: trial["settings"][name] for name in SPACE}
    alone = train(make_config(phantoms, tmp_path, **SMALL, **settings)).run_dir
    for name in ("history.csv", "split.csv", "rejected.csv", "best.pt"):
        assert (run / name).read_bytes() == (alone / name).read_bytes(), name
    told = {SELECTION, "report.html", "tables", "model_card.md", "checklist.md"}  # by the sweep
    names = {path.name for path in run.iterdir()} - told
    assert names == {path.name for path in alone.iterdir()}
    own, other = read_json(run / "config.json"), read_json(alone / "config.json")
    assert [name for name in own if own[name] != other[name]] == ["project", "output_dir"]
    stamp = finished.run_dir.name.removeprefix("medimg_")
    assert run.name == f"medimg_sweep{stamp}_t1"
    assert read_status(run) == "trained"


def test_the_best_trial_is_that_with_the_best_validation(finished: RunResult) -> None:
    content = read_json(finished.run_dir / "sweep_summary.json")
    assert content == finished.summary
    values = []
    for number, run in enumerate(runs_of(finished.run_dir)):
        values.append(max(float(row["val_ap"]) for row in read_csv(run / "history.csv")))
        val = read_predictions(
            finished.run_dir / "trials" / str(number) / "predictions_val.csv", split="val"
        )
        score = average_precision_score(val.labels == 1, val.scores("PNEUMONIA"))
        assert score == pytest.approx(values[-1], abs=1e-6)
    assert [trial["value"] for trial in content["trials"]] == values
    assert content["best"]["number"] == int(np.argmax(values))
    table = read_csv(finished.run_dir / "trials.csv")
    assert [float(row["value"]) for row in table] == values
    assert [row["state"] for row in table] == ["complete"] * 3


SCRIPT = """
import os, signal, sys
from pathlib import Path
from medimg_baseline_cls import Callback, Config, sweep

class Killer(Callback):
    number = 0
    def on_run(self, turn):
        self.number = turn.number
    def on_epoch(self, row):
        if self.number == 2:
            os.kill(os.getpid(), signal.SIGKILL)

sweep(Config(**eval(sys.argv[1])), eval(sys.argv[2]), trials=3, callbacks=[Killer()])
"""


def start_python(*arguments: str) -> subprocess.Popen[str]:
    source = Path(__file__).parents[3] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "NO_COLOR": "1"}
    command = [sys.executable, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def test_a_killed_sweep_ends_like_an_uninterrupted_one(
    finished: RunResult, phantoms: Path, make_config: ConfigMaker, tmp_path: Path
) -> None:
    """The process dies in the second trial, after its first epoch."""
    settings = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(make_config(phantoms, tmp_path, **SMALL)).items()
        if not name.startswith("_")
    }
    killed = start_python("-c", SCRIPT, repr(settings), repr(SPACE))
    killed.communicate(timeout=240)
    assert killed.returncode == -9
    (folder,) = (tmp_path / "sweep").iterdir()
    (run,) = (tmp_path / "runs").glob("*_t1")
    assert read_status(run) == "interrupted"
    before = (run.parent / run.name.replace("_t1", "_t0") / "best.pt").stat().st_mtime_ns
    spy = Spy()
    resumed = resume_sweep(folder, callbacks=[spy])
    assert results_of(resumed) == results_of(finished)
    assert spy.told == ["2 of 3", "finetune", "3 of 3", "head", "finetune"]
    runs = runs_of(folder)
    assert (runs[0] / "best.pt").stat().st_mtime_ns == before
    for own, other in zip(runs, runs_of(finished.run_dir), strict=True):
        assert (own / "best.pt").read_bytes() == (other / "best.pt").read_bytes()


def test_two_processes_share_a_sweep(
    finished: RunResult, phantoms: Path, make_config: ConfigMaker, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="no trial of .* is complete"):  # it has begun none
        sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=2, time_limit=1e-9)
    (folder,) = (tmp_path / "sweep").iterdir()
    call = ["-m", "medimg_baseline_cls", "sweep", "--resume", str(folder)]
    both = [start_python(*call) for _ in range(2)]
    said = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    content = read_json(folder / "sweep_summary.json")
    assert [trial["state"] for trial in content["trials"]] == ["complete"] * 2
    assert len(list((tmp_path / "runs").glob("*_t*"))) == 2
    log = (folder / "log.txt").read_text()
    assert [log.count(f"\ntrial {n} ({n + 1} of 2): ") for n in range(2)] == [1, 1]


def test_a_sweep_that_is_stopped_names_the_command_that_resumes_it(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrialMaker, "make", stop)
    with pytest.raises(RunInterrupted) as caught:
        sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=3)
    (folder,) = (tmp_path / "sweep").iterdir()
    said = f"stopped with 0 of 3 trials finished; resume with: medimg sweep --resume {folder}"
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("space", "options", "said"),
    [
        ({"seed": [0, 1]}, {}, "seed may not vary"),
        ({"batch_size": [8, 16]}, {"trials": 3}, "the space has only 2 combinations"),
        (SPACE, {"trials": 1}, "trials = 1: expected 2 or more"),
        (SPACE, {"time_limit": 0}, "time_limit = 0: expected minutes above 0"),
        (SPACE, {"time_limit": float("nan")}, "time_limit = nan: expected minutes above 0"),
        ({"arch": ["test_resnet", "no_such_net"]}, {"trials": 2}, "no_such_net"),
        ({"weights": ["a.pth", "b.pth"]}, {"trials": 2}, "a.pth is not there"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    phantoms: Path, tmp_path: Path, space: dict, options: dict, said: str
) -> None:
    config = Config(data_dir=phantoms, output_dir=tmp_path / "out", arch="test_resnet")
    with pytest.raises(Exception, match=said):
        sweep(config, space, **options)
    assert not (tmp_path / "out").exists()


def test_data_that_are_no_data_set_leave_no_sweep(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(Exception, match="data"):
        sweep(Config(data_dir=tmp_path / "data", output_dir=tmp_path / "out"), SPACE)
    assert list((tmp_path / "out").rglob("*.json")) == []


@pytest.mark.parametrize("command", [evaluate, lambda folder: compare([folder, folder])])
def test_a_sweep_is_not_taken_for_a_run(
    finished: RunResult, command: Callable[[Path], object]
) -> None:
    with pytest.raises(RunError) as caught:
        command(finished.run_dir)
    best = finished.summary["best"]["run"]
    assert "is a folder of several runs" in str(caught.value)
    assert f"its best trial is {best}" in str(caught.value)


def test_the_command_needs_a_space(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--data-dir", "x"]) == 2
    assert "pass --space FILE" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        sweep(Config(data_dir=Path("x")), {})


def test_the_optimism_is_that_of_the_choice_among_the_trials(finished: RunResult) -> None:
    views = [
        [read_predictions(path / "predictions_val.csv", split="val")]
        for path in sorted((finished.run_dir / "trials").iterdir())
    ]
    expected = estimate_optimism(views, positive_class="PNEUMONIA", num_resamples=50, seed=0)
    assert finished.summary["optimism"] == {
        "optimism": expected.optimism,
        "num_models": 3,
        "num_resamples": 50,
    }


def test_the_chosen_run_alone_says_what_it_was_chosen_from(finished: RunResult) -> None:
    summary = finished.summary
    chosen = Path(summary["best"]["run"])
    assert [run for run in runs_of(finished.run_dir) if (run / SELECTION).is_file()] == [chosen]
    content = read_json(chosen / SELECTION)
    names = ("objective", "num_trials", "num_complete", "num_pruned", "num_failed", "value")
    assert {name: content[name] for name in names} == {name: summary[name] for name in names}
    assert content["sweep"] == finished.run_dir.name
    assert content["trial"] == summary["best"]["number"]
    assert content["settings"] == summary["best"]["settings"]
    assert content["space"].keys() == SPACE.keys()


class FakeTrials:
    """Trials that take no time: each ends as it is told, and trains nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, values: list[float | str]) -> None:
        self.values, self.made = values, []

        def make(maker: TrialMaker, number: int) -> None:
            self.made.append(number)
            run = maker.config.output_dir / "runs" / f"run{number}"
            run.mkdir(parents=True, exist_ok=True)
            write_json(run / "config.json", {})
            maker.study.note(number, run=run.as_posix())
            value = self.values[number]
            if isinstance(value, str):
                maker.study.note(number, reason=value)
                maker.study.end(number, "failed")
                return
            maker.study.report(number, [value])
            found = _invent_predictions(maker, value)
            write_predictions(find_predictions(maker.folder, number, view=0), found)
            maker.study.end(number, "complete", value=value)

        monkeypatch.setattr(TrialMaker, "make", make)


def _invent_predictions(maker: TrialMaker, value: float) -> Any:
    split = maker.data.split
    rows = split.rows("val")
    draw = np.random.default_rng(int(1000 * value)).random(len(rows))
    scores = np.stack([draw, 1 - draw], axis=1)
    return collect_predictions(split, "val", rows=rows, probabilities=scores)


def test_failed_trials_are_listed_and_the_others_chosen_from(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeTrials(monkeypatch, [0.6, "the loss is not finite.", 0.7])
    result = sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=3)
    summary = result.summary
    assert (summary["num_complete"], summary["num_failed"]) == (2, 1)
    assert summary["best"]["number"] == 2
    assert summary["optimism"]["num_models"] == 2
    table = read_csv(result.run_dir / "trials.csv")
    assert [row["reason"] for row in table] == ["", "the loss is not finite.", ""]


def test_of_equal_values_the_first_is_chosen(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeTrials(monkeypatch, [0.6, 0.7, 0.7])
    result = sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=3)
    assert result.summary["best"]["number"] == 1


def test_a_sweep_of_failures_chooses_none(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeTrials(monkeypatch, ["no memory."] * 2)
    with pytest.raises(RunError, match=r"no trial of .* is complete.*: no memory\.$"):
        sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=2)


def test_a_trial_that_cannot_be_trained_fails_and_the_next_begins(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_run, calls = trials.fit_run, []

    def fail_first(*arguments: Any, **keywords: Any) -> RunResult:
        calls.append(None)
        if len(calls) == 1:
            raise TrainingError("the loss is not finite.")
        return fit_run(*arguments, **keywords)

    monkeypatch.setattr(trials, "fit_run", fail_first)
    result = sweep(make_config(phantoms, tmp_path, **SMALL, head_epochs=0), SPACE, trials=2)
    assert [trial["state"] for trial in result.summary["trials"]] == ["failed", "complete"]
    assert result.summary["trials"][0]["reason"] == "the loss is not finite."
    assert result.summary["optimism"]["optimism"] is None  # there was nothing to choose


def test_a_hopeless_trial_is_pruned_and_says_so(
    phantoms: Path, make_config: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Study, "is_hopeless", lambda _, number: number == 0)
    result = sweep(make_config(phantoms, tmp_path, **SMALL), SPACE, trials=2)
    pruned, complete = result.summary["trials"]
    assert (pruned["state"], len(pruned["epochs"]), pruned["value"]) == ("pruned", 1, None)
    assert (complete["state"], len(complete["epochs"])) == ("complete", 2)
    run = runs_of(result.run_dir)[0]
    assert read_status(run) == "pruned"
    with pytest.raises(RunError, match="stopped"):
        evaluate(run)


@pytest.mark.parametrize(("seconds", "begun"), [(100.0, 2), (1.0, 4)])
def test_the_time_limit_begins_no_trial_that_would_end_later(
    phantoms: Path,
    make_config: ConfigMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    begun: int,
) -> None:
    """Of 250 seconds two trials leave 50 if each takes 100."""
    fake = FakeTrials(monkeypatch, [0.6, 0.7, 0.8, 0.9])
    make = TrialMaker.make
    now = [0.0]

    def take_time(maker: TrialMaker, number: int) -> None:
        make(maker, number)
        now[0] += seconds

    monkeypatch.setattr(TrialMaker, "make", take_time)
    monkeypatch.setattr(sweep_module, "monotonic", lambda: now[0])
    config = make_config(phantoms, tmp_path, **SMALL)
    result = sweep(config, SPACE, trials=4, time_limit=250 / 60)
    assert fake.made == list(range(begun))
    assert result.summary["num_trials"] == begun
    log = (result.run_dir / "log.txt").read_text()
    assert ("the time limit leaves no time for another trial" in log) == (begun < 4)
    if begun < 4:
        assert f"2 of 4 are done; the others: medimg sweep --resume {result.run_dir}" in log
        more = resume_sweep(result.run_dir)
        assert fake.made == [0, 1, 2, 3]
        assert more.summary["best"]["number"] == 3
        runs = [run for run in runs_of(result.run_dir) if (run / SELECTION).is_file()]
        assert [run.name for run in runs] == ["run3"]


@pytest.fixture(scope="module")
def evaluated(
    finished: RunResult, tmp_path_factory: pytest.TempPathFactory, phantoms: Path
) -> Iterator[RunResult]:
    """The same sweep, resumed for its evaluation: no trial is left, the best one is evaluated."""
    before = {run: sorted(p.name for p in run.iterdir()) for run in runs_of(finished.run_dir)}
    result = resume_sweep(finished.run_dir, evaluate=True)
    assert result.summary == finished.summary
    yield result
    best = Path(result.summary["best"]["run"])
    for run, names in before.items():
        if run != best:  # the others are as they were
            assert sorted(p.name for p in run.iterdir()) == names


def test_the_best_trial_alone_is_evaluated_and_reported(evaluated: RunResult) -> None:
    best = Path(evaluated.summary["best"]["run"])
    for run in runs_of(evaluated.run_dir):
        is_best = run == best
        assert read_status(run) == ("finished" if is_best else "trained")
        assert (run / "test_log.csv").is_file() == is_best
        assert (run / "predictions_test.csv").is_file() == is_best
        told = "which chose another one on VAL: TEST has not been scored."
        assert (told in (run / "report.html").read_text(encoding="utf-8")) != is_best


def test_its_validation_is_that_of_the_sweep(evaluated: RunResult) -> None:
    """The predictions of the trial are those that the evaluation of the run makes again."""
    best = evaluated.summary["best"]
    own = evaluated.run_dir / "trials" / str(best["number"]) / "predictions_val.csv"
    assert own.read_bytes() == (Path(best["run"]) / "predictions_val.csv").read_bytes()


def test_no_trial_is_begun_after_a_look_at_test(evaluated: RunResult) -> None:
    """With one more trial to do, the choice could no longer be made without TEST."""
    file = evaluated.run_dir / "sweep.json"
    plan = read_json(file)
    try:
        file.write_text(json.dumps(plan | {"num_trials": 4}))
        with pytest.raises(RunError, match=r"TEST was scored by .*: start a new sweep"):
            resume_sweep(evaluated.run_dir)
    finally:
        file.write_text(json.dumps(plan))


def test_the_page_has_the_trials_and_links_to_each(evaluated: RunResult) -> None:
    report(evaluated.run_dir)
    page = (evaluated.run_dir / "report.html").read_text(encoding="utf-8")
    best = Path(evaluated.summary["best"]["run"])
    for run in runs_of(evaluated.run_dir):
        assert f'href="../../runs/{run.name}/report.html"' in page
    for trial in evaluated.summary["trials"]:
        assert f"Trial {trial['number']}" in page
        assert format_score(trial["value"]) in page
    assert "Settings and values" in page and "data:image/png" in page
    said = describe_selection(evaluated.summary)
    assert said in page
    for name in ("report.html", "model_card.md", "checklist.md"):
        assert "the best of 3 complete trials by average precision" in (best / name).read_text(
            "utf-8"
        ), name


def test_a_copy_is_not_resumed_into_the_original(finished: RunResult, tmp_path: Path) -> None:
    copied = tmp_path / "sweep" / finished.run_dir.name
    shutil.copytree(finished.run_dir, copied)
    with pytest.raises(RunError, match="was copied or moved"):
        resume_sweep(copied)


@pytest.mark.parametrize("name", ["sweep_summary.json", "trials.csv"])
def test_edited_results_are_noticed(finished: RunResult, tmp_path: Path, name: str) -> None:
    copied = tmp_path / "sweep" / finished.run_dir.name
    shutil.copytree(finished.run_dir, copied)
    file = copied / name
    file.write_text(file.read_text().replace("0.", "0.9", 1) + " ")
    with pytest.raises(RunError, match=f"{name} was edited after it was written"):
        report(copied)
