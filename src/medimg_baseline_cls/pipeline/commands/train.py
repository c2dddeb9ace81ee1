"""The training command: prepare the data, build the network, fit it in two stages.

A new run writes its settings before the first step, so that whatever stops it later, the
folder alone says how to go on. `resume` refuses anything but the run it was.
"""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.augment import Augmenter, from_compose, make_augmenter
from medimg_baseline_cls.data.batches.loaders import to_unit_range
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
from medimg_baseline_cls.pipeline.steps.run_model import build_network, try_network
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
from medimg_baseline_cls.plots import draw_batch_grid, draw_training_curves
from medimg_baseline_cls.schema import Stage, TrainSettings
from medimg_baseline_cls.training.checkpoint import estimate_bytes
from medimg_baseline_cls.training.fit import fit
from medimg_baseline_cls.training.sources import TrainData
from medimg_baseline_cls.utils.device import describe_device
from medimg_baseline_cls.utils.distributed import detecting_lost_ranks
from medimg_baseline_cls.utils.env import collect_environment
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import read_csv, write_json
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

NUM_BATCH_PICTURES = 16
_CURVE_SECONDS = 30.0  # short epochs would spend more time on their picture than on themselves


@ending_plainly(is_resumable=True)
def train(config: Config, *, transform: Any = None) -> RunResult:
    """Train a network in two stages and keep the best checkpoint by validation AP.

    Args:
        config: every setting; `data_dir` is required.
        transform: a MONAI Compose applied to each training image, (C, S, S) float32 in
            [0, 1], instead of the built-in augmentation; Python only.

    Returns:
        The run folder and the best epoch's figures.

    Raises:
        MedimgError: one sentence on what to mend; RunInterrupted on Ctrl-C or SIGTERM.
    """
    if config.weights is not None and not config.weights.exists():
        raise WeightsError(f"the weights file {config.weights} is not there; correct --weights.")
    require_architecture(config.arch, image_size=config.image_size)
    require_outside_data(config)
    session = open_session(config)
    with _only_writer(session):
        data, model = _prepare(session)
        augment = _make_augmenter(config, transform)
        with _training(session, data, model=model, augment=augment) as train_data:
            result = fit(
                model,
                train_data,
                settings=_make_settings(config, data),
                run_dir=session.run_dir,
                accelerator=session.accelerator,
                log=session.log,
            )
    return RunResult(session.run_dir, asdict(result))


@ending_plainly(is_resumable=True)
def resume(
    run: Path | str | None = None, *, output_dir: Path = Path("outputs"), transform: Any = None
) -> RunResult:
    """Go on with an interrupted run from its last finished epoch, to the same end.

    Args:
        run: the run folder; None takes the newest interrupted one under `output_dir`.
        output_dir: where runs are looked for.
        transform: the same MONAI Compose that the run was started with, if any.

    Raises:
        RunError: there is nothing to resume, or the run has already finished training.
    """
    folder = run
    if folder is None:
        folder = newest_interrupted(output_dir)
        require_newest_begun(output_dir, folder, command="medimg train --resume")
    if folder is None:
        raise RunError(
            f"no interrupted run is in {output_dir}/runs; name one: medimg train --resume RUN."
        )
    session = reopen_session(folder, output_dir=output_dir, is_single_process=False)
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
        augment = _make_augmenter(session.config, transform)
        with _training(session, data, model=model, augment=augment) as train_data:
            result = fit(
                model,
                train_data,
                settings=_make_settings(session.config, data),
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
    model: Classifier | None = None

    def estimate() -> tuple[DiskNeed, ...]:
        nonlocal model
        model = try_network(session.config)
        return _estimate_needs(session, model)

    try:
        with detecting_lost_ranks(session.accelerator, session.run_dir):
            data = prepare_data(session, estimate=estimate)
        warn_before_training(session, data)
        num_classes = len(data.split.class_names)
        if model is None or num_classes != 2:
            model = build_network(session.config, num_classes)
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


def _estimate_needs(session: Session, model: Classifier | None) -> tuple[DiskNeed, ...]:
    """Return what training will write besides the pixels."""
    config = session.config
    if model is None or not session.is_main:
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
    session: Session, data: PreparedData, *, model: Classifier, augment: Augmenter | None
) -> Generator[TrainData, None, None]:
    """Announce the training, and mark the run according to how the block ends."""
    run_dir = session.run_dir
    _announce(session, model)
    curves = _Curves(run_dir)
    if session.is_main:
        write_status(run_dir, "training")
        _draw_first_batch(session, data, augment=augment)
    try:
        with detecting_lost_ranks(session.accelerator, run_dir):
            yield _make_train_data(session, data, augment=augment, on_epoch=curves.update)
    except RunInterrupted:
        if session.is_main:
            curves.draw()
            write_status(run_dir, "interrupted")
        raise
    except Exception:
        if session.is_main:
            with suppress(MedimgError):  # the disk may be full; a dead process counts the same
                write_status(run_dir, "interrupted")
        raise
    if session.is_main:
        curves.draw()
        write_status(run_dir, "trained")
        mark_latest(run_dir)


