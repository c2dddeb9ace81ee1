"""Where a prediction writes: never over what it has not written, and never among the images."""

import csv
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.utils.own_output import PANELS, is_marked


def require_free(output: Path) -> None:
    """Refuse to write over what is not a file of predictions."""
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"--output {output} is below {above}, which is not a folder.")
    if not output.exists():
        return
    if not output.is_file():
        raise ConfigError(f"--output {output} is a folder or no file: name the CSV file to write.")
    try:
        with output.open(encoding="utf-8", errors="replace", newline="") as file:
            header = next(csv.reader(file), ["path", "prob_"])  # an empty file has no header
    except (OSError, csv.Error):
        header = []
    if header[:1] != ["path"] or not "".join(header[1:2]).startswith("prob_"):
        raise ConfigError(
            f"--output {output} is a file that predict has not written: it is left as it is; name "
            "another one."
        )


def place_panels(target: Path) -> Path:
    """Return the folder for the panels next to the CSV: a new one, or one of ours."""
    plain = target.with_suffix("")
    other = plain.with_name(f"{plain.name}_panels")
    for folder in (plain, other):
        is_free = not folder.exists() or _is_empty(folder) or is_marked(folder, PANELS)
        if folder != target and is_free:
            return folder
    raise ConfigError(
        f"{plain} and {other} are not folders of panels, so none are written into them: name "
        "another file with --output."
    )


@contextmanager
def open_cache_dir(session: Session) -> Generator[Path, None, None]:
    """Yield the cache of the run's own output folder, else a folder that is removed at the end.

    No new one is made anywhere: images are often predicted where nothing else is to be written.
    The pixels stay readable after the removal, as long as they are mapped.
    """
    usual = session.cache_dir
    if usual.is_dir() and os.access(usual, os.W_OK | os.X_OK):
        yield usual
        return
    with tempfile.TemporaryDirectory(prefix="medimg-") as folder:
        yield Path(folder)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
