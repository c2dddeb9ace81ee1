"""Turn records into train, val and test: patients whole, balance exact, nothing shared.

A split is a pure function of (seed, image ids): patients are ordered by a hash of their
smallest image id under the seed, never by listing order or by their names. choose_test.py chooses
TEST, this file VAL. A patient or a byte-identical file in more than one split of the data is an
error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from medimg_baseline_cls.data.splitting.choose_test import (
    Draw,
    SplitSettings,
    choose_test,
    draw_stratified_share,
)
from medimg_baseline_cls.data.splitting.group_sampling import draw_balanced
from medimg_baseline_cls.data.splitting.grouping import Group, collect_groups, count_images
from medimg_baseline_cls.errors import DataError, LeakageError, RunError
from medimg_baseline_cls.schema import (
    SPLIT_NAMES,
    ImageRecord,
    Inference,
    Split,
    Task,
    parse_findings,
)
from medimg_baseline_cls.utils.files import read_csv, write_csv
from medimg_baseline_cls.utils.quantities import say_count

MIN_VAL_IMAGES = 50  # a smaller val/ folder is too small to choose an epoch or a threshold by

_COLUMNS = ("image_id", "path", "label", "group", "split", "sha256", "width", "height")
_SUBGROUP_PREFIX = "subgroup_"  # a user's column may be named "label" too
_NUM_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SplitResult:
    """A split, the strategy that made its VAL ("folder", "balanced", "stratified"), and notes.

    `inference` says the same of VAL to the user.
    """

    split: Split
    strategy: str
    notes: tuple[str, ...]
    inference: Inference


def split_images(
    records: Sequence[ImageRecord],
    *,
    settings: SplitSettings,
    class_names: Sequence[str],
    task: Task = "multiclass",
    subgroup_names: Sequence[str] = (),
) -> SplitResult:
    """Divide the images into train, val and test.

    Args:
        records: their `split` comes from the data: "train", "val" or "test", or "" for all
            of them if there is no split; then TEST is drawn first.
        settings: how TEST and VAL are chosen.
        class_names: the class order.
        task: how to read the labels.
        subgroup_names: of the records' subgroups.

    Raises:
        ConfigError: There is no such site.
        DataError: The split is impossible with these images.
        LeakageError: A group or a sha256 is in more than one split.
    """
    # By path, so that split.csv does not depend on the order of the listing.
    ordered = sorted(records, key=attrgetter("path"))
    draw = Draw(ordered, settings, tuple(class_names), task, tuple(subgroup_names))
    places, notes = choose_test(draw)
    strategy, more = _choose_strategy(draw, places)
    if strategy != "folder":
        drawn, strategy, last = _draw_val(draw, places, strategy=strategy)
        places = draw.place(places, drawn, name="val")
        more += last
    _check_sides(places)
    split = Split(
        records=tuple(
            record if record.split == place else replace(record, split=place)
            for record, place in zip(ordered, places, strict=True)
        ),
        class_names=draw.class_names,
        task=task,
        subgroup_names=draw.subgroup_names,
    )
    check_leakage(split)
    num_given = sum(record.split == "val" for record in ordered)
    is_set = settings.strategy != "auto"
    inference = _describe_val(split, strategy, num_given=num_given, is_set=is_set)
    return SplitResult(split, strategy, (*notes, *more), inference)


_REMEDY = (
    "pass --on-leak drop to leave them out of the training side (`medimg check` shows all of them)"
)


def check_leakage(split: Split, *, remedy: str = _REMEDY) -> None:
    """Refuse a split in which a group or a byte-identical file is in more than one split.

    Args:
        split: the images.
        remedy: what the command offers where nothing can be moved or corrected.

    Raises:
        LeakageError: The text lists the files.
    """
    for kind in ("sha256", "group"):  # equal files make one group: they are the true reason
        sides: dict[str, str] = {}
        shared: set[str] = set()
        for record in split.records:
            key = getattr(record, kind)
            if key and sides.setdefault(key, record.split) != record.split:
                shared.add(key)
        if shared:
            raise LeakageError(*_describe_leakage(split, kind, shared=shared, remedy=remedy))


def write_split(path: Path, split: Split) -> None:
    """Write split.csv, one row per image; a column for each subgroup at the end."""
    header = (*_COLUMNS, *(f"{_SUBGROUP_PREFIX}{name}" for name in split.subgroup_names))
    rows = ([*(getattr(r, name) for name in _COLUMNS), *r.subgroups] for r in split.records)
    write_csv(path, header, rows=rows)


def read_split(path: Path, class_names: Sequence[str], *, task: Task = "multiclass") -> Split:
    """Read split.csv back.

    Raises:
        RunError: The file is missing, or is not a split of these classes.
    """
    rows = read_csv(path)
    columns = list(rows[0]) if rows else list(_COLUMNS)
    more = columns[len(_COLUMNS) :]
    if tuple(columns[: len(_COLUMNS)]) != _COLUMNS or not all(
        name.startswith(_SUBGROUP_PREFIX) for name in more
    ):
        raise RunError(f"{path} has the columns {', '.join(columns)}; it is not a split.csv.")
    texts = {row["label"] for row in rows}
    labels = {text for text in texts if _is_label(text, class_names, task=task)}
    for number, row in enumerate(rows, start=2):  # row 1 is the header, as spreadsheets count
        if row["split"] not in SPLIT_NAMES or row["label"] not in labels:
            raise RunError(
                f"{path}, row {number}: split {row['split']!r} and label {row['label']!r}; "
                f"expected {', '.join(SPLIT_NAMES)} and {', '.join(class_names)}."
            )
    try:
        records = tuple(_parse_record(row, more) for row in rows)
    except ValueError as error:
        raise RunError(f"{path} contains a size that is not a number: restore it.") from error
    names = tuple(name.removeprefix(_SUBGROUP_PREFIX) for name in more)
    return Split(records=records, class_names=tuple(class_names), task=task, subgroup_names=names)


def summarize_split(split: Split) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of a table: images, groups, per class count and prevalence.

    The prevalence of a finding is its share of the images where it is known.
    """
    header = ("split", "images", "groups", *split.class_names)
    rows: list[tuple[str, ...]] = []
    for name in SPLIT_NAMES:
        counts, indices = split.class_counts(name), split.rows(name)
        totals = [len(indices)] * len(counts)
        if split.has_findings:
            totals = (split.labels(indices) >= 0).sum(axis=0).tolist()
        cells = [
            f"{n} ({100 * n / total:.1f}%)" if total else "0"
            for n, total in zip(counts.values(), totals, strict=True)
        ]
        rows.append((name, str(len(indices)), str(split.num_groups(name)), *cells))
    return header, rows


