"""A sweep over settings: trials that are chosen on VAL alone, and the best of them.

sweep.json has the space and the settings, in OUTPUT_DIR/sweep/<project>_<date-time>/; the trials
are in Optuna's journal next to it. The images are prepared once. Each trial is an ordinary run.
Several processes may work on one sweep; a stopped one resumes trial by trial.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from medimg_baseline_cls.config import (
    Config,
    SearchSpace,
    count_combinations,
    parse_space,
    read_space,
)
from medimg_baseline_cls.errors import ConfigError, RunError, RunInterrupted, WeightsError
from medimg_baseline_cls.models.build import require_architecture
from medimg_baseline_cls.pipeline.commands.check import warn_before_training
from medimg_baseline_cls.pipeline.commands.run import finish
from medimg_baseline_cls.pipeline.steps.listing import require_outside_data
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData, prepare_data, reopen_data
from medimg_baseline_cls.pipeline.steps.session import RunResult, Session, open_folder
from medimg_baseline_cls.pipeline.steps.study import Study, Trial, quiet_optuna
from medimg_baseline_cls.pipeline.sweep import (
    find_sweep,
    is_in_one_process,
)
from medimg_baseline_cls.pipeline.sweep_results import (
    KIND,
    TrialsPlan,
    describe_values,
    read_sweep_plan,
    summarize_trials,
)
from medimg_baseline_cls.pipeline.trials import TrialMaker, trial_folder
from medimg_baseline_cls.training.callbacks import (
    Callback,
    GuardedCallback,
    Turn,
    require_callbacks,
)
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.locks import find_holder, hold_folder, remove_folder
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.runs import create_run_folder
from medimg_baseline_cls.utils.visible import quote_words

DEFAULT_TRIALS = 20


@dataclass(frozen=True, slots=True)
class _Limits:
    """How long new trials are begun, and what is done with the best one."""

    time_limit: float | None
    evaluate: bool


@ending_plainly(is_resumable=True)
def sweep(
    config: Config,
    space: Mapping[str, Any] | Path,
    *,
    trials: int = DEFAULT_TRIALS,
    time_limit: float | None = None,
    evaluate: bool = False,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train with several settings and choose the best on VAL; TEST is not read by any trial.

    Args:
        config: the settings that do not vary.
        space: by setting, a list of values, or a mapping with low and high, and log or step; or
            a YAML, TOML or JSON file with these.
        trials: how many.
        time_limit: minutes after which no trial is begun, nor one that would take longer.
        evaluate: evaluate, explain and report the best trial at the end: the one look at TEST.
        callbacks: told which trial comes next and how its training goes, see `Callback`; they
            change no weight, and their errors are warnings. Python only.

    Returns:
        The folder of the sweep and the content of sweep_summary.json.

    Raises:
        MedimgError: one sentence on what to fix; RunInterrupted on Ctrl-C.
    """
    require_callbacks(callbacks)
    parsed = read_space(space, config) if isinstance(space, Path) else parse_space(space, config)
    _check_request(config, parsed, trials=trials, time_limit=time_limit)
    require_outside_data(config)
    folder = create_run_folder(config.output_dir, config.project, subfolder=KIND.subfolder)
    try:
        with hold_folder(folder, command=KIND.command, resume=KIND.resume):
            session = open_folder(config, folder)
            data = prepare_data(session)
            warn_before_training(session, data)
            facts = {
                "space": {name: entry.to_plain() for name, entry in parsed.items()},
                "num_trials": trials,
                "provenance": data.provenance,
            }
            plan = TrialsPlan(kind=KIND, folder=folder, config=config, entries=(), facts=facts)
            plan.write()
    except (Exception, KeyboardInterrupt):
        remove_folder(folder)  # nothing was trained
        raise
    limits = _Limits(time_limit, evaluate)
    return _work(plan, session, data=data, limits=limits, callbacks=callbacks)