def _make_train_data(
    session: Session,
    data: PreparedData,
    *,
    augment: Augmenter | None,
    on_epoch: Callable[[], None],
) -> TrainData:
    sampling = "balanced" if session.config.imbalance == "balanced_sampler" else "permute"
    counts = data.split.class_counts("train")
    negatives: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    if data.split.task == "multilabel":
        negatives = (data.split.labels(data.split.rows("train")) == 0).sum(axis=0)
    return TrainData(
        train=data.loader("train", session, sampling=sampling),
        val=data.loader("val", session),
        to_unit_range=to_unit_range,
        augment=augment,
        class_counts=tuple(counts.values()),
        negative_counts=tuple(negatives.tolist()),
        image_ids=[record.image_id for record in data.split.records],
        on_epoch=on_epoch,
    )


def _make_settings(config: Config, data: PreparedData) -> TrainSettings:
    head = Stage(
        name="head",
        epochs=config.head_epochs,
        head_lr=config.head_lr,
        augmented=config.head_augment,
    )
    finetune = Stage(
        name="finetune",
        epochs=config.finetune_epochs,
        head_lr=config.head_lr,
        backbone_lr=config.finetune_lr,
        augmented=True,
        batchnorm=_choose_batchnorm(config),
    )
    return TrainSettings(
        stages=(head, finetune),
        class_names=data.split.class_names,
        positive_class=data.positive_class,
        task=data.split.task,
        seed=config.seed,
        weight_decay=config.weight_decay,
        label_smoothing=config.label_smoothing,
        imbalance=config.imbalance,
        ema_decay=config.ema_decay,
        clip_norm=config.clip_norm,
        patience=config.patience,
        checkpoint_header={
            "class_names": list(data.split.class_names),
            "positive_class": data.positive_class,
            "task": data.split.task,
            "pixels": asdict(data.settings),
            "split_sha256": data.provenance.get("split_sha256"),
        },
    )


def _list_choices(session: Session, model: Classifier) -> dict[str, Any]:
    """Return what "auto" became in training, for config.json."""
    return {
        "weights": asdict(model.weights_report),
        "precision": session.precision,
        "num_threads": count_threads(session),
        "batchnorm": _choose_batchnorm(session.config),
    }


def _choose_batchnorm(config: Config) -> Literal["train", "frozen", "sync"]:
    """Return what fine-tuning does with BatchNorm's statistics; random ones must move."""
    if config.batchnorm == "auto":
        return "frozen" if config.pretrained else "train"
    return config.batchnorm


def _make_augmenter(config: Config, transform: Any) -> Augmenter | None:
    if transform is not None:
        return from_compose(transform, seed=config.seed)
    return make_augmenter(config.augment, horizontal_flip=config.horizontal_flip, seed=config.seed)


def _announce(session: Session, model: Classifier) -> None:
    """Say what is about to be trained on what, and where the results go."""
    config, log = session.config, session.log
    report = model.weights_report
    num_parameters = sum(p.numel() for p in model.parameters())
    origin = "random weights" if report.kind == "random" else f"{report.kind} {report.source}"
    how = f" (tensors matched {report.renamed})" if report.renamed else ""
    log.info(f"model: {config.arch}, {num_parameters / 1e6:.1f} M parameters, from {origin}{how}")
    log.info(f"device: {describe_device(session.device, session.precision)}")
    head, rest = (
        f"{number} {'epoch' if number == 1 else 'epochs'}"
        for number in (config.head_epochs, config.finetune_epochs)
    )
    log.info(
        f"training: {head} head only, {rest} everything, batches of {config.batch_size}, "
        f"seed {config.seed}"
    )
    log.info(f"results: {session.run_dir}")
    if report.kind == "random" and config.head_epochs:
        log.hint(
            "the head-only stage learns on random features",
            fix="use pretrained weights, or add --head-epochs 0",
        )


def _draw_first_batch(session: Session, data: PreparedData, *, augment: Augmenter | None) -> None:
    """Write figures/train_batch.png: what the network will see of the first batch."""
    batch = next(iter(data.loader("train", session).epoch("finetune", 1)))
    pixels = to_unit_range(batch.pixels[:NUM_BATCH_PICTURES], session.device)
    rows: NDArray[np.int64] = batch.rows[:NUM_BATCH_PICTURES]
    if augment is not None:
        pixels = augment(pixels, rows, "finetune", 1)
    captions = [data.split.label_text(row) for row in rows.tolist()]
    figures = session.run_dir / "figures"
    figures.mkdir(exist_ok=True)
    draw_batch_grid(pixels.cpu().numpy(), captions, path=figures / "train_batch.png")


class _Curves:
    """figures/training.png: drawn from time to time, and when training ends."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._last = time.monotonic()

    def update(self) -> None:
        """Draw if the last drawing is a while ago."""
        if time.monotonic() - self._last > _CURVE_SECONDS:
            self.draw()

    def draw(self) -> None:
        history = self._run_dir / "history.csv"  # not there before the first epoch ends
        if history.is_file():
            draw_training_curves(read_csv(history), self._run_dir / "figures" / "training.png")
        self._last = time.monotonic()
