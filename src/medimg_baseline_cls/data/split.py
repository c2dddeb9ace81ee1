"""Turn records into train, val and test: patients whole, balance exact, nothing shared.

A split is a pure function of (seed, ids): images and patients are ordered by a hash of
their names under the seed, never by listing order. test/ stays test. Where the user's own
folders put a patient or a byte-identical file on two sides, that is an error.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medimg_baseline_cls.data.draws import draw_balanced, draw_stratified
from medimg_baseline_cls.data.folds import divide_into_folds, draw_share
from medimg_baseline_cls.data.groups import Group, collect_groups, count_images
from medimg_baseline_cls.errors import ConfigError, DataError, LeakageError, RunError
from medimg_baseline_cls.schema import SPLIT_NAMES, ImageRecord, Split, Task, parse_findings
from medimg_baseline_cls.utils.files import read_csv, write_csv

Strategy = Literal["auto", "folder", "balanced", "stratified"]

MIN_VAL_IMAGES = 50  # a smaller val/ folder is too small to choose an epoch or a threshold by

_COLUMNS = ("image_id", "path", "label", "group", "split", "sha256", "width", "height")
_SUBGROUP_PREFIX = "subgroup_"  # a column of the user's may be called "label" too
_NUM_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """How TEST and VAL are chosen.

    Attributes:
        strategy: of VAL. "folder" uses val/; "balanced" takes the same number of images per
            class from train; "stratified" the same share of each class; "auto" is "folder"
            where val/ holds 50 images or more and every class, else "balanced" ("stratified"
            for several findings per image). Unless val/ is used, its images join train
            before the draw.
        val_fraction: share of VAL in what is not TEST, in (0, 1). "balanced" takes at most
            half of the smallest class.
        test_fraction: share of TEST in all images, where they come without a split.
        seed: of every draw.
        num_folds: makes TEST one of so many folds of all images; None: no folds.
        fold: which fold is TEST, from 0.
        fold_repeat: which drawing of the folds.
        site_column: subgroup by which TEST is one site; None: no sites.
        test_site: that site.
    """

    strategy: Strategy = "auto"
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    seed: int = 0
    num_folds: int | None = None
    fold: int = 0
    fold_repeat: int = 0
    site_column: str | None = None
    test_site: str | None = None

    @property
    def is_redrawn(self) -> bool:
        """Return whether TEST is a fold or a site, whatever split the data bring."""
        return self.num_folds is not None or self.site_column is not None


@dataclass(frozen=True, slots=True)
class SplitResult:
    """A split, the strategy that made its VAL ("folder", "balanced", "stratified"), and notes."""

    split: Split
    strategy: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Draw:
    """The images in order, how they are to be divided, and what their labels mean."""

    records: Sequence[ImageRecord]
    settings: SplitSettings
    class_names: tuple[str, ...]
    task: Task
    subgroup_names: tuple[str, ...]

    def groups(self, places: Sequence[str], *purpose: str | int) -> list[Group]:
        """Return the groups that are not in TEST, in the order drawn for a purpose."""
        pool = (r for r, place in zip(self.records, places, strict=True) if place != "test")
        return collect_groups(
            pool,
            class_names=self.class_names,
            task=self.task,
            seed=self.settings.seed,
            purpose=("split", *purpose),
        )

    def place(self, places: Sequence[str], drawn: Sequence[Group], *, name: str) -> list[str]:
        """Return the places with the drawn groups in the named split, others in train."""
        names = {group.name for group in drawn}
        return [
            "test" if place == "test" else name if record.group in names else "train"
            for record, place in zip(self.records, places, strict=True)
        ]


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
        records: their `split` is what the data say: "train", "val" or "test", or "" for all
            of them where there is no split, so that TEST is drawn first.
        settings: how TEST and VAL are chosen.
        class_names: the class order.
        task: how labels are to be read.
        subgroup_names: of the records' subgroups.

    Raises:
        ConfigError: There is no such site.
        DataError: The split is impossible with these images.
        LeakageError: A group or a sha256 stands on two sides.
    """
    ordered = sorted(records, key=_get_path)
    draw = _Draw(ordered, settings, tuple(class_names), task, tuple(subgroup_names))
    places, notes = _choose_test(draw)
    strategy, more = _choose_strategy(draw, places)
    if strategy != "folder":
        drawn, last = _draw_val(draw, places, strategy=strategy)
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
    return SplitResult(split, strategy, (*notes, *more))


