"""Tell what a data folder is: split folders, class folders, or neither, and why not.

A folder that is no data set is refused with what was found instead, and the place that was
probably meant: a table, one level up, one level down.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from medimg_baseline_cls.data.read import is_image_name
from medimg_baseline_cls.errors import DataError

FOLDER_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})
_TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
_EXPECTED = "expected train/<CLASS>/, test/<CLASS>/ and optionally val/<CLASS>/, or <CLASS>/ alone"
_NUM_SHOWN = 10


def find_split_folders(data_dir: Path) -> dict[str, Path]:
    """Return the folder of each split: train, test, perhaps val; none where there is no split.

    Raises:
        DataError: there is no such folder, two of its folders mean one split, or one of train
            and test is missing.
    """
    _require_folder(data_dir)
    folders: dict[str, Path] = {}
    for entry in _subfolders(data_dir):
        name = FOLDER_NAMES.get(entry.name.lower())
        if name is None:
            continue
        if name in folders:
            raise DataError(
                f"{data_dir} holds {folders[name].name}/ and {entry.name}/, which both mean "
                f"{name}: keep one."
            )
        folders[name] = entry
    for name in ("train", "test"):
        if folders and name not in folders:
            found = shorten_list([f"{f.name}/" for f in _subfolders(data_dir)])
            raise DataError(f"{data_dir} has no {name}/ folder, found {found}; {_EXPECTED}.")
    return folders


def require_class_folders(labels: Collection[str], data_dir: Path) -> None:
    """Refuse a folder without a split that does not hold two class folders with images.

    Args:
        labels: the class folders in which images were found.
        data_dir: the data folder.

    Raises:
        DataError: there are fewer than two, or one of them holds a data set of its own.
    """
    subfolders = _subfolders(data_dir)
    whole = [f for f in subfolders if _holds_split(f)]
    if len(set(labels)) >= 2 and not whole:
        return
    empty = [f"{f.name}/" for f in subfolders if f.name not in labels]
    inner = [f for f in subfolders if (f / "train").is_dir() or len(subfolders) == 1]
    inner = whole or [f for f in inner if len(_subfolders(f)) > 1]
    if not any(not is_system_name(f.name) for f in data_dir.iterdir()):
        found = f"is empty; {_EXPECTED}"
    elif inner:
        found = f"has no train/ folder, found {inner[0].name}/ (did you mean {inner[0]}?)"
    elif not subfolders and any(is_image_name(f.name) for f in data_dir.iterdir()):
        found = f"holds images, but no folders of classes; {_EXPECTED}{_hint_upwards(data_dir)}"
    elif not labels:
        held = shorten_list(empty) or "no folders"
        found = f"has no train/ folder and no class folder with images, found {held}; {_EXPECTED}"
    else:
        others = f" alone, and none in {shorten_list(empty)}" if empty else " alone"
        found = f"holds images in {next(iter(labels))}/{others}; two classes are needed"
    raise DataError(f"{data_dir} {found}.")


def note_folders(data_dir: Path, folders: Mapping[str, Path]) -> Iterable[str]:
    """Yield what a user should know of the split folders, or of those beside the data folder."""
    if not folders:
        hint = _hint_upwards(data_dir) if data_dir.name.lower() in FOLDER_NAMES else ""
        if hint:
            yield f"{data_dir.name}/ is taken as all images, without a split{hint}"
        return
    used = {folder.name for folder in folders.values()}
    others = [f"{f.name}/" for f in _subfolders(data_dir) if f.name not in used]
    if others:
        yield f"folders beside train/ and test/ left out: {shorten_list(others)}"
    for name, folder in sorted(folders.items()):
        if folder.name != name:
            yield f"{folder.name}/ is taken as {name}/"


def is_system_name(name: str) -> bool:
    """Return whether a file or folder is hidden, or the system's own."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def shorten_list(names: Sequence[str]) -> str:
    """Return the first ten names in one line, and how many more there are."""
    shown = ", ".join(names[:_NUM_SHOWN])
    return shown if len(names) <= _NUM_SHOWN else f"{shown} and {len(names) - _NUM_SHOWN} more"


def _require_folder(data_dir: Path) -> None:
    """Refuse what is no folder, and say what it is."""
    if data_dir.is_dir():
        return
    if not data_dir.exists():
        raise DataError(f"the data folder {data_dir} does not exist.")
    if data_dir.suffix.lower() in _TABLE_SUFFIXES:
        raise DataError(f"{data_dir} is a table and no folder: say --manifest {data_dir}.")
    raise DataError(
        f"{data_dir} is a file and no folder: name the folder of all images; {_EXPECTED}."
    )


def _hint_upwards(data_dir: Path) -> str:
    """Return a hint at the folder above, where those beside the data folder belong to it."""
    above = data_dir.parent
    try:
        beside = [
            f for f in _subfolders(above) if f.name != data_dir.name and _is_like(f, data_dir)
        ]
    except OSError:
        return ""
    if not beside:
        return ""
    meant = above.parent if above.name.lower() in FOLDER_NAMES else above
    names = shorten_list([f"{f.name}/" for f in beside])
    return f" (beside it stands {names}: did you mean {meant}?)"


def _is_like(folder: Path, data_dir: Path) -> bool:
    """Return whether both are splits, or the folder holds images as a class does."""
    if data_dir.name.lower() in FOLDER_NAMES:
        return folder.name.lower() in FOLDER_NAMES
    return any(is_image_name(entry.name) for entry in folder.iterdir())


def _holds_split(folder: Path) -> bool:
    """Return whether a folder is a data set: a class of its own may hold train/, too."""
    parts = [folder / name for name in ("train", "test")]
    return all(part.is_dir() and _subfolders(part) for part in parts)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not is_system_name(f.name))
