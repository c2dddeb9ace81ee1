"""A limit of time: the schedule is made to fit before training starts, never in the middle."""

import time
from dataclasses import asdict, dataclass, replace

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.augment import Augmenter
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.steps.prepare import PreparedData
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.pipeline.steps.training_inputs import make_settings, make_train_data
from medimg_baseline_cls.schema import Inference
from medimg_baseline_cls.training.timing import StepTimes, time_steps
from medimg_baseline_cls.utils.distributed import gather_items
from medimg_baseline_cls.utils.quantities import format_duration, say_count

_MARGIN = 1.1  # a busy machine, checkpoints, curves
_AFTERWARDS = 30.0  # seconds for intervals, panels and report, besides predictions


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long a run may take.

    Attributes:
        minutes: from its start to its report.
        started: when it started, by the clock `time.monotonic`.
    """

    minutes: float
    started: float

    @property
    def seconds_left(self) -> float:
        """Return what is left of it."""
        return 60 * self.minutes - (time.monotonic() - self.started)


@dataclass(frozen=True, slots=True)
class Durations:
    """Estimated seconds of a training.

    Attributes:
        epoch: one of fine-tuning, with validation.
        rest: everything else: the head, the evaluation, the report.
    """

    epoch: float
    rest: float


def start_limit(minutes: float | None, config: Config) -> TimeLimit | None:
    """Return the limit of a run that starts now.

    Raises:
        ConfigError: it is not above 0, or there is nothing to shorten.
    """
    if minutes is None:
        return None
    if not 0 < minutes < float("inf"):
        raise ConfigError(f"time_limit is {minutes:g}: expected minutes, more than 0.")
    if config.finetune_epochs == 0:
        raise ConfigError(
            "time_limit shortens fine-tuning, but finetune_epochs is 0: leave one of them out."
        )
    return TimeLimit(minutes, time.monotonic())


def estimate_durations(
    config: Config, times: StepTimes, *, num_images: dict[str, int], num_stresses: int
) -> Durations:
    """Return how long the parts of a run take.

    Args:
        config: its settings.
        times: of one image.
        num_images: those of train, val and test.
        num_stresses: how often VAL is also scored under changes.
    """
    validation = times.forward * num_images["val"] * (1 + num_stresses)
    pass_ = times.forward * num_images["train"] + validation
    # Without augmentation the features of the head are computed once.
    num_passes = config.head_epochs if config.head_augment else min(config.head_epochs, 1)
    evaluation = times.forward * (num_images["val"] + num_images["test"])
    return Durations(
        epoch=times.train * num_images["train"] + validation,
        rest=num_passes * pass_ + evaluation + _AFTERWARDS,
    )


def shorten_schedule(
    session: Session,
    data: PreparedData,
    *,
    model: Classifier,
    augment: Augmenter | None,
    limit: TimeLimit,
) -> tuple[Session, Inference]:
    """Time a few steps, and return the session with as many epochs of fine-tuning as fit.

    Raises:
        ConfigError: not even one fits.
    """
    config = session.config
    train_data = make_train_data(session, data, augment=augment, callbacks=())
    times = time_steps(
        model,
        train_data,
        settings=make_settings(session, data, transform=None),
        run_dir=session.run_dir,
        accelerator=session.accelerator,
    )
    sizes = {name: len(data.split.rows(name)) for name in ("train", "val", "test")}
    need = estimate_durations(
        config, times, num_images=sizes, num_stresses=len(train_data.stresses)
    )
    left = min(gather_items([limit.seconds_left], session.accelerator))
    fitting = max(0.0, (left / _MARGIN - need.rest) / need.epoch)
    num_epochs = int(min(config.finetune_epochs, fitting))
    pace = (
        f"an epoch of fine-tuning takes about {format_duration(need.epoch)}, the rest "
        f"{format_duration(need.rest)}"
    )
    if num_epochs < 1:
        raise ConfigError(
            f"{pace}, but {format_duration(max(left, 0))} of --time-limit {limit.minutes:g} are "
            "left: raise the limit, or choose a smaller image_size or network, or preset frozen."
        )
    limit_text = f"--time-limit {limit.minutes:g}"
    shortened = num_epochs < config.finetune_epochs
    found = Inference(
        topic="epochs of fine-tuning",
        found=f"{num_epochs} of {config.finetune_epochs}" if shortened else str(num_epochs),
        reason=f"{limit_text}: {pace}",
        flag="--finetune-epochs N",
        warning=f"Fine-tuning was shortened to {say_count(num_epochs, 'epochs')} of "
        f"{config.finetune_epochs}, to fit {limit_text}."
        if shortened
        else "",
    )
    if session.is_main:
        session.log.info(f"{found.topic}: {found.found} ({found.reason})")
        if shortened:
            session.log.warn(found.warning)
    return replace(session, config=replace(config, finetune_epochs=num_epochs)), found


def note_limit(data: PreparedData, found: Inference) -> PreparedData:
    """Return the data with the shortened schedule among what was inferred."""
    inferences = [*data.provenance.get("inferences", []), asdict(found)]
    return replace(data, provenance={**data.provenance, "inferences": inferences})