def check_leakage(split: Split) -> None:
    """Refuse a split in which a group or a byte-identical file stands on two sides.

    Raises:
        LeakageError: The text lists the files.
    """
    for kind in ("group", "sha256"):
        sides: dict[str, str] = {}
        shared: set[str] = set()
        for record in split.records:
            key = getattr(record, kind)
            if key and sides.setdefault(key, record.split) != record.split:
                shared.add(key)
        if shared:
            raise LeakageError(_describe_leakage(split.records, kind, shared=shared))


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
        raise RunError(f"{path} has the columns {', '.join(columns)}; it is no split.csv.")
    texts = {row["label"] for row in rows}
    labels = {text for text in texts if _is_label(text, class_names, task=task)}
    for number, row in enumerate(rows, start=2):
        if row["split"] not in SPLIT_NAMES or row["label"] not in labels:
            raise RunError(
                f"{path}, row {number}: split {row['split']!r} and label {row['label']!r}; "
                f"expected {', '.join(SPLIT_NAMES)} and {', '.join(class_names)}."
            )
    try:
        records = tuple(_parse_record(row, more) for row in rows)
    except ValueError as error:
        raise RunError(f"{path} holds a size that is no number ({error}).") from error
    names = tuple(name.removeprefix(_SUBGROUP_PREFIX) for name in more)
    return Split(records=records, class_names=tuple(class_names), task=task, subgroup_names=names)


