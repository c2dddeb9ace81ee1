"""Notice results that were edited: their hashes are in a file next to them, as of sha256sum.

This is against a mistake, not a forger, who can write that file too.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.utils.files import sha256_file, write_text_atomic

NAME = "results.sha256"


def seal_results(folder: Path, names: Collection[str]) -> None:
    """Write the hashes of those files of a folder that are there; other files keep theirs."""
    there = {name: sha256_file(folder / name) for name in names if (folder / name).is_file()}
    _write_hashes(folder, {**_read_hashes(folder, without=names), **there})


def break_seals(folder: Path, names: Collection[str]) -> None:
    """Forget the hashes of files that will be written again."""
    if (folder / NAME).is_file():
        _write_hashes(folder, _read_hashes(folder, without=names))


def require_sealed(
    folder: Path, *, known_bad: Collection[str] = (), is_complete: bool = False
) -> None:
    """Refuse results that are not as they were written; a folder without hashes passes.

    Args:
        folder: of the results.
        known_bad: files that are not read.
        is_complete: refuse a folder that lacks one of them too.

    Raises:
        RunError: a file was edited.
    """
    for name, digest in _read_hashes(folder, without=known_bad).items():
        path = folder / name
        if (is_complete or path.is_file()) and sha256_file(path) != digest:
            raise RunError(
                f"{path} was edited after it was written: restore it, or run the command that "
                "wrote it again."
            )


def _read_hashes(folder: Path, *, without: Collection[str]) -> dict[str, str]:
    path = folder / NAME
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    parts = (line.partition("  ") for line in text.splitlines())
    return {name: digest for digest, _, name in parts if name not in without}


def _write_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    lines = (f"{digest}  {name}\n" for name, digest in hashes.items())
    write_text_atomic(folder / NAME, "".join(lines))
