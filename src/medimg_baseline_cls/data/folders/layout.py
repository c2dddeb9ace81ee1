"""Refuse a data folder without classes in its first level, and explain what it contains.

Folds, sites, patients and parts of a download are known by their names, or because all of
them contain the same folders. A folder around the classes (images/) is named. Where
--class-names names the folders of the first level, they are the classes.
"""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg_baseline_cls.data.folders import words
from medimg_baseline_cls.data.folders.split_folders import (
    AS_TABLE,
    EXPECTED,
    hint_table,
    hint_upwards,
    is_system_name,
    shorten_list,
)
from medimg_baseline_cls.data.positive import looks_negative
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import Inference

_MAX_CLASSES = 20  # more names that are shared by the classes are patients
_SHARE = 0.8
_NUM_NAMED = 5


@dataclass(frozen=True, slots=True)
class Level:
    """The folders that are to be the classes, and what is below them.

    Attributes:
        data_dir: the data folder.
        source: its train folder, or itself where there is no split.
        num_images: images by their folder, as the parts of its path below `source`.
        subfolders: names of subfolders, by the path of a folder relative to the data folder.
        as_table: how the command is given a table instead.
    """

    data_dir: Path
    source: Path
    num_images: Mapping[tuple[str, ...], int]
    subfolders: Mapping[str, Sequence[str]]
    as_table: str = AS_TABLE

    @property
    def names(self) -> list[str]:
        """Return the folders of the first level that contain images, sorted."""
        return sorted({place[0] for place in self.num_images if place})

    def inside(self, *parts: str) -> Sequence[str]:
        """Return the subfolders of a folder below `source`."""
        place = self.source.joinpath(*parts).relative_to(self.data_dir).as_posix()
        return self.subfolders.get(place, ())


def require_classes(level: Level, *, class_names: Sequence[str] | None, fewest: int = 2) -> None:
    """Refuse a first level that is not the classes, unless `class_names` lists it.

    Raises:
        DataError: the message explains the folders and names the command for them.
    """
    names = level.names
    if class_names is not None and set(class_names) <= set(names):
        return
    _require_class_folders(level, fewest=fewest)
    _require_one_level(level)
    kind = words.find_level(names)
    below = _find_shared(level)
    if kind == "patients" and any(f in level.inside(names[0]) for f in below):
        kind = None  # 2019/ and 2020/
    if kind is not None or (below and not _look_like_labels(names)):
        raise DataError(_describe(level, kind, below=below))


def _require_one_level(level: Level) -> None:
    """Refuse folders of several splits among the classes, and a copy of all classes."""
    names = level.names
    splits = [name for name in names if words.read_split(name)[0]]
    found = {words.read_split(name)[0] for name in splits}
    if "train" in found and len(found) > 1:
        raise DataError(
            f"{level.source} contains {shorten_list([f'{name}/' for name in splits])}, which look "
            f"like a split, but do not belong together by their names; {EXPECTED}."
        )
    for name in names:
        others = {other.casefold(): other for other in names if other != name}
        copied = sorted(others[f.casefold()] for f in level.inside(name) if f.casefold() in others)
        if len(copied) > 1:
            raise DataError(
                f"{level.source / name} contains the classes {', '.join(copied)} again, which are "
                f"next to it as well: move it away, or pass --class-names {shlex.join(copied)}."
            )


def infer_inner_splits(level: Level) -> list[Inference]:
    """Return the folders train and test inside the classes, which are not used as a split."""
    inner = {name: {words.read_split(f)[0] for f in level.inside(name)} for name in level.names}
    split = [f"{name}/" for name, found in inner.items() if {"train", "test"} <= found]
    return [
        Inference(
            topic="split in classes",
            found="not used",
            reason=f"train and test are folders inside {shorten_list(split)}",
            certainty="guess",
            flag="--manifest TABLE --split-column NAME",
            warning=f"the folders train and test inside {shorten_list(split)} are not used as a "
            "split: make them the first level to keep it",
        )
        for _ in split[:1]
    ]


def _require_class_folders(level: Level, *, fewest: int) -> None:
    """Refuse fewer than `fewest` class folders, and folders around the classes."""
    is_split = level.source != level.data_dir
    found, names, num_loose = level.inside(), level.names, level.num_images.get((), 0)
    structural = words.find_structural(names)
    num_classes = len(names) - len(structural)
    whole = [] if is_split else [(name,) for name in found if _has_split(level, name)]
    has_enough = num_classes >= max(fewest - is_split, 1)
    if (has_enough and not whole) or (is_split and not names and not num_loose):
        return
    around = [_unwrap(level, n) for n in found if len(found) == 1 or words.is_structural(n)]
    inner = whole or [place for place in around if _has_classes(level, place)]
    empty = [f"{name}/" for name in found if name not in names]
    where = level.source
    table = hint_table(where, level.data_dir, as_table=level.as_table)
    if inner and is_split:
        folders = shorten_list([f"{name}/" for name in level.inside(*inner[0])])
        text = f"contains {'/'.join(inner[0])}/ around {folders}: move these up; {EXPECTED}"
    elif inner:
        meant = where.joinpath(*inner[0])
        text = f"has no train/ folder, found {inner[0][0]}/ (did you mean {meant}?)"
    elif not any(not is_system_name(f.name) for f in where.iterdir()):
        text = f"is empty; {EXPECTED}"
    elif num_loose or (names and not num_classes):
        place = "" if num_loose else f" in {shorten_list([f'{n}/' for n in names])}"
        text = f"contains images{place}, but no class folders; {EXPECTED}; or {table}"
        text += hint_upwards(where) if num_loose and not is_split else ""
    elif not names:
        none = shorten_list(empty) or "no folders"
        text = f"has no train/ folder and no class folder with images, found {none}; {EXPECTED}"
    else:
        used = shorten_list([f"{name}/" for name in names if name not in structural])
        none = f", and none in {shorten_list(empty)}" if empty else ""
        text = (
            f"contains images in {used} alone{none}; two class folders are needed, or, where the "
            f"folders are not the classes, {table}"
        )
    raise DataError(f"{where} {text}.")


