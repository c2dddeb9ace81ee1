"""Runs that belong together, one after the other: what is finished is kept, the rest is done.

A sweep has a folder of its own with a plan that names its runs. Each run is an ordinary one,
found by its unique project; a stopped sweep resumes run by run and ends with the same results.
"""

import os
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from medimg_baseline_cls.config import PRESETS, Config, config_to_dict
from medimg_baseline_cls.errors import MedimgError, ResourceError, RunError, RunInterrupted
from medimg_baseline_cls.pipeline.commands.evaluate import evaluate
from medimg_baseline_cls.pipeline.commands.run import is_evaluated
from medimg_baseline_cls.pipeline.commands.train import resume, train
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.training.callbacks import Callback, GuardedCallback, Turn
from medimg_baseline_cls.utils.files import read_json, write_json
from medimg_baseline_cls.utils.locks import hold_folder, remove_folder
from medimg_baseline_cls.utils.log import RunLog, open_log
from medimg_baseline_cls.utils.quantities import format_duration, say_until
from medimg_baseline_cls.utils.runs import age_key, list_runs, read_status
from medimg_baseline_cls.utils.visible import quote_words


@dataclass(frozen=True, slots=True)
class SweepKind:
    """What distinguishes one kind of sweep from another.

    Attributes:
        name: in words.
        subfolder: the folder for sweeps of this kind.
        resume: the command that resumes one.
    """

    name: str
    subfolder: str
    resume: str

    @property
    def command(self) -> str:
        """Return the command that such a sweep is started by."""
        return self.resume.removesuffix(" --resume")

    @property
    def plan_file(self) -> str:
        """Return the name of the file that lists the runs."""
        return f"{self.subfolder}.json"

    @property
    def summary_file(self) -> str:
        """Return the name of the file that a finished sweep has."""
        return f"{self.subfolder}_summary.json"


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run of a sweep: its settings, with a project of its own, and its name in words."""

    config: Config
    title: str


@dataclass(frozen=True, slots=True)
class SweepEntry:
    """One run of a plan; each kind of sweep adds its own fields.

    The last field is `run`, the run folder; None until there is one.
    """

    @property
    def title(self) -> str:
        """Return the name of the run in words."""
        raise NotImplementedError


Entry = TypeVar("Entry", bound=SweepEntry)


@dataclass(frozen=True, kw_only=True)
class SweepPlan(Generic[Entry]):
    """The content of the file that names the runs of a sweep.

    Attributes:
        kind: of the sweep.
        folder: where the file is.
        config: the settings of all runs.
        entries: the runs, in their order.
        facts: other entries of the file.
    """

    kind: SweepKind
    folder: Path
    config: Config
    entries: tuple[Entry, ...]
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def write(self) -> None:
        """Write the file."""
        runs = [asdict(entry) for entry in self.entries]
        settings = config_to_dict(self.config)
        content = {**self.facts, "runs": runs, "settings": settings}
        write_json(self.folder / self.kind.plan_file, content)

    def with_run(self, number: int, run: Path) -> "SweepPlan[Entry]":
        """Return the plan in which one entry has its run folder."""
        entries = list(self.entries)
        entries[number] = replace(entries[number], run=run.as_posix())
        return replace(self, entries=tuple(entries))


def read_plan(
    folder: Path, entry: type[Entry], *, kind: SweepKind, facts: Sequence[str] = ()
) -> SweepPlan[Entry]:
    """Read what `SweepPlan.write` wrote.

    Args:
        folder: of the sweep.
        entry: the class of its entries.
        kind: of the sweep.
        facts: other entries that the file must have.

    Raises:
        RunError: The file was changed, or is of results on other data.
    """
    content = read_json(folder / kind.plan_file)
    if "external" in content:
        raise RunError(
            f"{folder} has the results of a {kind.name} on other data, not its runs: name "
            f"the folder of the {kind.name} itself."
        )
    try:
        return SweepPlan(
            kind=kind,
            folder=folder,
            config=Config(**(PRESETS["baseline"] | content["settings"])),
            entries=tuple(entry(**values) for values in content["runs"]),
            facts={name: content[name] for name in facts},
        )
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{folder / kind.plan_file} was changed: {error} is not as written."
        ) from error


def do_sweep(
    plan: SweepPlan[Entry],
    *,
    configure: Callable[[SweepPlan[Entry], Entry], Config],
    summarize: Callable[..., RunResult],
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Do the runs of a plan that are left, then summarize all of them.

    Args:
        plan: names the runs.
        configure: makes the settings of an entry's run.
        summarize: takes (plan, folders of the runs, *, log).
        callbacks: told which run comes next, and how its training goes.
    """
    kind, log = plan.kind, open_log(plan.folder / "log.txt")
    runs = [SweepRun(configure(plan, entry), entry.title) for entry in plan.entries]

    def note(number: int, run: Path) -> None:
        nonlocal plan
        plan = plan.with_run(number, run)
        plan.write()

    with hold_folder(plan.folder, command=kind.command, resume=kind.resume, log=log):
        told = [GuardedCallback(callback, log) for callback in callbacks]
        folders = do_runs(plan.folder, runs, kind=kind, log=log, note=note, callbacks=told)
        with naming_sweep(plan.folder, runs, kind=kind):
            result = summarize(plan, folders, log=log)
        for callback in told:
            callback.on_results(plan.folder)
    return result


