"""The training command: prepare the data, build the network, fit it in two stages.

A new run writes its settings before the first step, so that whatever stops it later, the
folder alone says how to go on. `resume` refuses anything but the run it was.
"""

import sys
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.augment import Augmenter
from medimg_baseline_cls.errors import MedimgError, RunError, RunInterrupted, WeightsError
from medimg_baseline_cls.models.build import require_architecture
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.commands.check import warn_before_training
from medimg_baseline_cls.pipeline.steps.listing import require_outside_data
from medimg_baseline_cls.pipeline.steps.prepare import (
    PreparedData,
    find_split_change,
    prepare_data,
    reopen_data,
)
from medimg_baseline_cls.pipeline.steps.run_model import build_network
from medimg_baseline_cls.pipeline.steps.session import (
    RunResult,
    Session,
    count_threads,
    open_session,
    read_provenance,
    reopen_session,
    warn_of_threads,
    write_settings,
)
from medimg_baseline_cls.pipeline.steps.training_inputs import (
    CurveDrawer,
    announce_training,
    choose_augmenter,
    choose_batchnorm,
    draw_first_batch,
    make_settings,
    make_train_data,
)
from medimg_baseline_cls.training.callbacks import Callback, GuardedCallback, require_callbacks
from medimg_baseline_cls.training.checkpoint import estimate_bytes
from medimg_baseline_cls.training.fit import fit
from medimg_baseline_cls.training.sources import TrainData
from medimg_baseline_cls.utils.distributed import detecting_lost_ranks
from medimg_baseline_cls.utils.env import collect_environment
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import write_json
from medimg_baseline_cls.utils.locks import remove_folder
from medimg_baseline_cls.utils.runs import (
    NOTHING_BEGUN,
    hold_run,
    is_trained,
    mark_latest,
    newest_interrupted,
    require_newest_begun,
    write_status,
)
from medimg_baseline_cls.utils.space import DiskNeed


@ending_plainly(is_resumable=True)
def train(
    config: Config, *, transform: Any = None, callbacks: Sequence[Callback] = ()
) -> RunResult:
    """Train a network in two stages and keep the best checkpoint by validation AP.

    Args:
        config: every setting; `data_dir` is required.
        transform: a MONAI Compose applied to each training image, (C, S, S) float32 in
            [0, 1], instead of the built-in augmentation; Python only.
        callbacks: told of the start, each epoch, each best epoch and the end, see `Callback`; they
            change no weight, and their errors are warnings. Python only.

    Returns:
        The run folder and the best epoch's figures.

    Raises:
        MedimgError: one sentence on what to mend; RunInterrupted on Ctrl-C or SIGTERM.
    """
    require_callbacks(callbacks)
    if config.weights is not None and not config.weights.exists():
        raise WeightsError(f"the weights file {config.weights} is not there; correct --weights.")
    require_architecture(config.arch, image_size=config.image_size)
    require_outside_data(config)
    augment = choose_augmenter(config, transform)
    session = open_session(config)
    told = [GuardedCallback(callback, session.log) for callback in callbacks]
    with _only_writer(session):
        data, model = _prepare(session)
        with _training(session, data, model=model, augment=augment, callbacks=told) as train_data:
            result = fit(
                model,
                train_data,
                settings=make_settings(config, data),
                run_dir=session.run_dir,
                accelerator=session.accelerator,
                log=session.log,
            )
    return RunResult(session.run_dir, asdict(result))


