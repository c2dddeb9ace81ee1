"""Recognize what this program has written, never to use its own output as images.

Each folder that it makes (a run, an audit, a sweep, a comparison, an array of pixels, panels,
phantoms) has a marker file, each picture that it draws a note. Folders from before the markers
are known by files that only they have together.
"""

import os
from collections.abc import Callable, Collection
from functools import partial
from itertools import islice
from pathlib import Path

from medimg_baseline_cls.errors import DataError

MARKER = ".medimg-output"
SOFTWARE = "medimg_baseline_cls"
"""The name of this program in the images that it draws."""

OUTPUT, DATA, PANELS = "output", "data", "panels"
"""What a marked folder contains."""

_TEXT = "This folder was written by medimg ({kind}); in a data folder it is left out.\n"
_SIGNATURES = (
    ("config.json", "split.csv", "log.txt"),
    ("pixels.npy", "contents.csv"),
    ("audit.json", "audit.html"),
    ("seeds.json", "log.txt"),
    ("cv.json", "log.txt"),
    ("sweep.json", "log.txt"),
    ("comparison.json", "comparison.csv"),
)
# An output folder contains these and nothing else.
_ROOMS = frozenset(
    {
        *("runs", "cache", "audits", "cv", "seeds", "sweep", "compare", "external", "phantoms"),
        *("mlflow", "tensorboard"),
    }
)


def mark_own(folder: Path, *, kind: str = OUTPUT) -> None:
    """Mark a folder as written by this program.

    Args:
        folder: a new folder, or one that no other program writes to.
        kind: DATA for images to train on, such as phantoms, which may be named as data; PANELS
            for one that takes further panels; OUTPUT for anything else.
    """
    text = _TEXT.format(kind=kind)
    (folder / MARKER).write_text(text, encoding="utf-8")


def is_own(folder: Path | str) -> bool:
    """Return whether this program has written a folder that was found in another one."""
    return _has_signature(folder) or _is_output_dir(folder)


def looks_own(names: Collection[str]) -> bool:
    """Return whether a folder with these entries is one of ours, without a look at it.

    >>> [looks_own(names) for names in ({"pixels.npy", "contents.csv"}, {"runs", "cache"}, {"a"})]
    [True, True, False]
    """
    has_signature = any(all(name in names for name in files) for files in _SIGNATURES)
    shown = {name for name in names if not name.startswith(".")}
    is_output_dir = shown <= _ROOMS and not shown.isdisjoint({"runs", "cache", "audits"})
    return MARKER in names or has_signature or is_output_dir


def find_own(path: Path) -> Path | None:
    """Return the folder of ours that a path is, or is in; None for phantoms, which are data."""
    place = path.resolve()
    own = next((f for f in (place, *place.parents) if _has_signature(f)), None)
    return None if own is None or is_marked(own, DATA) else own


def require_foreign(path: Path) -> None:
    """Refuse a path that is, or is in, a folder of ours.

    Raises:
        DataError: with the folder's name.
    """
    own = find_own(path)
    if own is not None:
        raise DataError(
            f"{path} is in {own}, which medimg has written: its pictures and arrays are not "
            "images to read; name the folder of the original ones."
        )


def is_marked(folder: Path, kind: str) -> bool:
    """Return whether a folder itself is marked as one of a kind."""
    try:
        return f"({kind})" in (folder / MARKER).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def is_marked_output(folder: Path) -> bool:
    """Return whether a folder is marked, and not as data: one look where there are many."""
    return _exists(os.fspath(folder), MARKER) and not is_marked(folder, DATA)


class OwnFolders:
    """Finds what is in folders of ours below a given one; each folder is looked at once.

    Args:
        root: is taken for foreign.
        look: returns whether a folder is ours.
    """

    def __init__(self, root: Path, *, look: Callable[[Path], bool] = is_own) -> None:
        self._is_own, self._look = {root: False}, look

    def has(self, path: Path) -> bool:
        """Return whether a path below the root is in a folder of ours."""
        folder = path.parent
        if folder not in self._is_own:
            is_outermost = folder.parent == folder
            self._is_own[folder] = self._look(folder) or (not is_outermost and self.has(folder))
        return self._is_own[folder]


def _has_signature(folder: Path | str) -> bool:
    exists = partial(_exists, os.fspath(folder))
    return exists(MARKER) or any(all(map(exists, names)) for names in _SIGNATURES)


def _exists(folder: str, name: str) -> bool:
    return os.path.exists(f"{folder}/{name}")  # noqa: PTH110  (asked of very many folders)


def _is_output_dir(folder: Path | str) -> bool:
    """Return whether a folder contains rooms of ours alone."""
    try:
        with os.scandir(folder) as scan:
            # One more than there are rooms is enough to see that it is another folder.
            names = {entry.name for entry in islice(scan, 2 * len(_ROOMS))}
    except OSError:
        return False
    return looks_own(names)
