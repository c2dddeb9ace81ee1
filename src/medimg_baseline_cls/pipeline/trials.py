"""One trial of a sweep: an ordinary run on images that were prepared before, and its value on VAL.

A trial opens no file of the data set. It is trained as `medimg train` would, or resumed where its
process has died, and its best checkpoint scores VAL. TEST is not looked at.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from medimg_baseline_cls.config import Config, apply_values
from medimg_baseline_cls.data.batches.stress import make_stresses
from medimg_baseline_cls.errors import ConfigError, RunPruned, TrainingError
from medimg_baseline_cls.evaluation.prediction_files import collect_predictions, write_predictions
from medimg_baseline_cls.pipeline.commands.train import begin_run, fit_run, only_writer
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData
from medimg_baseline_cls.pipeline.steps.run_model import build_network, load_model, score_images
from medimg_baseline_cls.pipeline.steps.session import Session, open_session, reopen_session
from medimg_baseline_cls.pipeline.steps.study import Study
from medimg_baseline_cls.pipeline.sweep import find_own_run
from medimg_baseline_cls.training.callbacks import Callback
from medimg_baseline_cls.training.history import EpochRow, read_history
from medimg_baseline_cls.utils.log import RunLog
from medimg_baseline_cls.utils.runs import name_trial, read_status
from medimg_baseline_cls.utils.space import DiskNeed, require_space

TRIALS = "trials"
_COPIED = ("split.csv", "rejected.csv", "masks.csv")


@dataclass(frozen=True, kw_only=True)
class TrialMaker:
    """What all trials of a sweep share.

    Attributes:
        folder: of the sweep.
        config: the settings that do not vary.
        data: the images.
        study: has the settings of each trial, and gets its values.
        log: of the sweep.
        callbacks: told how each training goes.
        seconds: what each trial has taken that this process did from its start.
    """

    folder: Path
    config: Config
    data: PreparedData
    study: Study
    log: RunLog
    callbacks: Sequence[Callback] = ()
    seconds: list[float] = field(default_factory=list[float])

    def make(self, number: int) -> None:
        """Do a trial to its end, from wherever it was stopped; its folder is locked.

        Raises:
            RunInterrupted: a stop signal has come; it can be resumed.
        """
        try:
            config = configure_trial(self.folder, self.config, study=self.study, number=number)
            self._train(number, config)
        except RunPruned as stop:
            self.log.info(f"trial {number}: {stop}")
            self.study.end(number, "pruned")
        except (ConfigError, TrainingError) as error:
            self.study.note(number, reason=str(error))
            self.log.warn(f"trial {number} failed: {error}")
            self.study.end(number, "failed")

    def _train(self, number: int, config: Config) -> None:
        run = find_own_run(config)
        state = None if run is None else read_status(run)
        if run is None:
            session = open_session(config)
        else:
            session = reopen_session(run)
        self.study.note(number, run=session.run_dir.as_posix())
        if state == "pruned":
            raise RunPruned("pruned")
        with only_writer(session):
            train = partial(
                fit_run,
                session,
                callbacks=self.callbacks,
                is_hopeless=partial(self._is_hopeless, number, session.run_dir),
            )
            if run is None:
                session, data, network = begin_run(session, self._reuse)
                train(data, model=network)
            elif state != "trained":
                self._follow(number, session.run_dir)
                network = build_network(session.config, len(self.data.split.class_names))
                train(self.data, model=network, is_resumed=True)
            best = self._follow(number, session.run_dir)
            value = objective_of(best)
            if value is None:
                raise TrainingError("VAL defines no average precision.")
            self._score(number, session)
        self.study.end(number, "complete", value=value)

    def _reuse(self, session: Session, *, estimate: Callable[[int], Sequence[DiskNeed]]) -> Any:
        """Return the prepared images for a new run, in whose folder they are listed."""
        require_space(estimate(len(self.data.split.class_names)), log=session.log)
        for name in _COPIED:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, session.run_dir / name)
        return self.data

    def _is_hopeless(self, number: int, run_dir: Path) -> bool:
        self._follow(number, run_dir)
        return self.study.is_hopeless(number)

    def _follow(self, number: int, run_dir: Path) -> EpochRow | None:
        """Report the epochs that are finished, and return the best."""
        progress = read_history(run_dir)
        if progress is None:
            return None
        self.study.report(number, [objective_of(row) for row in progress.rows])
        return progress.best()

    def _score(self, number: int, session: Session) -> None:
        """Write the predictions of the best checkpoint on VAL, under each stress if these count."""
        model = load_model(session, "best.pt")[0]
        split = self.data.split
        changes = make_stresses() if session.config.select == "stressed_val" else [None]
        for view, change in enumerate(changes):
            rows, probabilities = score_images(
                session,
                model,
                images=self.data.image_set("val"),
                task=split.task,
                change=change,
            )
            found = collect_predictions(split, "val", rows=rows, probabilities=probabilities)
            write_predictions(find_predictions(self.folder, number, view=view), found)


def objective_of(row: EpochRow | None) -> float | None:
    """Return what a sweep maximizes: the metric by which best.pt is chosen."""
    if row is None:
        return None
    return row.val_ap if row.stressed_ap is None else row.stressed_ap


def find_predictions(folder: Path, number: int, *, view: int) -> Path:
    """Return where the predictions of a trial on VAL are; views are its stresses."""
    name = "predictions_val.csv" if view == 0 else f"predictions_val_{view}.csv"
    return trial_folder(folder, number) / name


def trial_folder(folder: Path, number: int) -> Path:
    """Return the folder of a trial in that of its sweep: its lock, and its predictions on VAL."""
    return folder / TRIALS / str(number)


def configure_trial(folder: Path, config: Config, *, study: Study, number: int) -> Config:
    """Return the settings of a trial; its project names the sweep and the trial.

    Raises:
        ConfigError: the combination is refused.
    """
    values = study.require_values(number)
    stamp = folder.name.removeprefix(f"{config.project}_")
    project = name_trial(config.project, stamp=stamp, number=number)
    return replace(apply_values(config, values), project=project)