@ending_plainly(is_resumable=True)
def resume(
    run: Path | str | None = None,
    *,
    output_dir: Path = Path("outputs"),
    transform: Any = None,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Go on with an interrupted run from its last finished epoch, to the same end.

    Args:
        run: the run folder; None takes the newest interrupted one under `output_dir`.
        output_dir: where runs are looked for.
        transform: the same MONAI Compose that the run was started with, if any.
        callbacks: as in `train`.

    Raises:
        RunError: there is nothing to resume, or the run has already finished training.
    """
    require_callbacks(callbacks)
    folder = run
    if folder is None:
        folder = newest_interrupted(output_dir)
        require_newest_begun(output_dir, folder, command="medimg train --resume")
    if folder is None:
        raise RunError(
            f"no interrupted run is in {output_dir}/runs; name one: medimg train --resume RUN."
        )
    session = reopen_session(folder, output_dir=output_dir, is_single_process=False)
    augment = choose_augmenter(session.config, transform)
    told = [GuardedCallback(callback, session.log) for callback in callbacks]
    with _only_writer(session):
        provenance = read_provenance(session.run_dir)
        if is_trained(session.run_dir):
            raise RunError(
                f"{session.run_dir} has already finished training; "
                f"`medimg run --resume {session.run_dir}` does the rest."
            )
        for change in find_split_change(session.run_dir, provenance):
            raise RunError(
                f"{session.run_dir} cannot be resumed, since this has changed: {change}. Restore "
                "the file, or start a new run."
            )
        warn_of_threads(session)
        model = build_network(session.config, len(provenance["class_names"]))
        with detecting_lost_ranks(session.accelerator, session.run_dir):
            data = reopen_data(session, provenance)
        with _training(session, data, model=model, augment=augment, callbacks=told) as train_data:
            result = fit(
                model,
                train_data,
                settings=make_settings(session.config, data),
                run_dir=session.run_dir,
                accelerator=session.accelerator,
                log=session.log,
                resume=True,
            )
    return RunResult(session.run_dir, asdict(result))


def _only_writer(session: Session) -> AbstractContextManager[None]:
    """Hold the run folder, in the process that writes it."""
    if not session.is_main:
        return nullcontext()
    return hold_run(session.run_dir, command="train", log=session.log)


def _prepare(session: Session) -> tuple[PreparedData, Classifier]:
    """Return data and network of a new run and write its settings; on an error, nothing stays."""
    models: list[Classifier] = []

    def estimate(num_classes: int) -> tuple[DiskNeed, ...]:
        models.append(build_network(session.config, num_classes))
        return _estimate_needs(session, models[0])

    try:
        with detecting_lost_ranks(session.accelerator, session.run_dir):
            data = prepare_data(session, estimate=estimate)
        (model,) = models
        warn_before_training(session, data)
        if session.is_main:
            write_json(session.run_dir / "env_report.json", collect_environment(sys.argv))
            # The settings come last: with them the run can be resumed.
            write_status(session.run_dir, "training")
            write_settings(session, {**data.provenance, **_list_choices(session, model)})
    except (Exception, KeyboardInterrupt) as error:
        # Nothing was trained: the new folder holds no more than what the error says.
        if session.is_main:
            remove_folder(session.run_dir)
        if isinstance(error, KeyboardInterrupt):
            error.args = (NOTHING_BEGUN,)
        raise
    return data, model


def _estimate_needs(session: Session, model: Classifier) -> tuple[DiskNeed, ...]:
    """Return what training will write besides the pixels."""
    config = session.config
    if not session.is_main:
        return ()
    num_bytes = estimate_bytes(
        model.net,
        has_head_stage=config.head_epochs > 0,
        learns_everything=config.finetune_epochs > 0,
        is_averaged=config.ema_decay > 0,
    )
    return (DiskNeed(session.run_dir, num_bytes, "checkpoints"),)


@contextmanager
def _training(
    session: Session,
    data: PreparedData,
    *,
    model: Classifier,
    augment: Augmenter | None,
    callbacks: Sequence[Callback],
) -> Generator[TrainData, None, None]:
    """Announce the training, and mark the run according to how the block ends."""
    run_dir = session.run_dir
    announce_training(session, model)
    callbacks = (CurveDrawer(run_dir), *callbacks)
    if session.is_main:
        write_status(run_dir, "training")
        draw_first_batch(session, data, augment=augment)
    try:
        with detecting_lost_ranks(session.accelerator, run_dir):
            yield make_train_data(session, data, augment=augment, callbacks=callbacks)
    except RunInterrupted:
        if session.is_main:
            write_status(run_dir, "interrupted")
        raise
    except Exception:
        if session.is_main:
            with suppress(MedimgError):  # the disk may be full; a dead process counts the same
                write_status(run_dir, "interrupted")
        raise
    if session.is_main:
        write_status(run_dir, "trained")
        mark_latest(run_dir)


def _list_choices(session: Session, model: Classifier) -> dict[str, Any]:
    """Return what "auto" became in training, for config.json."""
    return {
        "weights": asdict(model.weights_report),
        "precision": session.precision,
        "num_threads": count_threads(session),
        "batchnorm": choose_batchnorm(session.config),
    }