def list_one_sided(split: Split) -> list[str]:
    """Return which findings have no positive, or no negative, image in VAL; none for classes."""
    if not split.has_findings:
        return []
    labels = split.labels(split.rows("val"))
    return [
        f"{word} images of {name}"
        for column, name in enumerate(split.class_names)
        for value, word in ((1, "positive"), (0, "negative"))
        if not (labels[:, column] == value).any()
    ]


def _choose_strategy(draw: Draw, places: Sequence[str]) -> tuple[str, list[str]]:
    """Return the strategy that "auto" means, and notes on the use of val/."""
    strategy, is_multilabel = draw.settings.strategy, draw.has_findings
    if strategy == "balanced" and is_multilabel:
        raise DataError(
            'val_strategy "balanced" takes the same number of images of each class, but these '
            'images have several findings each: use "stratified".'
        )
    # Only counted, so that the seed below does not matter.
    held = [r for r, place in zip(draw.records, places, strict=True) if place == "val"]
    counts = count_images(
        collect_groups(held, class_names=draw.class_names, task=draw.task, seed=0, purpose=())
    )
    missing = [name for name in draw.class_names if counts[name] == 0]
    if strategy == "folder":
        if draw.settings.is_redrawn:
            raise DataError(
                'val_strategy "folder" cannot be where TEST is a fold or a site of all images: '
                'use "balanced" or "stratified".'
            )
        if missing:
            raise DataError(
                f'val_strategy "folder" needs val/ with images of every class; {missing[0]} has '
                'none there: add some, or use "balanced" or "stratified".'
            )
        return "folder", []
    if strategy == "auto" and not missing and len(held) >= MIN_VAL_IMAGES:
        return "folder", [f"val/ is used as it is ({len(held)} images)"]
    default = "stratified" if is_multilabel else "balanced"
    chosen = default if strategy == "auto" else strategy
    if not held:
        return chosen, []
    reason = "is not used" if strategy != "auto" else f"has fewer than {MIN_VAL_IMAGES} images"
    if strategy == "auto" and len(held) >= MIN_VAL_IMAGES:
        reason = f"has no image of {missing[0]}"
    return chosen, [f"val/ {reason}: its {len(held)} images join train before the draw"]


