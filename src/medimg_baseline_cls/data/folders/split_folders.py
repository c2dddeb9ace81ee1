"""Find the split folders of a data folder, or suggest what was probably meant.

Folders that share a part of their name belong together (ISIC_Training, ISIC_Test). A folder
that is not a data set is refused with the place that was meant: a table, the folder above,
the nearest name. What the folders inside a split are is decided in layout.py.
"""

import os
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from medimg_baseline_cls.data.folders.words import (
    SPLIT_WORDS,
    find_level,
    is_companion_name,
    is_neutral,
    is_structural,
    read_split,
)
from medimg_baseline_cls.data.read import FileSorter
from medimg_baseline_cls.errors import DataError

EXPECTED = "expected train/<CLASS>/, test/<CLASS>/ and optionally val/<CLASS>/, or <CLASS>/ alone"
AS_TABLE = "--manifest {}"
_SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})
_TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
_NUM_SHOWN = 10

_Family = Mapping[str, list[Path]]


def find_split_folders(data_dir: Path, *, needs_train: bool = True) -> dict[str, Path]:
    """Return the folder of each split: train, perhaps val, perhaps test; none without a split.

    Args:
        data_dir: contains them, or class folders.
        needs_train: whether others alone are not enough.

    Raises:
        DataError: there is no such folder, two of its folders mean one split, or train is
            missing.
    """
    _require_folder(data_dir)
    families: defaultdict[tuple[str, ...], defaultdict[str, list[Path]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for entry in list_subfolders(data_dir):
        name, others = read_split(entry.name)
        if name is not None:
            families[others][name].append(entry)
    family = _choose_family(families, data_dir)
    if any(len(entries) > 1 for entries in family.values()):
        name, entries = next(item for item in family.items() if len(item[1]) > 1)
        raise DataError(
            f"{data_dir} contains {entries[0].name}/ and {entries[1].name}/, which both mean "
            f"{name}: keep one."
        )
    if needs_train and family and "train" not in family:
        found = shorten_list([f"{f.name}/" for f in list_subfolders(data_dir)])
        hint = _hint_typo(data_dir, family, missing="train")
        raise DataError(f"{data_dir} has no train/ folder, found {found}{hint}; {EXPECTED}.")
    return {name: entries[0] for name, entries in family.items()}


def require_test(data_dir: Path, folders: Mapping[str, Path]) -> None:
    """Refuse a split without test/.

    Raises:
        DataError: train/ is there and test/ is not.
    """
    if not folders or "test" in folders:
        return
    found = shorten_list([f"{f.name}/" for f in list_subfolders(data_dir)])
    val = f"rename {folders['val'].name}/ to test/, or " if "val" in folders else ""
    found += _hint_typo(data_dir, dict.fromkeys(folders, ()), missing="test")
    train = shlex.quote(str(folders["train"]))
    raise DataError(
        f"{data_dir} has no test/ folder, found {found}; {EXPECTED}: {val}pass --data-dir {train} "
        "to draw TEST from these images."
    )


def note_folders(data_dir: Path, folders: Mapping[str, Path]) -> Iterable[str]:
    """Yield which folders next to the split folders are left out."""
    used = {folder.name for folder in folders.values()}
    others = [f"{f.name}/" for f in list_subfolders(data_dir) if f.name not in used]
    if folders and others:
        yield f"folders next to train/ and test/ left out: {shorten_list(others)}"


def is_system_name(name: str) -> bool:
    """Return whether a file or folder is hidden, or the system's own."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def shorten_list(names: Sequence[str]) -> str:
    """Return the first ten names in one line, and how many more there are."""
    shown = ", ".join(names[:_NUM_SHOWN])
    return shown if len(names) <= _NUM_SHOWN else f"{shown} and {len(names) - _NUM_SHOWN} more"


def list_subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones and the system's own."""
    with os.scandir(folder) as scan:
        names = sorted(e.name for e in scan if not is_system_name(e.name) and is_folder(e))
    return [folder / name for name in names]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def hint_table(*folders: Path, as_table: str = AS_TABLE) -> str:
    """Return the flag that names the class of each image where folders do not, and the table.

    Args:
        folders: where a table may be; the folder above images/, too.
        as_table: how the command is given a table.
    """
    places = [*folders, *(folder.parent for folder in folders if is_structural(folder.name))]
    tables = [
        path
        for folder in dict.fromkeys(places)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _TABLE_SUFFIXES and not is_system_name(path.name)
    ]
    if tables:
        return (
            f"pass {as_table.format(shlex.quote(str(tables[0])))} if that table has the class of "
            "each image (name its columns with --path-column and --label-columns)"
        )
    return f"write a table with the columns path and label and pass {as_table.format('TABLE')}"


def hint_upwards(data_dir: Path) -> str:
    """Return a hint at the folder above, if the folders next to the data folder belong to it."""
    above = data_dir.parent
    try:
        nearby = [
            f for f in list_subfolders(above) if f.name != data_dir.name and _is_like(f, data_dir)
        ]
    except OSError:
        return ""
    if not nearby:
        return ""
    meant = above.parent if read_split(above.name)[0] else above
    names = shorten_list([f"{f.name}/" for f in nearby])
    return f" (next to it: {names}; did you mean {meant}?)"


def _require_folder(data_dir: Path) -> None:
    """Refuse what is not a folder, and name what it is."""
    if data_dir.is_dir():
        return
    if not data_dir.exists():
        raise DataError(f"the data folder {data_dir} does not exist{_find_nearest(data_dir)}.")
    if data_dir.suffix.lower() in _TABLE_SUFFIXES:
        raise DataError(f"{data_dir} is a table, not a folder: pass --manifest {data_dir}.")
    raise DataError(
        f"{data_dir} is a file, not a folder: name the folder of all images; {EXPECTED}."
    )


def _find_nearest(missing: Path) -> str:
    """Return the existing path with the name nearest to the first missing part."""
    known = next(folder for folder in missing.parents if folder.exists())
    wrong, *rest = missing.relative_to(known).parts
    try:
        names = {f.name.casefold(): f for f in known.iterdir() if not is_system_name(f.name)}
    except OSError:
        return ""
    near = get_close_matches(wrong.casefold(), names, 1)
    if not near:
        return ""
    meant = names[near[0]].joinpath(*rest)
    return f" (did you mean {meant if meant.exists() else names[near[0]]}?)"


def _hint_typo(data_dir: Path, family: Collection[str], *, missing: str) -> str:
    """Return which folder looks like a missing split that was typed wrongly."""
    words = [word for word, split in SPLIT_WORDS.items() if split == missing]
    for folder in list_subfolders(data_dir):
        name = folder.name.casefold()
        if read_split(name)[0] not in family and get_close_matches(name, words, 1, cutoff=0.7):
            return f" ({folder.name}/ looks like {missing}/: rename it)"
    return ""


def _choose_family(families: Mapping[tuple[str, ...], _Family], data_dir: Path) -> _Family:
    """Return the folders that are the split: those of one kind of name, train with another."""
    whole = [words for words, found in families.items() if "train" in found and len(found) > 1]
    images = [words for words in whole if not is_companion_name(" ".join(words))]
    if len(images) > 1 and () not in images:
        found = sorted(f"{f[0].name}/" for words in images for f in families[words].values())
        raise DataError(
            f"{data_dir} contains several splits ({shorten_list(found)}), perhaps one of each "
            f"class: put the class folders into train/ and test/; {EXPECTED}."
        )
    if whole:  # train_images rather than train_masks, train rather than old_train
        return families[min(images or whole, key=lambda words: (len(words), words))]
    mixed: defaultdict[str, list[Path]] = defaultdict(list)
    for found in families.values():
        for name, entries in found.items():
            mixed[name] += entries
    if "train" in mixed and len(mixed) > 1 and all(len(found) == 1 for found in mixed.values()):
        inner = [{f.name.casefold() for f in list_subfolders(found[0])} for found in mixed.values()]
        if len(set.intersection(*inner)) > 1:  # train/ and external_test/, the same classes in both
            return mixed
    plain = families.get((), {})
    if find_level([entry.name for entry in list_subfolders(data_dir)]):
        return {}  # fold_0, fold_1 and test
    has_classes = any(_has_classes(entry) for entries in plain.values() for entry in entries)
    return plain if has_classes else {}


def _has_classes(folder: Path) -> bool:
    """Return whether a folder has class folders: not images alone, not patients or views."""
    names = [entry.name for entry in list_subfolders(folder)]
    return any(not is_neutral(name) for name in names)


def _is_like(folder: Path, data_dir: Path) -> bool:
    """Return whether both are parts of one split, or the folder contains images as a class does."""
    (split, others), (other_split, others_there) = map(read_split, (data_dir.name, folder.name))
    if split is not None:
        return other_split not in (None, split) and others == others_there
    return any(map(FileSorter().is_image, folder.iterdir()))
