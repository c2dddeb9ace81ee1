"""One command completes a run wherever it was stopped, and does nothing twice."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medimg_baseline_cls import resume, resume_run
from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.pipeline.commands import resume_run as resuming
from medimg_baseline_cls.pipeline.commands import run as commands
from medimg_baseline_cls.pipeline.commands import run_seeds as seeds
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.reporting.outdated import mark_outdated
from medimg_baseline_cls.utils.own_output import MARKER, mark_own
from medimg_baseline_cls.utils.runs import RunState, hold_run, read_status, write_status

RESULTS = (
    *("thresholds.json", "predictions_val.csv", "predictions_test.csv", "mistakes.csv"),
    *("val_summary.json", "test_summary.json"),
)
LOG_ROW = "number,when,code,version,checkpoint_sha256,thresholds_sha256,split_sha256,class_order,"
LOG_ROW += "predictions_test_sha256,reason,accepted\n1,,,,,,,,,first,\n"


class Calls(list[str]):
    """Stands in for the stages: each is noted, and leaves what tells that it was done."""

    def resume(self, run: Path, **_: object) -> RunResult:
        write_status(run, "trained")
        return self.note("train", run)

    def evaluate(self, run: Path, **_: object) -> RunResult:
        mark_outdated(run)
        for name in RESULTS:
            (run / name).touch()
        (run / "test_log.csv").write_text(LOG_ROW)
        (run / "eval_summary.json").write_text('{"test_evaluations": 1}')
        write_status(run, "finished")
        return self.note("evaluate", run)

    def explain(self, run: Path, **_: object) -> RunResult:
        mark_outdated(run)
        return self.note("explain", run)

    def report(self, run: Path) -> RunResult:
        (run / "report.html").write_text("<body>\n</body>")
        return self.note("report", run)

    def note(self, name: str, run: Path) -> RunResult:
        self.append(name)
        return RunResult(run, {})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(resuming, "resume", calls.resume)
    for name in ("evaluate", "explain", "report"):
        monkeypatch.setattr(commands, name, getattr(calls, name))
    return calls


def make_run(output_dir: Path, name: str, state: RunState, *, age: int = 0) -> Path:
    """Make a run that has come as far as its name says."""
    run, calls = output_dir / "runs" / name, Calls()
    run.mkdir(parents=True)
    write_status(run, state)
    (run / "config.json").write_text("{}")
    if state == "finished":
        calls.evaluate(run)
    if "reported" in name:
        calls.report(run)
    for file in run.iterdir():
        os.utime(file, (2_000_000_000 - age,) * 2)
    return run


STATES: dict[str, tuple[RunState, list[str]]] = {
    "killed in training": ("training", ["train", "evaluate", "explain", "report"]),
    "stopped in training, reported": ("interrupted", ["train", "evaluate", "explain", "report"]),
    "trained": ("trained", ["evaluate", "explain", "report"]),
    "trained, reported": ("trained", ["evaluate", "explain", "report"]),
    "evaluated": ("finished", ["explain", "report"]),
    "reported": ("finished", []),
}


@pytest.mark.parametrize("name", STATES)
def test_what_is_missing_is_done_and_nothing_else(calls: Calls, tmp_path: Path, name: str) -> None:
    state, expected = STATES[name]
    run = make_run(tmp_path, name, state)
    for wanted in (run, run.name):
        result = resume_run(wanted, output_dir=tmp_path)
        assert result.run_dir == run and result.summary == {"test_evaluations": 1}
        assert read_status(run) == "finished"
        assert calls == expected  # the second time it was complete


@pytest.mark.parametrize("lost", [*RESULTS, "eval_summary.json"])
def test_an_evaluation_that_lacks_a_result_is_repeated(
    calls: Calls, tmp_path: Path, lost: str
) -> None:
    run = make_run(tmp_path, "reported", "finished")
    (run / lost).unlink()
    resume_run(run)
    assert calls == ["evaluate", "explain", "report"]


def test_a_second_evaluation_that_was_killed_is_completed(calls: Calls, tmp_path: Path) -> None:
    run = make_run(tmp_path, "reported", "finished")
    (run / "test_log.csv").write_text(LOG_ROW + "2,,,,,,,,,again,\n")
    resume_run(run)
    assert calls[0] == "evaluate"


def test_a_report_of_earlier_results_is_written_again(calls: Calls, tmp_path: Path) -> None:
    run = make_run(tmp_path, "reported", "finished")
    mark_outdated(run)
    resume_run(run)
    assert calls == ["explain", "report"]


def test_the_newest_unfinished_run_is_taken_and_others_are_passed_over(
    calls: Calls, tmp_path: Path
) -> None:
    make_run(tmp_path, "reported", "finished", age=0)
    living = make_run(tmp_path, "alive", "training", age=1)
    make_run(tmp_path, "films_seeds20260101-120000_s0", "training", age=2)
    make_run(tmp_path, "films_cv20260101-120000_r0f1", "training", age=3)
    make_run(tmp_path, "films_sweep20260101-120000_t4", "trained", age=3)
    begun = make_run(tmp_path, "without settings", "training", age=4)
    (begun / "config.json").unlink()
    wanted = make_run(tmp_path, "killed", "training", age=5)
    make_run(tmp_path, "older", "training", age=6)
    with hold_run(living, command="train"):
        assert resume_run(output_dir=tmp_path).run_dir == wanted
    assert [read_status(run) for run in (wanted, begun)] == ["finished", "interrupted"]


def test_an_unfinished_sweep_is_taken_where_it_is_the_newest(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[Path] = []
    monkeypatch.setattr(seeds, "resume_seeds", lambda sweep, **_: resumed.append(Path(sweep)))
    make_run(tmp_path, "killed", "training", age=5)
    sweep, finished = tmp_path / "seeds" / "films_1", tmp_path / "seeds" / "films_2"
    for folder, age in ((sweep, 4), (finished, 3)):
        folder.mkdir(parents=True)
        (folder / "seeds.json").write_text("{}")
        os.utime(folder / "seeds.json", (2_000_000_000 - age,) * 2)
    (finished / "seeds_summary.json").touch()
    resume_run(output_dir=tmp_path)
    resume_run("films_1", output_dir=tmp_path)
    resume_run(finished)
    assert resumed == [sweep, Path("films_1"), finished] and calls == []


def test_where_nothing_is_missing_that_is_said(
    calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match="no unfinished run or sweep of seeds is in"):
        resume_run(output_dir=tmp_path)
    run = make_run(tmp_path, "reported", "finished")
    with pytest.raises(RunError, match="`medimg run --resume RUN`"):
        resume_run(output_dir=tmp_path)
    resume_run(run)
    assert "nothing of it is missing" in " ".join(capsys.readouterr().out.split())
    assert calls == []


@pytest.mark.parametrize("names", [(), ("status.json",)])
def test_a_run_that_was_stopped_before_its_settings_were_written_is_one_sentence(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    run = make_run(tmp_path, "begun", "training")
    for path in run.iterdir():
        if path.name not in names:
            path.unlink()
    mark_own(run)
    with pytest.raises(RunError, match="stopped before its settings were written"):
        resume_run(run)


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("resume_newest", [resume_run, resume])
def test_no_older_run_is_taken_silently_for_one_that_was_stopped_early(
    calls: Calls, tmp_path: Path, resume_newest: Callable[..., RunResult], older: bool
) -> None:
    if older:
        wanted = make_run(tmp_path, "killed", "training", age=9)
    begun = make_run(tmp_path, "begun", "training")
    (begun / "config.json").unlink()
    mark_own(begun)
    os.utime(begun / MARKER, (2_000_000_000,) * 2)
    named = rf"--resume {wanted}$" if older else "remove the folder$"
    with pytest.raises(RunError, match=rf"the newest run, {begun}, was stopped before.*{named}"):
        resume_newest(output_dir=tmp_path)
    assert calls == []
    if older:
        with hold_run(begun, command="train"):  # it is being prepared: nothing was stopped
            assert resume_run(output_dir=tmp_path).run_dir == wanted


def test_several_processes_must_be_told_which_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path, "killed", "training")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="takes the name of the run"):
        resume_run(output_dir=tmp_path)


def test_a_half_evaluated_run_becomes_what_it_would_have_been(
    finished_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "runs" / "copy")
    write_status(run, "trained")
    for name in ("eval_summary.json", "test_summary.json", "mistakes.csv", "report.html"):
        (run / name).unlink()
    shutil.rmtree(run / "gradcam")
    resume_run(output_dir=tmp_path)
    names = {path.relative_to(run) for path in run.rglob("*")}
    whole = {path.relative_to(finished_run) for path in finished_run.rglob("*")}
    # Other tests explain that run again, without a report of it.
    assert names == whole - {Path("tables/OUT_OF_DATE.txt")}
    for name in ("eval_summary.json", "predictions_test.csv", "mistakes.csv"):
        assert (run / name).read_bytes() == (finished_run / name).read_bytes(), name
    log = (run / "test_log.csv").read_text()
    assert log.count("\n") == 2 and "interrupted, and completed" in log
    evaluation = json.loads((run / "eval_summary.json").read_text())
    assert evaluation["test_evaluations"] == 1