def _draw_val(
    draw: Draw, places: Sequence[str], *, strategy: str
) -> tuple[list[Group], str, list[str]]:
    """Return the groups of VAL, the strategy that drew them, and notes.

    Where "auto" means "balanced" and whole groups allow no balance, it means "stratified".
    """
    settings = draw.settings
    # Part of the purpose, so that each fold draws its own VAL.
    fold = () if settings.num_folds is None else (settings.fold_repeat, settings.fold)
    groups = draw.groups(places, "val", *fold)
    notes: list[str] = []
    if strategy == "balanced":
        try:
            drawn, notes = draw_balanced(
                groups, settings.val_fraction, class_names=draw.class_names
            )
        except DataError:
            if settings.strategy != "auto":
                raise
            notes = ["whole patients allow no balanced VAL: each class is drawn at its share"]
        else:
            return drawn, strategy, notes
    drawn = draw_stratified_share(
        draw, groups, fraction=settings.val_fraction, parts="train and val"
    )
    return drawn, "stratified", notes


def _describe_val(split: Split, strategy: str, *, num_given: int, is_set: bool) -> Inference:
    count = say_count(len(split.rows("val")), "images")
    drawn = "the same number of each class" if strategy == "balanced" else "each class at its share"
    reason = f"val/ has {MIN_VAL_IMAGES} images or more, and every class"
    if strategy != "folder":
        reason = "there is no val/"
        if num_given:
            given = say_count(num_given, "images")
            reason = f"val/ has {given}, not {MIN_VAL_IMAGES} of every class, which joined train"
    return Inference(
        topic="VAL",
        found=f"val/, {count}" if strategy == "folder" else f"{count} drawn from train, {drawn}",
        reason="--val-strategy" if is_set else reason,
        certainty="set" if is_set else "sure",
        flag="" if is_set else "--val-strategy folder|balanced|stratified",
    )


def _check_sides(places: Sequence[str]) -> None:
    missing = sorted(set(SPLIT_NAMES) - set(places))
    if missing:
        raise DataError(
            f"{' and '.join(missing)} would be without an image; add images, or choose another "
            "val_strategy, test_site or split."
        )


def _describe_leakage(split: Split, kind: str, *, shared: set[str], remedy: str) -> list[str]:
    what = "group(s) (patients)" if kind == "group" else "byte-identical file(s)"
    lines: list[str] = []
    for key in sorted(shared)[:_NUM_SHOWN]:
        held = [record for record in split.records if getattr(record, kind) == key]
        sides = {record.split: record.path for record in reversed(held)}
        places = ", ".join(f"{sides[name]} in {name}" for name in SPLIT_NAMES if name in sides)
        lines.append(f"{key[:48]}: {places}")
    if len(shared) > _NUM_SHOWN:
        lines.append(f"... and {len(shared) - _NUM_SHOWN} more")
    advice = "remove all copies but one"
    if kind == "group":
        advice = "move all images of a patient to one split, or correct what names the patient"
    return [
        f"{len(shared)} {what} are in more than one split; {advice}, or {remedy}:",
        *lines,
    ]


def _is_label(text: str, class_names: Sequence[str], *, task: Task) -> bool:
    if task != "multilabel":
        return text in class_names
    try:
        parse_findings(text, class_names)
    except KeyError:
        return False
    return True


def _parse_record(row: Mapping[str, str], subgroups: Sequence[str]) -> ImageRecord:
    return ImageRecord(
        image_id=row["image_id"],
        path=row["path"],
        label=row["label"],
        group=row["group"],
        split=row["split"],
        sha256=row["sha256"],
        width=int(row["width"]),
        height=int(row["height"]),
        subgroups=tuple(row[name] for name in subgroups),
    )
