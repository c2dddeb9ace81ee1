"""The progress of training: the epochs so far, the best of them, and when to stop.

Each epoch is a row of history.csv (no clock times, so that equal runs give equal files) and
of timings.csv (only clock times).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.schema import Stage
from medimg_baseline_cls.utils.files import read_csv, write_csv

HISTORY_HEADER = ("stage", "epoch", "lr", "train_loss", "val_loss", "val_ap", "val_auroc")
TIMINGS_HEADER = ("stage", "epoch", "seconds", "images_per_second")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One finished epoch: a row of history.csv.

    Attributes:
        stage, epoch: which; epochs count from 1 in each stage.
        lr: mean learning rate of the epoch, the head's in "head", else the backbone's.
        train_loss: mean of the training loss over the epoch's images.
        val_loss: plain cross-entropy on the validation images, in nats; for findings, the
            mean over the known pairs of image and finding.
        val_ap, val_auroc: of the positive class, or the mean over the classes or findings for
            which VAL defines it; None where it defines none.
        stressed_ap: mean of `val_ap` over fixed changes of the validation images; None unless that
            chooses the best epoch.
    """

    stage: str
    epoch: int
    lr: float
    train_loss: float
    val_loss: float
    val_ap: float | None
    val_auroc: float | None
    stressed_ap: float | None = None

    def is_better_than(self, other: "EpochRow | None") -> bool:
        """Return whether the AP is higher, or equal at a lower loss. The earlier wins a tie."""
        return other is None or self._merit() > other._merit()

    def _merit(self) -> tuple[float, float]:
        # Without an AP (VAL of a single class) the loss alone decides.
        chosen = self.val_ap if self.stressed_ap is None else self.stressed_ap
        return (-1.0 if chosen is None else chosen, -self.val_loss)


@dataclass(frozen=True, slots=True)
class FitResult:
    """How training ended.

    Attributes:
        best_epoch, best_stage: the epoch in best.pt; epochs count from 1 in each stage.
        best_val_ap: its average precision on VAL, None where VAL does not define it.
        num_epochs: finished epochs of all stages.
        stopped_early: whether a stage ended early because VAL did not improve.
    """

    best_epoch: int
    best_stage: str
    best_val_ap: float | None
    num_epochs: int
    stopped_early: bool


@dataclass(slots=True)
class Progress:
    """The finished epochs, and what is computed from them."""

    rows: list[EpochRow] = field(default_factory=list[EpochRow])

    def in_stage(self, stage: str) -> list[EpochRow]:
        """Return the finished epochs of a stage."""
        return [row for row in self.rows if row.stage == stage]

    def best(self, stage: str | None = None) -> EpochRow | None:
        """Return the best epoch so far, of a stage or of all."""
        best: EpochRow | None = None
        for row in self.rows if stage is None else self.in_stage(stage):
            if row.is_better_than(best):
                best = row
        return best

    def is_last_best(self, stage: str | None = None) -> bool:
        """Return whether the latest epoch is the best so far, of its stage or of all."""
        return bool(self.rows) and self.best(stage) is self.rows[-1]

    def num_stale(self, stage: str) -> int:
        """Return how many epochs of a stage have passed since its best."""
        best = self.best(stage)
        return 0 if best is None else self.in_stage(stage)[-1].epoch - best.epoch

    def is_done(self, stage: Stage, *, patience: int) -> bool:
        """Return whether a stage has finished all its epochs, or too many without improvement."""
        num_epochs = len(self.in_stage(stage.name))
        has_lost_patience = patience > 0 and self.num_stale(stage.name) >= patience
        return num_epochs >= stage.epochs or has_lost_patience

    def to_plain(self) -> list[dict[str, Any]]:
        """Return the rows as plain values, for last.pt."""
        return [asdict(row) for row in self.rows]

    @classmethod
    def from_plain(cls, rows: Sequence[Mapping[str, Any]]) -> "Progress":
        """Return the progress from `to_plain` or from the rows of history.csv.

        Raises:
            ValueError: a row does not describe an epoch, or one is missing.
        """
        try:
            progress = cls([_parse_row(row) for row in rows])
        except (LookupError, TypeError) as error:
            raise ValueError(f"not a row of an epoch ({error})") from error
        for stage in dict.fromkeys(row.stage for row in progress.rows):
            epochs = [row.epoch for row in progress.in_stage(stage)]
            if epochs != list(range(1, len(epochs) + 1)):
                raise ValueError(f"the epochs of {stage} are not 1, 2, 3, ...")
        return progress


def read_history(run_dir: Path) -> Progress | None:
    """Return the finished epochs by history.csv, or None where the file is missing.

    Raises:
        RunError: the file is garbled.
    """
    path = run_dir / "history.csv"
    if not path.is_file():
        return None
    try:
        return Progress.from_plain(read_csv(path))
    except ValueError as error:
        raise RunError(f"{path} was edited, {error}: restore it.") from error


def write_history(run_dir: Path, progress: Progress) -> None:
    """Write history.csv: one row per finished epoch."""
    is_stressed = any(row.stressed_ap is not None for row in progress.rows)
    header = (*HISTORY_HEADER, "stressed_ap") if is_stressed else HISTORY_HEADER
    rows = [astuple(row)[: len(header)] for row in progress.rows]
    write_csv(run_dir / "history.csv", header, rows=rows)


def _parse_row(row: Mapping[str, Any]) -> EpochRow:
    def number(name: str) -> float | None:
        return None if row[name] in (None, "") else float(row[name])

    row = {"stressed_ap": None, **row}  # not in runs where VAL as it is chooses

    return EpochRow(
        stage=str(row["stage"]),
        epoch=int(row["epoch"]),
        lr=float(row["lr"]),
        train_loss=float(row["train_loss"]),
        val_loss=float(row["val_loss"]),
        val_ap=number("val_ap"),
        val_auroc=number("val_auroc"),
        stressed_ap=number("stressed_ap"),
    )


class Timings:
    """The rows of timings.csv, each written before its epoch counts as finished."""

    def __init__(self, run_dir: Path, progress: Progress) -> None:
        """Keep the times of the epochs that an interrupted run has finished."""
        self._path = run_dir / "timings.csv"
        finished = {(row.stage, str(row.epoch)) for row in progress.rows}
        old = read_csv(self._path) if finished and self._path.is_file() else []
        kept = [row for row in old if (row["stage"], row["epoch"]) in finished]
        self._rows: list[Sequence[object]] = [tuple(row.values()) for row in kept]

    def add(self, stage: str, epoch: int, *, seconds: float, images_per_second: float) -> None:
        """Write the file with one more row.

        Args:
            stage: its name.
            epoch: from 1.
            seconds: of the whole epoch, validation included.
            images_per_second: training images per second, without validation.
        """
        self._rows.append((stage, epoch, round(seconds, 3), round(images_per_second, 1)))
        write_csv(self._path, TIMINGS_HEADER, rows=self._rows)
