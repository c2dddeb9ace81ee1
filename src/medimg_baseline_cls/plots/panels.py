"""Panels of one kind, one for each class, and the keys around them.

Nothing is written over a curve: the name of a class, its lines and its numbers are above its
panel, and what all panels share is below them.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D

from medimg_baseline_cls.plots.style import COLUMN, PAGE, SMALL, drawing, fit, measure
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.schema import Predictions

MAX_PANELS = 16
_LINE = 0.155  # inches from one line of a key to the next
_BELOW = 0.5  # inches for ticks and label of the x axis
_HANDLE = 0.5  # inches of a key's line or mark and the gaps around it


@dataclass(frozen=True, slots=True)
class Scored:
    """One split: its predictions, and what was measured of them."""

    predictions: Predictions
    summary: SplitSummary

    @property
    def title(self) -> str:
        """Return the split with its number of images."""
        return count_images(self.summary.split, self.summary.num_images)


def count_images(split: str, number: int) -> str:
    """Return a split with a number of images.

    >>> count_images("test", 40)
    'TEST (40 images)'
    >>> count_images("test", 100_000)  # as short as a legend allows
    'TEST (n = 100,000)'
    """
    counted = f"n = {number:,}" if number >= 10_000 else f"{number} image{'s' * (number != 1)}"
    return f"{split.upper()} ({counted})"


@contextmanager
def drawing_panels(
    path: Path,
    names: Sequence[str],
    *,
    labels: tuple[str, str],
    keys: Sequence[Artist],
    num_keys: int,
    shares_y: bool = True,
) -> Generator[dict[str, Axes], None, None]:
    """Open a figure with a panel for each class, the first `MAX_PANELS` of them.

    Args:
        path: the PNG.
        names: of the classes; one alone gets a figure as wide as a column.
        labels: of the x and of the y axis.
        keys: what the key below all panels explains.
        num_keys: lines that `write_key` will write above each panel.
        shares_y: whether all panels have the same y axis.
    """
    shown = names[:MAX_PANELS]
    columns = 3 if len(shown) in (3, 5, 6, 9) else min(len(shown), 4)
    rows = -(-len(shown) // columns)
    width = PAGE if columns > 1 else COLUMN
    with drawing(path, width=width, height=width) as figure:
        num_lines = [fit_title(name, figure, columns=columns).count("\n") + 1 for name in shown]
        starts = range(0, len(shown), columns)
        above = sum(max(num_lines[i : i + columns]) + num_keys for i in starts)
        grid = figure.subplots(
            rows, columns, squeeze=False, sharex=True, sharey="all" if shares_y else "none"
        )
        panels = dict(zip(shown, grid.ravel().tolist(), strict=False))
        for place, axes in enumerate(panels.values()):
            if place % columns == 0:
                axes.set_ylabel(labels[1])
            if place + columns >= len(shown):  # nothing is below it
                axes.set_xlabel(labels[0])
                axes.tick_params(labelbottom=True)
        for axes in grid.ravel()[len(shown) :]:
            axes.set_axis_off()
        yield panels
        rest = [make_note(f"first {len(shown)} of {len(names)} classes")]
        below = write_shared_key(figure, [*keys, *(rest if len(names) > len(shown) else [])])
        side = (width - 0.45) / columns - (0.32 if columns < 4 else 0.44)
        figure.set_figheight(rows * (side + 0.12) + _BELOW + _LINE * (above + below))


def fit_title(name: str, figure: Figure, *, columns: int) -> str:
    """Return the name of a panel in lines that fit above it."""
    return fit(name, (figure.get_figwidth() - 0.5) / columns - 0.15, num_lines=4)


def write_key(axes: Axes, title: str, *, handles: Sequence[Artist], left: float = 0.0) -> None:
    """Write a title and what the lines of a panel are, above it from this part of its width on."""
    figure, place = axes.get_figure(root=True), axes.get_subplotspec()
    columns = 1 if place is None else place.get_gridspec().ncols
    key = axes.legend(
        handles=handles,
        title=fit_title(title, figure, columns=columns) if figure else title,
        title_fontproperties={"weight": "bold"},
        loc="lower left",
        bbox_to_anchor=(left, 1.0),
        alignment="left",
        borderpad=0.0,
        borderaxespad=0.3,
        labelspacing=0.25,
    )
    key.set_zorder(0)


def write_shared_key(figure: Figure, handles: Sequence[Artist]) -> int:
    """Write one key below all panels, in as many columns as fit, and return its lines."""
    if not handles:
        return 0
    font = FontProperties(size=SMALL)
    widest = max(measure(line, font) for h in handles for line in str(h.get_label()).split("\n"))
    columns = max(1, min(len(handles), int((figure.get_figwidth() - 0.1) / (widest + _HANDLE))))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.2,
        labelspacing=0.3,
    )
    return -(-len(handles) // columns)


def make_line(label: str, **look: Any) -> Line2D:
    """Return the entry of a key for a line or a mark."""
    return Line2D([], [], label=label, **look)


def make_note(label: str) -> Line2D:
    """Return the entry of a key that has words alone."""
    return make_line(label, color="none")