def _has_split(level: Level, name: str) -> bool:
    """Return whether a folder is a data set: a class of its own may contain train/, too."""
    splits = {words.read_split(f)[0]: f for f in level.inside(name)}
    parts = [splits.get(split) for split in ("train", "test")]
    return all(part is not None and level.inside(name, part) for part in parts)


def _unwrap(level: Level, name: str) -> tuple[str, ...]:
    """Return the folder that single folders lead down to."""
    place = (name,)
    while len(inside := level.inside(*place)) == 1 and place not in level.num_images:
        place = (*place, inside[0])
    return place


def _has_classes(level: Level, place: tuple[str, ...]) -> bool:
    """Return whether a folder may be the data folder: it has several, which are not masks."""
    inside = level.inside(*place)
    return len(inside) > 1 and not words.is_companion_name(place[0])


def _find_shared(level: Level) -> list[str]:
    """Return the folders inside that the first level shares, if they look like classes.

    They are looked for one level down, by their names; and further down by the words of their
    names, as in patient7/study1_positive, where only words of a diagnosis count.
    """
    depth = max(map(len, level.num_images), default=0)
    for index in range(1, min(depth, 5)):
        inner: defaultdict[str, Counter[str]] = defaultdict(Counter)
        shown: dict[str, str] = {}
        for place, count in level.num_images.items():
            if len(place) > index:
                key = _key(place[index], index)
                shown.setdefault(key, place[index])
                inner[place[0]][key] += count
        shared = _choose_shared(inner, total=sum(level.num_images.values()))
        if shared and (index == 1 or _look_like_labels(shared)):
            return sorted(shown[key] for key in shared)
    return []


def _choose_shared(inner: Mapping[str, Counter[str]], *, total: int) -> list[str]:
    """Return the names that look like classes and that most folders share, where they prevail."""
    holders = Counter(key for found in inner.values() for key in found if key)
    shared = [key for key, n in holders.items() if n >= max(2, len(inner) / 2)]
    num_covered = sum(found[key] for found in inner.values() for key in holders)
    needed = 1 if _look_like_labels(holders) else 2
    if not 2 <= len(holders) <= _MAX_CLASSES or len(shared) < needed:
        return []
    return list(holders if needed == 1 else shared) if num_covered >= _SHARE * total else []


def _key(name: str, index: int) -> str:
    """Return what makes a folder inside a class look like a class itself; "" for a patient."""
    if index > 1:
        return words.without_numbers(name)
    return "" if words.is_neutral(name) and name not in ("0", "1") else name.casefold()


def _look_like_labels(names: Iterable[str]) -> bool:
    return any(map(looks_negative, names))


def _describe(level: Level, kind: words.Level | None, *, below: Sequence[str]) -> str:
    """Return what the folders are, the command that takes them so, and the flag that insists."""
    names = level.names
    found = shorten_list([f"{name}/" for name in names])
    classes = shorten_list([f"{name}/" for name in below])
    root = shlex.quote(str(level.data_dir))
    one_folder = f"put the images of each class ({classes}) into one folder and " if below else ""
    table = f"write {root}/table.csv with the columns path, label and"
    in_table = hint_table(level.data_dir, as_table=level.as_table)
    alone = f"write {root}/table.csv with the columns path and label"
    by_site = f"run `medimg cv --data-dir {root} --site-column"
    if kind == "folds":
        text = f"contains folds ({found}), not classes: {one_folder}" + (
            f"run `medimg cv --data-dir {root} --num-folds {len(names)}`, or keep these folds: "
            if below
            else ""
        )
        text += f"{table} fold and {by_site} fold --by-site`"
    elif kind == "sites":
        text = f"contains sites ({found}), not classes: {table} site and {by_site} site --by-site`"
        text += ", which tests on each site in turn"
    elif kind == "patients":
        text = f"contains a folder per patient or study ({found}), not per class: "
        text += f"{in_table}, with --group-column for the patient"
    elif kind == "parts":
        text = f"contains parts of one collection ({found}), not classes: {one_folder}"
        text += f"{'pass that folder, or ' if below else ''}{in_table}"
    else:
        text = f"has the same folders in each of {found}: {classes} seem to be the classes; make "
        text += f"them the first level, or {alone} (and site, to {by_site} site --by-site`)"
    insist = shlex.join(names) if len(names) <= _NUM_NAMED else f"{shlex.join(names[:2])} ..."
    return f"{level.source} {text}; if they are the classes, pass --class-names {insist}."
