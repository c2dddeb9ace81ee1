"""Tables of the report about data and training; every cell is text, ready to be printed."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from medimg_baseline_cls.catalogue import SCORES
from medimg_baseline_cls.reporting.content import Rows, RunContent, number_of
from medimg_baseline_cls.reporting.text.format import (
    UNDEFINED,
    format_count,
    format_difference,
    format_score,
    hide_paths,
)
from medimg_baseline_cls.reporting.text.names import name_split, name_stage
from medimg_baseline_cls.schema import parse_findings
from medimg_baseline_cls.utils.quantities import format_duration

MAX_REJECTED = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; its first cell leads to `link`, a relative address, if that is set.

    `style` is "", "start" (of a group), "total" or "best".
    """

    cells: tuple[str, ...]
    style: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text. The first `num_text` columns are words, the others numbers.

    Attributes:
        title: what it shows; read aloud by screen readers, printed above the table.
        notes: sentences under the table.
        about: the one class that it is about, where other classes have such a table too.
        is_open: of such tables, whether it is shown without being asked for.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    num_text: int = 1
    notes: tuple[str, ...] = ()
    about: str = ""
    is_open: bool = False


def arrange_tables(*groups: Iterable[Table]) -> tuple[list[list[Table]], tuple[str, ...]]:
    """Return the tables of a section with the notes that several of them share apart.

    Of the tables that have the same columns, one for each class, the first is open.
    """
    listed = [list(group) for group in groups]
    counts = Counter(note for group in listed for table in group for note in set(table.notes))
    shared = {note: None for g in listed for t in g for note in t.notes if counts[note] > 1}
    arranged: list[list[Table]] = []
    for group in listed:
        seen: set[tuple[str, ...]] = set()
        arranged.append([])
        for table in group:
            notes = tuple(note for note in table.notes if note not in shared)
            is_first = bool(table.about) and table.header not in seen
            seen |= {table.header} if table.about else set()
            arranged[-1].append(replace(table, notes=notes, is_open=is_first))
    return arranged, tuple(shared)


def tabulate_inferences(inferences: Rows) -> Table | None:
    """Return what was concluded without a setting; None where nothing was written down."""
    rows = [
        Row(tuple(item[name] for name in ("topic", "found", "certainty", "reason", "flag")))
        for item in inferences
    ]
    return (
        Table(
            title="Inferred from the data",
            header=("Topic", "Found", "Certainty", "Reason", "To change it"),
            rows=tuple(rows),
            num_text=5,
        )
        if rows
        else None
    )


def tabulate_split(content: RunContent) -> Table | None:
    """Return images, groups and classes of each split; None before there is a split.csv."""
    if not content.split:
        return None
    names, positive = content.class_names, content.positive_class
    rows: list[Row] = []
    for split in (*content.splits, "all"):
        records = [r for r in content.split if split in ("all", r["split"])]
        counts, totals = count_labels(content, records)
        cells = [
            "All" if split == "all" else name_split(split),
            format_count(len(records)),
            format_count(len({r["group"] for r in records})),
        ]
        if positive is None:
            pairs = zip(counts, totals, strict=True)
            cells += [f"{format_count(n)} ({_share(n, total)})" for n, total in pairs]
        else:
            cells += [format_count(n) for n in counts]
            cells.append(_share(counts[names.index(positive)], len(records)))
        rows.append(Row(tuple(cells), "total" if split == "all" else ""))
    last = () if positive is None else ("Prevalence",)
    meaning = (
        "Prevalence: share of each class among the images of the split."
        if positive is None
        else f"Prevalence: share of {positive} among the images of the split."
    )
    if content.has_findings:
        meaning = "Findings: images with each, and their share of the images where it is known."
    unit = content.unit
    groups = (
        "An image whose patient is unknown counts as one; each patient is in one split."
        if unit == "patient"
        else "No patient is known: a group is a file and its copies; each group is in one split."
    )
    return Table(
        title="Images of each split",
        header=("Split", "Images", f"{unit.capitalize()}s", *names, *last),
        rows=tuple(rows),
        notes=(f"{groups} {meaning}",),
    )


def tabulate_rejected(content: RunContent) -> Table | None:
    """Return the files that could not be read; None where there are none."""
    if not content.rejected:
        return None
    rows = [Row((r["path"], hide_paths(r["reason"]))) for r in content.rejected[:MAX_REJECTED]]
    left = len(content.rejected) - len(rows)
    return Table(
        title="Rejected files",
        header=("File", "Reason"),
        rows=tuple(rows),
        num_text=2,
        notes=(f"{format_count(left)} more are in rejected.csv.",) if left else (),
    )