def summarize_split(split: Split) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of a table: images, groups, per class count and prevalence."""
    header = ("split", "images", "groups", *split.class_names)
    totals = Counter(record.split for record in split.records)
    rows: list[tuple[str, ...]] = []
    for name in SPLIT_NAMES:
        counts = split.class_counts(name).values()
        total = totals[name]
        cells = [f"{n} ({100 * n / total:.1f}%)" if total else "0" for n in counts]
        rows.append((name, str(total), str(split.num_groups(name)), *cells))
    return header, rows


def _choose_test(draw: _Draw) -> tuple[list[str], list[str]]:
    """Return for each image "test" or what else it is before VAL is drawn, and notes."""
    settings, given = draw.settings, [record.split for record in draw.records]
    found = set(given)
    notes: list[str] = []
    if settings.is_redrawn:
        if found != {""}:
            notes = ["the split that the data bring is not used: TEST is one fold or site of all"]
        if settings.site_column is not None:
            return _leave_out_site(draw), notes
        return _leave_out_fold(draw), notes
    if found == {""}:
        parts = "the others and test"
        groups = draw.groups(given, "test")
        drawn = _draw_part(draw, groups, fraction=settings.test_fraction, parts=parts)
        notes = [f"the data bring no split: {settings.test_fraction:g} of them are drawn as TEST"]
        return draw.place(given, drawn, name="test"), notes
    if not found <= set(SPLIT_NAMES) or "test" not in found:
        raise DataError(
            f"the images are marked {', '.join(sorted(repr(name) for name in found))}: mark some "
            'of them "test" and every other "train" or "val", or none of them, so that '
            "TEST is drawn here."
        )
    return given, notes


def _leave_out_fold(draw: _Draw) -> list[str]:
    settings = draw.settings
    everywhere = [""] * len(draw.records)
    assert settings.num_folds is not None
    folds = divide_into_folds(
        draw.groups(everywhere, "folds", settings.fold_repeat),
        settings.num_folds,
        class_names=draw.class_names,
        seed=settings.seed,
        repeat=settings.fold_repeat,
    )
    return draw.place(everywhere, folds[settings.fold], name="test")


def _leave_out_site(draw: _Draw) -> list[str]:
    """Return "test" for the images of one site.

    Raises:
        ConfigError: The data have no such column, or no such site.
        LeakageError: A patient was imaged at this site and at another one.
    """
    name, site = draw.settings.site_column, draw.settings.test_site
    if name not in draw.subgroup_names:
        raise ConfigError(
            f"site_column = {name} is no column that is kept beside the images; there are "
            f"{', '.join(draw.subgroup_names) or 'none'}."
        )
    column = draw.subgroup_names.index(name)
    sites = [record.subgroups[column] for record in draw.records]
    if site not in sites:
        known = ", ".join(sorted(set(sites)))
        raise ConfigError(f"test_site = {site} is none of the sites in {name}: there are {known}.")
    inside = {r.group for r, own in zip(draw.records, sites, strict=True) if own == site}
    outside = {r.group for r, own in zip(draw.records, sites, strict=True) if own != site}
    if inside & outside:
        first = min(inside & outside)
        pairs = zip(draw.records, sites, strict=True)
        places = ", ".join(sorted({own for record, own in pairs if record.group == first}))
        raise LeakageError(
            f"{len(inside & outside)} group(s) (patients) have images at {site} and at another "
            f"site, such as {first[:48]} at {places}: a site cannot be left out while its "
            "patients stay; leave out these patients, or correct the column."
        )
    return ["test" if own == site else "train" for own in sites]


def _choose_strategy(draw: _Draw, places: Sequence[str]) -> tuple[str, list[str]]:
    """Return the strategy that "auto" means, and notes on the use of val/."""
    strategy, is_multilabel = draw.settings.strategy, draw.task == "multilabel"
    if strategy == "balanced" and is_multilabel:
        raise DataError(
            'val_strategy "balanced" takes the same number of images of each class, but these '
            'images have several findings each: use "stratified".'
        )
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
    draw: _Draw, places: Sequence[str], *, strategy: str
) -> tuple[list[Group], list[str]]:
    settings = draw.settings
    fold = () if settings.num_folds is None else (settings.fold_repeat, settings.fold)
    groups = draw.groups(places, "val", *fold)
    if strategy == "balanced":
        return draw_balanced(groups, settings.val_fraction, class_names=draw.class_names)
    return _draw_part(draw, groups, fraction=settings.val_fraction, parts="train and val"), []


def _draw_part(draw: _Draw, groups: Sequence[Group], *, fraction: float, parts: str) -> list[Group]:
    """Return a stratified share of the groups."""
    if draw.task != "multilabel":
        return draw_stratified(groups, fraction, class_names=draw.class_names, parts=parts)
    return draw_share(
        groups, fraction, class_names=draw.class_names, seed=draw.settings.seed, parts=parts
    )


def _check_sides(places: Sequence[str]) -> None:
    missing = sorted(set(SPLIT_NAMES) - set(places))
    if missing:
        raise DataError(
            f"{' and '.join(missing)} would be without an image; add images, or choose another "
            "val_strategy, test_site or split."
        )


def _describe_leakage(records: Sequence[ImageRecord], kind: str, *, shared: set[str]) -> str:
    what = "group(s) (patients)" if kind == "group" else "byte-identical file(s)"
    lines: list[str] = []
    for key in sorted(shared)[:_NUM_SHOWN]:
        held = [record for record in records if getattr(record, kind) == key]
        sides = {record.split: record.path for record in reversed(held)}
        places = ", ".join(f"{sides[name]} in {name}" for name in SPLIT_NAMES if name in sides)
        lines.append(f"  {key[:48]}: {places}")
    if len(shared) > _NUM_SHOWN:
        lines.append(f"  ... and {len(shared) - _NUM_SHOWN} more")
    return (
        f"{len(shared)} {what} stand on two sides of the split; move or remove these files, or "
        "correct group_regex:\n" + "\n".join(lines)
    )


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


def _get_path(record: ImageRecord) -> str:
    return record.path
