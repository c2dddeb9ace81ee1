"""What an earlier prediction left next to its CSV file and what no longer matches it."""

from contextlib import suppress
from pathlib import Path

from medimg_baseline_cls.data.pixels.overlays import place_overlay
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.pipeline.steps.prediction_outputs import place_panels
from medimg_baseline_cls.utils.own_output import MARKER, PANELS, SOFTWARE, is_marked


def remove_panels(target: Path) -> int:
    """Remove the panels of an earlier prediction, and their folder where nothing else is in it.

    Only pictures that this program has drawn are removed, with the maps that it wrote next to
    them, from a folder that is marked as one of panels.

    Args:
        target: the CSV file.

    Returns:
        How many there were.
    """
    try:
        folder = place_panels(target)
    except ConfigError:  # both places are others' folders
        return 0
    if folder.is_symlink() or not is_marked(folder, PANELS):
        return 0
    drawn = [path for path in folder.glob("*.png") if not path.is_symlink() and _is_drawn(path)]
    for path in drawn:
        path.unlink()
        place_overlay(path).unlink(missing_ok=True)
    if {path.name for path in folder.iterdir()} == {MARKER}:
        (folder / MARKER).unlink()
        with suppress(OSError):
            folder.rmdir()
    return len(drawn)


def _is_drawn(path: Path) -> bool:
    """Return whether an image has the note of this program at its start."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError:
        return False
    return b"tEXtSoftware\0" + SOFTWARE.encode() in head
