"""The trials of a sweep in Optuna's journal: which settings come next, and which trial is hopeless.

This is the only file that imports Optuna. Its journal is a file that several processes and
machines share; its own lock orders what they write (decision 0041). What is suggested for a
trial follows from the seed, its number and the trials before it.
"""

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medimg_baseline_cls.config import SearchSpace, count_combinations
from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.utils.log import RunLog
from medimg_baseline_cls.utils.seed import derive_key, generator

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend
except ImportError as error:
    raise ConfigError("a sweep needs Optuna: pip install 'medimg-baseline-cls[sweep]'") from error

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study as OptunaStudy
    from optuna.trial import FrozenTrial

TrialState = Literal["running", "complete", "pruned", "failed"]

JOURNAL = "journal.log"
_NAME = "sweep"
_ATTEMPTS = 50  # suggestions for a trial, until one differs from all before
_FEW_COMBINATIONS = 10_000
# Before so many trials are complete, their median says little.
_TRIALS_BEFORE_PRUNING = 3
_STATES: Mapping[str, TrialState] = {
    "RUNNING": "running",
    "WAITING": "running",
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is known of a trial.

    Attributes:
        number: from 0 on.
        state: "running" also where its process has died.
        values: its settings; none of a process that died at once.
        value: the objective of its best epoch; None where it is not complete.
        epochs: the objective after each epoch, the first is 1.
        facts: what `Study.note` has kept.
    """

    number: int
    state: TrialState
    values: Mapping[str, Any]
    value: float | None = None
    epochs: Mapping[int, float] = field(default_factory=dict[int, float])
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Study:
    """The trials of one sweep, shared by all processes that work on it."""

    def __init__(
        self, folder: Path, space: SearchSpace, *, num_trials: int, seed: int, quiet_epochs: int
    ) -> None:
        """Open the journal, or start it; in the first `quiet_epochs` nothing is pruned.

        Raises:
            RunError: the journal is damaged.
        """
        self._path, self._num_trials = folder / JOURNAL, num_trials
        self._distributions = {name: _describe(entry) for name, entry in space.items()}
        with self._reading():
            backend = JournalFileBackend(str(self._path))
            self._study: OptunaStudy = optuna.create_study(
                study_name=_NAME,
                storage=optuna.storages.JournalStorage(backend),
                sampler=_SeededSampler(self._distributions, space, seed=seed),
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=_TRIALS_BEFORE_PRUNING, n_warmup_steps=quiet_epochs + 1
                ),
                direction="maximize",
                load_if_exists=True,
            )

    def list(self) -> list[Trial]:
        """Return all trials, by number."""
        with self._reading():
            return [_read(trial) for trial in self._own_trials()]

    def begin(self) -> int | None:
        """Return the number of a new trial, whose settings are chosen; None where all are begun."""
        with self._reading():
            if len(self._own_trials()) >= self._num_trials:
                return None
            trial = self._study.ask(self._distributions)
            if trial.number < self._num_trials:
                return trial.number
            # Another process was faster to begin the last one.
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None

    def require_values(self, number: int) -> Mapping[str, Any]:
        """Return the settings of a trial; chosen now where its process died before that."""
        with self._reading():
            trial = self._open(number)
            for name, distribution in self._distributions.items():
                trial._suggest(name, distribution)  # pyright: ignore[reportPrivateUsage]
            return trial.params

    def note(self, number: int, **facts: Any) -> None:
        """Keep facts with a trial, such as its run folder."""
        with self._reading():
            trial = self._open(number)
            for name, value in facts.items():
                trial.set_user_attr(name, value)

    def report(self, number: int, values: Sequence[float | None]) -> None:
        """Keep the objective after each epoch; those that are known already are left out."""
        with self._reading():
            trial = self._open(number)
            known = self._frozen(number).intermediate_values
            for step, value in enumerate(values, start=1):
                if value is not None and step not in known:
                    trial.report(value, step)

    def is_hopeless(self, number: int) -> bool:
        """Return whether a trial is below the median of the complete ones, by what was reported."""
        with self._reading():
            return self._open(number).should_prune()

    def end(self, number: int, state: TrialState, *, value: float | None = None) -> None:
        """Close a trial: "complete" with its value, "pruned" or "failed" without."""
        states = {
            "complete": optuna.trial.TrialState.COMPLETE,
            "pruned": optuna.trial.TrialState.PRUNED,
            "failed": optuna.trial.TrialState.FAIL,
        }
        with self._reading():
            self._study.tell(number, value, state=states[state])

    def _own_trials(self) -> "list[FrozenTrial]":
        found = self._study.get_trials(deepcopy=False)
        return [trial for trial in found if trial.number < self._num_trials]

    def _frozen(self, number: int) -> "FrozenTrial":
        return self._study.get_trials(deepcopy=False)[number]

    def _open(self, number: int) -> optuna.Trial:
        return optuna.Trial(self._study, self._frozen(number)._trial_id)  # pyright: ignore[reportPrivateUsage]

    @contextmanager
    def _reading(self) -> Generator[None, None, None]:
        """Raise what a damaged journal leads to as one sentence."""
        try:
            yield
        except (ValueError, KeyError, AssertionError) as error:
            raise RunError(
                f"{self._path} was changed or damaged ({error}), so the sweep cannot be resumed: "
                "restore it, or start a new sweep."
            ) from error


@contextmanager
def quiet_optuna(log: RunLog) -> Generator[None, None, None]:
    """Send what Optuna warns of to a log while the block runs, and nothing to the screen."""
    logger, handler = logging.getLogger("optuna"), _Handler(log)
    level, propagates = logger.level, logger.propagate
    optuna.logging.disable_default_handler()
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


class _Handler(logging.Handler):
    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warn(f"Optuna: {record.getMessage()}")


class _SeededSampler(optuna.samplers.BaseSampler):
    """Optuna's TPE sampler, with a generator of its own for each trial, and without repetitions.

    What it suggests does not depend on the process: a resumed sweep continues as an uninterrupted
    one. Equal settings would give an equal run.
    """

    def __init__(
        self, distributions: "Mapping[str, BaseDistribution]", space: SearchSpace, *, seed: int
    ) -> None:
        self._distributions, self._space, self._seed = dict(distributions), space, seed

    def infer_relative_search_space(
        self, study: "OptunaStudy", trial: "FrozenTrial"
    ) -> "dict[str, BaseDistribution]":
        return self._distributions

    def sample_relative(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, study: "OptunaStudy", trial: "FrozenTrial", *_: Any
    ) -> dict[str, Any]:
        others = study.get_trials(deepcopy=False)
        seen = [other.params for other in others if other.number != trial.number]
        values: dict[str, Any] = {}
        for attempt in range(_ATTEMPTS):
            key = derive_key(self._seed, "sweep", trial.number, attempt)
            values = self._suggest(study, trial, seed=key % 2**32)
            if values not in seen:
                return values
        left = [values for values in self._list_all() if values not in seen]
        if left:
            return left[generator(self._seed, "sweep", trial.number).integers(len(left))]
        return values

    def sample_independent(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, study: "OptunaStudy", trial: "FrozenTrial", *parameter: Any
    ) -> Any:
        raise AssertionError(f"unreachable: {parameter} is in the space of `sample_relative`")

    def _suggest(self, study: "OptunaStudy", trial: "FrozenTrial", *, seed: int) -> dict[str, Any]:
        sampler = optuna.samplers.TPESampler(seed=seed)
        space = sampler.infer_relative_search_space(study, trial)
        values = sampler.sample_relative(study, trial, space)
        return {
            name: values[name]
            if name in values
            else sampler.sample_independent(study, trial, name, distribution)
            for name, distribution in self._distributions.items()
        }

    def _list_all(self) -> Iterator[dict[str, Any]]:
        """Yield all combinations of a space that has few."""
        if (count_combinations(self._space) or _FEW_COMBINATIONS) >= _FEW_COMBINATIONS:
            return
        columns = [entry.list_values() for entry in self._space.values()]
        for values in product(*columns):
            yield dict(zip(self._space, values, strict=True))


def _describe(entry: Any) -> "BaseDistribution":
    """Return a setting's values as Optuna's distribution."""
    if hasattr(entry, "values"):
        return optuna.distributions.CategoricalDistribution(entry.values)
    if entry.is_whole:
        return optuna.distributions.IntDistribution(
            entry.low, entry.high, log=entry.log, step=entry.step or 1
        )
    return optuna.distributions.FloatDistribution(
        entry.low, entry.high, log=entry.log, step=entry.step
    )


def _read(trial: "FrozenTrial") -> Trial:
    return Trial(
        number=trial.number,
        state=_STATES[trial.state.name],
        values=dict(trial.params),
        value=trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None,
        epochs=dict(sorted(trial.intermediate_values.items())),
        facts=dict(trial.user_attrs),
    )
