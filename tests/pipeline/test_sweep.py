"""Runs in a row: each is gone on with from its state; errors leave no empty folder."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from medimg_baseline_cls import Callback
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import DataError, ResourceError, RunError, RunInterrupted
from medimg_baseline_cls.pipeline import sweep
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.pipeline.sweep import (
    SweepKind,
    SweepRun,
    do_runs,
    find_own_run,
    find_sweep,
)
from medimg_baseline_cls.training.callbacks import Turn
from medimg_baseline_cls.utils.log import SILENT
from medimg_baseline_cls.utils.runs import RunState, hold_run, read_status, write_status

KIND = SweepKind(name="sweep", subfolder="sweeps", resume="medimg sweep --resume")


class Calls(list[tuple[str, str]]):
    """Stands in for the commands: notes them and moves the state of the run on."""

    error: BaseException | None = None

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Callback] = []

    def train(self, config: Config, *, callbacks: Sequence[Callback]) -> RunResult:
        self.told += callbacks
        run = make_run(config, "trained") if self.error is None else Path()
        return self.note("train", run)

    def resume(self, run: Path, *, callbacks: Sequence[Callback]) -> RunResult:
        self.told += callbacks
        write_status(run, "trained")
        return self.note("resume", run)

    def evaluate(self, run: Path) -> RunResult:
        write_status(run, "finished")
        return self.note("evaluate", run)

    def note(self, name: str, run: Path) -> RunResult:
        if self.error is not None:
            raise self.error
        self.append((name, run.name.split("_")[0]))
        return RunResult(run, {})


class Listener(Callback):
    """Notes which run comes next."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def on_run(self, turn: Turn) -> None:
        self.turns.append(turn)


def make_run(config: Config, state: RunState) -> Path:
    run = config.output_dir / "runs" / f"{config.project}_20250101-000000"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}", encoding="utf-8")
    write_status(run, state)
    return run


@pytest.mark.parametrize("name", ["seeds1_s1", "seeds1_s1-2", "seeds1_s1_20250101"])
def test_own_run_is_found_by_its_project_also_where_it_was_dated_twice(
    tmp_path: Path, name: str
) -> None:
    for other in ("seeds1_s10", "seeds1_s1x", name):
        run = tmp_path / "runs" / other
        run.mkdir(parents=True)
        (run / "config.json").write_text("{}")
        write_status(run, "trained")
    found = find_own_run(Config(output_dir=tmp_path, project="seeds1_s1"))
    assert found is not None and found.name == name


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    for name in ("train", "resume", "evaluate"):
        monkeypatch.setattr(sweep, name, getattr(calls, name))
    monkeypatch.setattr(sweep, "is_evaluated", lambda run: read_status(run) == "finished")
    return calls


def make_steps(output_dir: Path, *names: str) -> list[SweepRun]:
    return [SweepRun(Config(output_dir=output_dir, project=name), name) for name in names]


def test_each_run_is_done_as_far_as_it_was_not(calls: Calls, tmp_path: Path) -> None:
    steps = make_steps(tmp_path, "new", "stopped", "trained", "done")
    interrupted = make_run(steps[1].config, "trained")
    (interrupted / "status.json").write_text('{"state": "training", "process": null}')
    make_run(steps[2].config, "trained")
    make_run(steps[3].config, "finished")
    noted: list[int] = []
    listener = Listener()
    runs = do_runs(
        tmp_path,
        steps,
        kind=KIND,
        log=SILENT,
        note=lambda number, run: noted.append(number),
        callbacks=[listener],
    )
    assert listener.turns == [Turn("new", 1, 4), Turn("stopped", 2, 4)]
    assert calls.told == [listener, listener]
    assert calls == [
        ("train", "new"),
        ("evaluate", "new"),
        ("resume", "stopped"),
        ("evaluate", "stopped"),
        ("evaluate", "trained"),
    ]
    assert noted == [0, 1, 2, 3]
    assert [run.name.split("_")[0] for run in runs] == ["new", "stopped", "trained", "done"]


def test_a_run_that_another_process_trains_is_left_alone(calls: Calls, tmp_path: Path) -> None:
    steps = make_steps(tmp_path, "busy")
    run = make_run(steps[0].config, "training")
    with (
        hold_run(run, command="train"),
        pytest.raises(RunError, match="is being trained by another process"),
    ):
        do_runs(tmp_path, steps, kind=KIND, log=SILENT, note=lambda number, run: None)
    assert calls == []


def test_a_stop_names_the_command_that_goes_on(calls: Calls, tmp_path: Path) -> None:
    steps = make_steps(tmp_path, "done", "new")
    make_run(steps[0].config, "finished")
    calls.error = KeyboardInterrupt()
    with pytest.raises(RunInterrupted, match="1 of 2 runs finished.* medimg sweep --resume"):
        do_runs(tmp_path / "s", steps, kind=KIND, log=SILENT, note=lambda number, run: None)


@pytest.mark.parametrize("has_begun", [False, True])
def test_an_error_removes_a_folder_without_runs(
    calls: Calls, tmp_path: Path, has_begun: bool
) -> None:
    folder = tmp_path / "sweeps" / "one"
    folder.mkdir(parents=True)
    steps = make_steps(tmp_path, "first", "second")
    if has_begun:
        make_run(steps[0].config, "finished")
    calls.error = DataError("no images")
    with pytest.raises(DataError, match="no images"):
        do_runs(folder, steps, kind=KIND, log=SILENT, note=lambda number, run: None)
    assert folder.exists() == has_begun


def test_the_newest_unfinished_sweep_is_found(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no unfinished sweep is in"):
        find_sweep(None, tmp_path, kind=KIND)
    for name in ("a", "b"):
        (tmp_path / "sweeps" / name).mkdir(parents=True)
        (tmp_path / "sweeps" / name / "sweeps.json").write_text("{}")
    (tmp_path / "sweeps" / "b" / "sweeps_summary.json").write_text("{}")
    assert find_sweep(None, tmp_path, kind=KIND).name == "a"
    assert find_sweep("b", tmp_path, kind=KIND) == tmp_path / "sweeps" / "b"
    with pytest.raises(RunError, match="is not a sweep folder: sweeps.json is missing"):
        find_sweep(tmp_path, tmp_path, kind=KIND)


def test_a_disk_that_is_full_in_one_run_is_told_with_the_command_of_the_sweep(
    calls: Calls, tmp_path: Path
) -> None:
    calls.error = ResourceError("last.pt cannot be written", tmp_path / "runs" / "a" / "last.pt")
    folder = tmp_path / "sweeps" / "a"
    folder.mkdir(parents=True)
    with pytest.raises(ResourceError, match="last.pt cannot be written") as caught:
        do_runs(folder, make_steps(tmp_path, "a"), kind=KIND, log=SILENT, note=lambda *_: None)
    assert caught.value.place == folder and folder.is_dir()