@ending_plainly(is_resumable=True)
def resume_sweep(
    sweep: Path | str | None = None,
    *,
    output_dir: Path = Path("outputs"),
    time_limit: float | None = None,
    evaluate: bool = False,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Resume a sweep, or work on one that another process is working on.

    Args:
        sweep: its folder; None takes the newest unfinished one under `output_dir`.
        output_dir: where sweeps are looked for.
        time_limit: as in `sweep`.
        evaluate: as in `sweep`.
        callbacks: as in `sweep`.

    Raises:
        RunError: there is none, or its files were changed.
    """
    require_callbacks(callbacks)
    plan = read_sweep_plan(find_sweep(sweep, output_dir, kind=KIND))
    _require_own_place(plan)
    _check_request(plan.config, {}, trials=plan.facts["num_trials"], time_limit=time_limit)
    session = open_folder(plan.config, plan.folder)
    data = reopen_data(session, plan.facts["provenance"])
    limits = _Limits(time_limit, evaluate)
    return _work(plan, session, data=data, limits=limits, callbacks=callbacks)


def _require_own_place(plan: TrialsPlan) -> None:
    """Refuse a copy of a sweep: its trials would go to, and change, the original.

    Raises:
        RunError: the folder is not where its settings put it, seen from the current folder.
    """
    own = plan.config.output_dir / KIND.subfolder / plan.folder.name
    if own.resolve() != plan.folder.resolve():
        raise RunError(
            f"{plan.folder} was copied or moved, or started in another folder: its trials are in "
            f"{plan.config.output_dir / 'runs'}, seen from where it was started. Resume it there."
        )


def _check_request(
    config: Config, space: SearchSpace, *, trials: int, time_limit: float | None
) -> None:
    """Refuse what cannot be done, before any image is read."""
    mistakes: list[str] = []
    if trials < 2:
        mistakes.append(f"trials = {trials}: expected 2 or more.")
    count = count_combinations(space)
    if space and count is not None and count < trials:
        mistakes.append(
            f"trials = {trials}, but the space has only {say_count(count, 'combinations')}: "
            f"choose {count} trials, or a larger space."
        )
    if time_limit is not None and not 0 < time_limit < float("inf"):
        mistakes.append(f"time_limit = {time_limit:g}: expected minutes above 0.")
    if not is_in_one_process():
        mistakes.append("a sweep trains each trial in one process: start it without torchrun.")
    if mistakes:
        raise ConfigError(*mistakes)
    arch = space.get("arch")
    for name in (config.arch,) if arch is None else arch.ends:
        require_architecture(str(name), image_size=config.image_size)
    weights = space.get("weights")
    for file in (config.weights,) if weights is None else weights.ends:
        if file is not None and not Path(str(file)).is_file():
            raise WeightsError(f"the weights file {file} is not there; correct its path.")


def _work(
    plan: TrialsPlan,
    session: Session,
    *,
    data: PreparedData,
    limits: _Limits,
    callbacks: Sequence[Callback],
) -> RunResult:
    """Do trials as long as there are some, then summarize them."""
    log, folder = session.log, plan.folder
    num_trials: int = plan.facts["num_trials"]
    told = [GuardedCallback(callback, log) for callback in callbacks]
    with quiet_optuna(log):
        study = Study(
            folder,
            parse_space(plan.facts["space"], plan.config),
            num_trials=num_trials,
            seed=plan.config.seed,
            quiet_epochs=plan.config.head_epochs,
        )
        maker = TrialMaker(
            folder=folder, config=plan.config, data=data, study=study, log=log, callbacks=told
        )
        try:
            _require_unseen_test(study.list(), num_trials=num_trials)
            reason = _do_trials(maker, num_trials=num_trials, time_limit=limits.time_limit)
        except (RunInterrupted, KeyboardInterrupt):
            done = sum(trial.state != "running" for trial in study.list())
            raise RunInterrupted(
                f"stopped with {done} of {num_trials} trials finished; resume with: "
                f"{KIND.resume} {quote_words(str(folder))}"
            ) from None
        trials = study.list()
    if len(trials) < num_trials or any(trial.state == "running" for trial in trials):
        done = sum(trial.state != "running" for trial in trials)
        log.info(
            f"{reason or 'other processes train the other trials'}: {done} of {num_trials} are "
            f"done; the others: {KIND.resume} {quote_words(str(folder))}"
        )
        if not reason:
            return RunResult(folder, {})
    result = summarize_trials(plan, trials, log=log)
    if limits.evaluate:
        finish(Path(result.summary["best"]["run"]), callbacks=told)
    for callback in told:
        callback.on_results(folder)
    return result


def _require_unseen_test(trials: Sequence[Trial], *, num_trials: int) -> None:
    """Refuse further trials once TEST was scored by one: the choice would not be blind.

    Raises:
        RunError: it was, and trials are left.
    """
    runs = [Path(trial.facts["run"]) for trial in trials if "run" in trial.facts]
    scored = [run for run in runs if (run / "test_log.csv").is_file()]
    is_over = len(trials) >= num_trials and all(trial.state != "running" for trial in trials)
    if scored and not is_over:
        raise RunError(
            f"TEST was scored by {scored[0]}, and further trials could not be chosen without "
            "knowing it: start a new sweep."
        )


def _do_trials(maker: TrialMaker, *, num_trials: int, time_limit: float | None) -> str:
    """Do the trials that no other process does; return why some are left, or nothing."""
    start = monotonic()
    while True:
        left = None if time_limit is None else 60 * time_limit - (monotonic() - start)
        if left is not None and left < (median(maker.seconds) if maker.seconds else 0):
            return "the time limit leaves no time for another trial"
        with ExitStack() as stack:
            number = _take_trial(maker, stack)
            if number is None:
                return ""
            trial = maker.study.list()[number]
            if trial.state != "running":  # another process has done it meanwhile
                continue
            place = f"trial {number} ({number + 1} of {num_trials})"
            maker.log.info(f"{place}: {describe_values(trial.values)}")
            for callback in maker.callbacks:
                callback.on_run(Turn(f"trial {number}", number + 1, num_trials))
            begin, is_new = monotonic(), "run" not in trial.facts
            maker.make(number)
            if is_new:  # one that was resumed took longer than this
                maker.seconds.append(monotonic() - begin)


def _take_trial(maker: TrialMaker, stack: ExitStack) -> int | None:
    """Return a trial that this process does, its folder locked; None where none is left.

    Those whose process has died come first: they are resumed after their last finished epoch.
    """
    waiting = [trial.number for trial in maker.study.list() if trial.state == "running"]
    for number in waiting:
        if _lock(maker, number, stack=stack):
            return number
    while (number := maker.study.begin()) is not None:
        if _lock(maker, number, stack=stack):
            return number
    return None


def _lock(maker: TrialMaker, number: int, *, stack: ExitStack) -> bool:
    """Lock the folder of a trial; return False where another process does the trial."""
    folder = trial_folder(maker.folder, number)
    folder.mkdir(parents=True, exist_ok=True)
    if find_holder(folder) is not None:
        return False
    try:
        stack.enter_context(hold_folder(folder, command=KIND.command, resume=KIND.resume))
    except RunError:
        if find_holder(folder) is None:
            raise
        return False
    return True