def is_in_one_process() -> bool:
    """Return whether this process is not one of several that torchrun has started."""
    return int(os.environ.get("WORLD_SIZE", "1")) <= 1


def do_runs(
    folder: Path,
    runs: Sequence[SweepRun],
    *,
    kind: SweepKind,
    log: RunLog,
    note: Callable[[int, Path], None],
    callbacks: Sequence[Callback] = (),
) -> list[Path]:
    """Train and evaluate each run, as far as that was not done, and return their folders.

    Args:
        folder: of the sweep; removed where an error comes before any run has begun.
        runs: in their order.
        kind: for messages.
        log: of the sweep.
        note: takes the number of a run and its folder as soon as it is trained.
        callbacks: told which run comes next, and how its training goes.

    Raises:
        RunInterrupted: with the command that resumes it.
    """
    try:
        folders: list[Path] = []
        with naming_sweep(folder, runs, kind=kind):
            for number, run in enumerate(runs):
                start = time.monotonic()
                is_new = find_own_run(run.config) is None
                folders.append(_do_run(runs, number, log=log, note=note, callbacks=callbacks))
                seconds, num_left = time.monotonic() - start, len(runs) - number - 1
                _say_rest(log, run.title, seconds=seconds, num_left=num_left if is_new else 0)
        return folders
    except ResourceError as error:
        # It is this folder that is resumed, not that of one run.
        raise ResourceError(error.fault, folder) from error.__cause__
    except MedimgError:
        if not any(find_own_run(run.config) for run in runs):
            # Nothing was trained: the new folder contains nothing else than the error.
            remove_folder(folder)
        raise


def _say_rest(log: RunLog, title: str, *, seconds: float, num_left: int) -> None:
    """Log how long a run took, and how long those that are left will take."""
    if num_left:
        rest = seconds * num_left
        log.info(
            f"{title} took {format_duration(seconds)}; {num_left} more: about "
            f"{format_duration(rest)}, {say_until(rest)}"
        )


@contextmanager
def naming_sweep(
    folder: Path, runs: Sequence[SweepRun], *, kind: SweepKind
) -> Generator[None, None, None]:
    """Raise an interruption of the block as RunInterrupted, with the command that resumes it."""
    try:
        yield
    except (RunInterrupted, KeyboardInterrupt):
        found = [find_own_run(run.config) for run in runs]
        done = sum(run is not None and read_status(run) == "finished" for run in found)
        raise RunInterrupted(
            f"stopped with {done} of {len(runs)} runs finished; resume with: "
            f"{kind.resume} {quote_words(str(folder))}"
        ) from None


def find_own_run(config: Config) -> Path | None:
    """Return the newest run folder of these settings' project that can be resumed."""
    for run in list_runs(config.output_dir):
        # An earlier version dated these folders twice: project_DATE-TIME.
        is_own = re.fullmatch(rf"{re.escape(config.project)}([_-].+)?", run.name)
        if is_own and (run / "status.json").is_file() and (run / "config.json").is_file():
            return run
    return None


def find_sweep(sweep: Path | str | None, output_dir: Path, *, kind: SweepKind) -> Path:
    """Return the folder of a sweep; None takes the newest unfinished one.

    Raises:
        RunError: there is none.
    """
    home = output_dir / kind.subfolder
    if sweep is None:
        open_ones = list_unfinished(output_dir, kind=kind)
        if not open_ones:
            raise RunError(
                f"no unfinished {kind.name} is in {home}; name one: {kind.resume} FOLDER."
            )
        return max(open_ones, key=age_key)
    for folder in (Path(sweep), home / sweep):
        if (folder / kind.plan_file).is_file():
            return folder
    advice = ""
    if any(
        (folder / "history.csv").is_file() for folder in (Path(sweep), output_dir / "runs" / sweep)
    ):
        advice = f" It is a single run: `medimg run --resume {sweep}` completes it."
    raise RunError(f"{sweep} is not a {kind.name} folder: {kind.plan_file} is missing.{advice}")


def list_unfinished(output_dir: Path, *, kind: SweepKind) -> list[Path]:
    """Return the sweeps of a kind that have no summary yet."""
    folders = [file.parent for file in (output_dir / kind.subfolder).glob(f"*/{kind.plan_file}")]
    return [folder for folder in folders if not (folder / kind.summary_file).is_file()]


def _do_run(
    runs: Sequence[SweepRun],
    number: int,
    *,
    log: RunLog,
    note: Callable[[int, Path], None],
    callbacks: Sequence[Callback],
) -> Path:
    """Train and evaluate one run, as far as that was not done."""
    config = runs[number].config
    run = find_own_run(config)
    state = None if run is None else read_status(run)
    if state == "training":
        raise RunError(f"{run} is being trained by another process; wait for it, or stop it.")
    log.info(f"run {number + 1} of {len(runs)} ({runs[number].title}): {state or 'new'}")
    for callback in callbacks if state in (None, "interrupted") else ():
        callback.on_run(Turn(runs[number].title, number + 1, len(runs)))
    if run is None:
        run = train(config, callbacks=callbacks).run_dir
    elif state == "interrupted":
        resume(run, callbacks=callbacks)
    note(number, run)
    if not is_evaluated(run):
        evaluate(run)
    for callback in callbacks:
        callback.on_results(run)
    return run
