"""Notice results that were edited: their hashes are in a file next to them, as of sha256sum.

This is against a mistake, not a forger, who can write that file too.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.utils.files import sha256_file, write_text_atomic

NAME = "results.sha256"


def seal_results(folder: Path, names: Iterable[str]) -> None:
    """Write the hashes of those files of a folder that are there."""
    there = [name for name in names if (folder / name).is_file()]
    lines = (f"{sha256_file(folder / name)}  {name}\n" for name in there)
    write_text_atomic(folder / NAME, "".join(lines))


def require_sealed(folder: Path, *, known_bad: Collection[str] = ()) -> None:
    """Refuse results that are not as they were written; a folder without hashes passes.

    Args:
        folder: of the results.
        known_bad: files that are not read.

    Raises:
        RunError: a file was edited.
    """
    if not (folder / NAME).is_file():
        return
    for line in (folder / NAME).read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        if name not in known_bad and path.is_file() and sha256_file(path) != digest:
            raise RunError(
                f"{path} was edited after it was written: restore it, or run the command that "
                "wrote it again."
            )