def tabulate_stages(content: RunContent) -> Table | None:
    """Return the best epoch of each stage; None before the first epoch has ended."""
    if not content.history:
        return None
    checkpoint = content.checkpoint
    chosen = (str(checkpoint.get("stage")), number_of(str(checkpoint.get("epoch"))))
    rows: list[Row] = []
    for stage in dict.fromkeys(row["stage"] for row in content.history):
        epochs = [row for row in content.history if row["stage"] == stage]
        best = max(epochs, key=_rank_epoch)
        is_chosen = chosen == (stage, number_of(best["epoch"]))
        seconds = [
            number_of(row.get("seconds")) for row in content.timings if row["stage"] == stage
        ]
        cells = (
            name_stage(stage),
            format_count(len(epochs)),
            best["epoch"] + (" ✓" if is_chosen else ""),
            *(format_score(number_of(best.get(key))) for key in _HISTORY),
            format_duration(sum(s or 0.0 for s in seconds)) if seconds else UNDEFINED,
        )
        rows.append(Row(cells, "best" if is_chosen else ""))
    is_stressed = any(row.get("stressed_ap") for row in content.history)
    rule = "highest VAL AP" if not is_stressed else "highest mean AP on VAL under fixed changes"
    note = f"Best epoch: {rule}, ties by lower VAL loss. The losses are those of that epoch."
    has_chosen = any(row.style == "best" for row in rows)
    return Table(
        title="Best epoch of each stage",
        header=("Stage", "Epochs", "Best", *_HISTORY.values(), "Time"),
        rows=tuple(rows),
        notes=(f"{note} ✓ marks the checkpoint that was evaluated." if has_chosen else note,),
    )


_NOT_KEPT = (
    "Fine-tuning was not kept: none of its epochs is better on VAL than the head-only model, "
    "which is the final one."
)


def tabulate_gain(content: RunContent) -> Table | None:
    """Return the head-only model next to the final one; None where only one of them exists."""
    is_alone = content.config.get("finetune_epochs") == 0
    if is_alone or content.evaluation is None or content.evaluation.head_only is None:
        return None
    before, after = content.evaluation.head_only, content.evaluation.headline
    rows: list[Row] = []
    for split in ("val", "test"):
        old, new = before.get(split, {}), after.get(split, {})
        for key in [k for k in SCORES if k in old and k in new]:
            a, b = old[key].value, new[key].value
            cells = (name_split(split), SCORES[key].short, format_score(a), format_score(b))
            gap = None if a is None or b is None else b - a
            is_first = key == next(k for k in SCORES if k in old and k in new)
            rows.append(Row((*cells, format_difference(gap)), "start" if is_first else ""))
    if not rows:
        return None
    is_head = content.checkpoint.get("stage") == "head"
    not_kept = (_NOT_KEPT,) if is_head else ()
    return Table(
        title="Effect of fine-tuning",
        header=("Split", "Metric", "Head only", "Final", "Difference"),
        rows=tuple(rows),
        num_text=2,
        notes=(*not_kept, "AUROC and AP: higher is better. Brier and log loss: lower is better."),
    )


def count_labels(content: RunContent, records: Rows) -> tuple[list[int], list[int]]:
    """Return the images of each class, and how many they are a share of.

    A finding is a share of the images where it is known, a class one of all images.
    """
    names = content.class_names
    if not content.has_findings:
        counts = [sum(r["label"] == name for r in records) for name in names]
        return counts, [len(records)] * len(names)
    values = [parse_findings(r["label"], names) for r in records]
    counts = [sum(row[k] == 1 for row in values) for k in range(len(names))]
    return counts, [sum(row[k] >= 0 for row in values) for k in range(len(names))]


_HISTORY = {
    "train_loss": "TRAIN loss",
    "val_loss": "VAL loss",
    "val_ap": "VAL AP",
    "val_auroc": "VAL AUROC",
}


def _rank_epoch(row: Mapping[str, str]) -> tuple[float, float]:
    ap = number_of(row.get("stressed_ap") or row.get("val_ap"))
    loss = number_of(row.get("val_loss"))
    return (-1.0 if ap is None else ap, -float("inf") if loss is None else -loss)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}\u00a0%" if whole else UNDEFINED
