"""The training command: prepare the data, build the network, fit it in two stages.

A new run writes its settings before the first step, so its folder is enough to resume it. `resume`
refuses changed settings.
"""

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.augment import Augmenter
from medimg_baseline_cls.errors import (
    MedimgError,
    ModelError,
    RunError,
    RunInterrupted,
    RunPruned,
    WeightsError,
)
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
from medimg_baseline_cls.pipeline.steps.run_model import build_network, name_own_network
from medimg_baseline_cls.pipeline.steps.session import (
    RunResult,
    Session,
    count_threads,
    open_session,
    read_provenance,
    reopen_session,
    warn_of_machine,
    write_settings,
)
from medimg_baseline_cls.pipeline.steps.time_limit import (
    TimeLimit,
    note_limit,
    shorten_schedule,
    start_limit,
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
from medimg_baseline_cls.utils.seals import seal_results
from medimg_baseline_cls.utils.space import DiskNeed

_SEALED = ("split.csv", "history.csv", "timings.csv")


@ending_plainly(is_resumable=True)
def train(
    config: Config,
    *,
    transform: Any = None,
    callbacks: Sequence[Callback] = (),
    model: nn.Module | None = None,
    time_limit: float | None = None,
) -> RunResult:
    """Train a network in two stages and keep the best checkpoint by validation AP.

    Args:
        config: every setting; `data_dir` is required.
        transform: a MONAI Compose applied to each training image, (C, S, S) float32 in
            [0, 1], instead of the built-in augmentation; Python only.
        callbacks: told of the start, each epoch, each best epoch and the end, see `Callback`; they
            change no weight, and their errors are warnings. Python only.
        model: a network of your own instead of `config.arch`: it takes normalized images
            (N, 3, S, S) and returns logits (N, C) from a last linear layer. It stays as it is, the
            weights are in best.pt; evaluate, predict and explain need it again. Python only.
        time_limit: minutes that the run may take, up to its report; a few steps are timed, and
            `finetune_epochs` is lowered to what fits before training starts.

    Returns:
        The run folder and the best epoch's metrics.

    Raises:
        MedimgError: one sentence on what to fix; RunInterrupted on Ctrl-C or SIGTERM.
    """
    require_callbacks(callbacks)
    limit = start_limit(time_limit, config)
    if model is not None:
        config = name_own_network(config, model)
    if config.weights is not None and not config.weights.exists():
        raise WeightsError(f"the weights file {config.weights} is not there; correct --weights.")
    if model is None:
        require_architecture(config.arch, image_size=config.image_size)
    require_outside_data(config)
    augment = choose_augmenter(config, transform)
    session = replace(open_session(config), module=model)
    with only_writer(session):
        session, data, network = begin_run(session, augment=augment, limit=limit)
        told = [GuardedCallback(callback, session.log) for callback in callbacks]
        with _training(session, data, model=network, augment=augment, callbacks=told) as train_data:
            result = fit(
                network,
                train_data,
                settings=make_settings(session, data, transform=transform),
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
    model: nn.Module | None = None,
) -> RunResult:
    """Resume an interrupted run from its last finished epoch, as if it had not stopped.

    Args:
        run: the run folder; None takes the newest interrupted one under `output_dir`.
        output_dir: where runs are looked for.
        transform: the same MONAI Compose that the run was started with, if any.
        callbacks: as in `train`.
        model: a network of the class that the run was started with, if that was passed.

    Raises:
        ModelError: the run was started with a network that was passed, and it is not here.
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
    session = replace(session, module=model)
    choose_augmenter(session.config, transform)  # refused before any image is read
    with only_writer(session):
        provenance = read_provenance(session.run_dir)
        if is_trained(session.run_dir):
            raise RunError(
                f"{session.run_dir} has already finished training; "
                f"`medimg run --resume {session.run_dir}` does the rest."
            )
        # After an edit the other epochs would train on another split (decision 0020).
        for change in find_split_change(session.run_dir, provenance):
            raise RunError(
                f"{session.run_dir} cannot be resumed, since this has changed: {change}. Restore "
                "the file, or start a new run."
            )
        warn_of_machine(session)
        num_classes = len(provenance["class_names"])
        network = build_network(session.config, num_classes, module=model)
        _require_first_weights(session, network, provenance=provenance)
        with detecting_lost_ranks(session.accelerator, session.run_dir):
            data = reopen_data(session, provenance)
        return fit_run(
            session,
            data,
            model=network,
            transform=transform,
            callbacks=callbacks,
            is_resumed=True,
        )


def fit_run(
    session: Session,
    data: PreparedData,
    *,
    model: Classifier,
    transform: Any = None,
    callbacks: Sequence[Callback] = (),
    is_resumed: bool = False,
    is_hopeless: Callable[[], bool] | None = None,
) -> RunResult:
    """Train the network of a run whose settings are written.

    Args:
        session: the run; its folder is locked.
        data: its images.
        model: trained in place.
        transform: as in `train`.
        callbacks: as in `train`.
        is_resumed: continue after the last finished epoch.
        is_hopeless: of a trial of a sweep: whether to stop after an epoch.

    Returns:
        The run folder and the best epoch's metrics.
    """
    augment = choose_augmenter(session.config, transform)
    told = [GuardedCallback(callback, session.log) for callback in callbacks]
    with _training(session, data, model=model, augment=augment, callbacks=told) as train_data:
        result = fit(
            model,
            replace(train_data, is_hopeless=is_hopeless),
            settings=make_settings(session, data, transform=transform),
            run_dir=session.run_dir,
            accelerator=session.accelerator,
            log=session.log,
            resume=is_resumed,
        )
    return RunResult(session.run_dir, asdict(result))


def _require_first_weights(
    session: Session, network: Classifier, *, provenance: Mapping[str, Any]
) -> None:
    """Refuse other first weights as long as they are needed: until the first epoch is finished.

    Raises:
        ModelError: the network is of another class, or its weights are not those that the run began
            with.
    """
    if session.module is not None and network.arch != session.config.arch:
        raise ModelError(f"{session.run_dir} trains {session.config.arch}, not {network.arch}.")
    # From the first finished epoch on, all weights come from last.pt.
    begun = provenance.get("weights", {}).get("sha256")
    if (session.run_dir / "last.pt").is_file() or begun == network.weights_report.sha256:
        return
    if session.module is None:
        raise ModelError(
            f"{session.run_dir} has no finished epoch, and its weights, "
            f"{network.weights_report.source}, have changed: restore the file, or start a new run."
        )
    raise ModelError(
        f"{session.run_dir} has no finished epoch, and model has other weights than those it "
        "began with: pass a network with the same ones, or start a new run."
    )


def only_writer(session: Session) -> AbstractContextManager[None]:
    """Lock the run folder, in the process that writes it."""
    if not session.is_main:
        return nullcontext()
    return hold_run(session.run_dir, command="train", log=session.log)


def begin_run(
    session: Session,
    prepare: Callable[..., PreparedData] | None = None,
    *,
    augment: Augmenter | None = None,
    limit: TimeLimit | None = None,
) -> tuple[Session, PreparedData, Classifier]:
    """Return data and network of a new run and write its settings; on an error, nothing stays.

    Args:
        session: the run; a limit of time may change its settings.
        prepare: returns images that were prepared before, given the session and `estimate`; None
            prepares them.
        augment: of the training images, to find what fits into the limit.
        limit: of the time that the run may take.
    """
    models: list[Classifier] = []

    def estimate(num_classes: int) -> tuple[DiskNeed, ...]:
        models.append(build_network(session.config, num_classes, module=session.module))
        return _estimate_needs(session, models[0])

    try:
        with detecting_lost_ranks(session.accelerator, session.run_dir):
            data = (prepare or prepare_data)(session, estimate=estimate)
        (model,) = models
        if prepare is None:
            warn_before_training(session, data)
        if limit is not None:
            session, found = shorten_schedule(
                session, data, model=model, augment=augment, limit=limit
            )
            data = note_limit(data, found)
        if session.is_main:
            write_json(session.run_dir / "env_report.json", collect_environment(sys.argv))
            # The settings come last: with them the run can be resumed.
            write_status(session.run_dir, "training")
            write_settings(session, {**data.provenance, **_list_choices(session, model)})
    except (Exception, KeyboardInterrupt) as error:
        # Nothing was trained: the new folder contains nothing else than the error.
        if session.is_main:
            remove_folder(session.run_dir)
        if isinstance(error, KeyboardInterrupt):
            error.args = (NOTHING_BEGUN,)
        raise
    return session, data, model


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
        is_changed = session.config.finetune_epochs or session.config.head_augment
        draw_first_batch(session, data, augment=augment if is_changed else None)
    try:
        with detecting_lost_ranks(session.accelerator, run_dir):
            yield make_train_data(session, data, augment=augment, callbacks=callbacks)
    except RunInterrupted as stop:
        if session.is_main:
            write_status(run_dir, "pruned" if isinstance(stop, RunPruned) else "interrupted")
        raise
    except Exception:
        if session.is_main:
            with suppress(MedimgError):  # the disk may be full; a dead process counts the same
                write_status(run_dir, "interrupted")
        raise
    if session.is_main:
        seal_results(run_dir, _SEALED)
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
