"""Read the paths in a table: below the root folder, with the suffix, and no output of our own.

A name without a suffix means the one image of that name; several are refused.
"""

import posixpath
from collections.abc import Sequence
from pathlib import Path

from medimg_baseline_cls.data.folders.split_folders import shorten_list
from medimg_baseline_cls.data.read import is_image_name
from medimg_baseline_cls.data.tables.table_file import Table
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.utils.own_output import OwnFolders, is_marked_output
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.texts import is_missing


def read_paths(
    table: Table, column: str, *, root: Path, allow_outside: bool, notes: list[str]
) -> list[str]:
    """Return each path below the root, with forward slashes, its suffix and without detours.

    Args:
        table: the table.
        column: of the paths.
        root: what they are relative to.
        allow_outside: let paths lead out of the root.
        notes: messages are added to them.

    Raises:
        DataError: a path is blank, outside the root, of several files, or own output.
    """
    paths: list[str] = []
    prefix = f"{root.as_posix().rstrip('/')}/"
    for line, cell in zip(table.lines, table.columns[column], strict=True):
        path = cell.replace("\\", "/").rstrip("/") or cell
        if is_missing(path):
            raise DataError(f"row {line}: the column {column} is blank.")
        if "./" in path or "//" in path:
            path = posixpath.normpath(path)
        if path.startswith(prefix):
            path = path[len(prefix) :]
        is_outside = path.startswith(("../", "/")) or path == ".." or path[1:3] == ":/"
        if is_outside and not allow_outside:
            raise DataError(
                f"row {line}: {cell} is outside {root}: paths are relative to that folder; set "
                "data_dir to the folder that contains all images, or pass --allow-outside."
            )
        paths.append(path)
    paths = _add_suffixes(paths, table, root=root, notes=notes)
    _refuse_own(paths, table, root=root)
    return paths


def _add_suffixes(paths: list[str], table: Table, *, root: Path, notes: list[str]) -> list[str]:
    """Return the paths, with the suffix of the existing image if they have none."""
    bare = {path for path in paths if not is_image_name(path)}
    held: dict[str, dict[str, list[str]]] = {}
    found: dict[str, str] = {}
    for path in sorted(bare):
        folder, _, name = path.rpartition("/")
        if folder not in held:
            held[folder] = _list_stems(root / folder)
        names = held[folder].get(name, [])
        if name in held[folder] and not names:
            continue  # a file without a suffix is there
        if len(names) > 1:
            line = table.lines[paths.index(path)]
            raise DataError(
                f"row {line}: {path} has no suffix and may be {shorten_list(names)}: write it."
            )
        if names:
            found[path] = f"{folder}/{names[0]}" if folder else names[0]
    if found:
        first = min(found)
        notes.append(
            f"{say_count(len(found), 'names')} without a suffix read as the one image of that "
            f"name, such as {first} as {found[first]}"
        )
    return [found.get(path, path) for path in paths]


def _list_stems(folder: Path) -> dict[str, list[str]]:
    """Return the images of a folder by their names without the suffix; none for a bare name."""
    stems: dict[str, list[str]] = {}
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return stems  # its fault is reported when its images are read
    for name in names:
        if is_image_name(name):
            stem = name.lower().removesuffix(".gz")
            stems.setdefault(name[: stem.rfind(".")], []).append(name)
    return stems | {name: [] for name in names if not is_image_name(name)}


def _refuse_own(paths: Sequence[str], table: Table, *, root: Path) -> None:
    """Refuse a row with a file that this program has written."""
    own = OwnFolders(root, look=is_marked_output)
    folders = {path.rpartition("/")[0] for path in paths}
    written = {folder for folder in folders if own.has(root / folder / "file")}
    if written:
        rows = zip(table.lines, paths, strict=True)
        line, path = next((n, p) for n, p in rows if p.rpartition("/")[0] in written)
        raise DataError(
            f"row {line}: {path} is in a folder that medimg has written, so it is not an original "
            "image: leave the row out."
        )
