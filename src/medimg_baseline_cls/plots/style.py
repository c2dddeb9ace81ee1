"""The one style of every figure: colors, marks, type sizes, and how a figure is written.

Figures have the widths of a journal's column and page, and no letter below 7 points there.
Colors are those of Okabe and Ito, which remain distinct with all common color blindnesses; what
has a color has a line style or a mark too, so that a gray print is readable.
"""

import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medimg_baseline_cls.utils.files import write_bytes_atomic
from medimg_baseline_cls.utils.own_output import SOFTWARE
from medimg_baseline_cls.utils.visible import show_hidden

DPI = 300
_COMPRESSION = 6  # of 9: the higher ones take seconds on images and save little
_FEW = 8192  # colors: those of a figure and of the edges of its lines and letters; images have more
PAGE = 7.2  # inches: the width of a printed page
COLUMN = 3.5  # inches: the width of a column
SMALL = 7.0  # points

INK = "#222222"
MUTED = "#6b6f76"
FAINT = "#c9ccd1"
PALE = "#eceef1"
BLUE = "#0072b2"
ORANGE = "#e69f00"
GREEN = "#009e73"
PURPLE = "#aa4499"
DASHED: Any = (0, (4, 1.6))
DOTTED: Any = (0, (1, 1.2))

# The positive class, or the class that a panel is about, against the others.
POSITIVE = "#d55e00"
NEGATIVE = "#8ab4d8"  # lighter also in gray

_SPLIT_COLORS = {"train": MUTED, "val": ORANGE, "test": BLUE}
_SPLIT_LINES: dict[str, Any] = {"train": ":", "val": DASHED, "test": "-"}
CLASS_COLORS = (BLUE, POSITIVE, GREEN, "#cc79a7", ORANGE, "#56b4e9", INK, "#a6761d")
CLASS_LINES: tuple[Any, ...] = ("-", DASHED, (0, (6, 1.5, 1, 1.5)), DOTTED)
RULE_MARKS = {"max_f1": "o", "target_sensitivity": "^", "default": "s"}
RULE_LINES: dict[str, Any] = {"max_f1": "-", "target_sensitivity": DASHED, "default": DOTTED}

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "legend.fontsize": SMALL,
    "legend.title_fontsize": 8.0,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.handletextpad": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "axes.facecolor": "white",
    # A dollar sign in a class name is a dollar sign.
    "text.parse_math": False,
    # Text stays text, for the editors of a journal; the same figure has the same bytes.
    "svg.fonttype": "none",
    "svg.hashsalt": "medimg",
}
_LONGEST = 120  # letters of a name that are measured
_WORD = re.compile(r"[^ _/-]+[ _/-]*|[ _/-]+")
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@contextmanager
def drawing(
    path: Path, *, width: float, height: float, dpi: int | None = None
) -> Generator[Figure, None, None]:
    """Open a figure in the house style that is written as PNG and SVG when the block ends.

    Args:
        path: the PNG; the SVG is next to it. Older ones are replaced, or kept if the drawing
            fails.
        width: in inches.
        height: in inches.
        dpi: dots per inch of the PNG; None for `DPI`.
    """
    dpi = dpi or DPI
    with in_house_style():
        figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        yield figure
        # `savefig` would draw everything twice, once for the layout alone.
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]  # (height, width, 3)
        drawn = _encode_svg(figure)
    write_bytes_atomic(path, _encode_png(pixels, dpi=dpi))
    write_bytes_atomic(path.with_suffix(".svg"), drawn)


@contextmanager
def in_house_style() -> Generator[None, None, None]:
    """Set the type sizes and colors of all figures for a block."""
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # A class name in a script that the font lacks is drawn as boxes, and that is enough.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def look_of(split: str) -> dict[str, Any]:
    """Return the color and the line of a split."""
    return {"color": _SPLIT_COLORS.get(split, MUTED), "linestyle": _SPLIT_LINES.get(split, "-")}


def span_unit_square(axes: Axes) -> None:
    """Show [0, 1] on both axes, with room for marks on the border."""
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015))
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)


def shorten(text: str, length: int) -> str:
    """Return a name as a figure shows it: nothing hidden, at most this long, the middle left out.

    >>> shorten("atelectasis", 20), shorten("pleural_thickening", 9)
    ('atelectasis', 'pleu…ning')
    """
    text = show_hidden(text)
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return text[: length - 1 - tail] + "…" + text[len(text) - tail :]


def fit(
    text: str, width: float, *, size: float = 8.0, weight: str = "bold", num_lines: int = 3
) -> str:
    """Return a name in lines of this width; the middle is left out where even they are too few.

    Args:
        text: the name.
        width: of a line, in inches.
        size: of the letters, in points.
        weight: of the letters.
        num_lines: that there is room for.
    """
    font = FontProperties(size=size, weight=weight)
    for length in range(min(len(text), _LONGEST), 0, -1):
        lines = _break_lines(shorten(text, length), width, font=font)
        if len(lines) <= num_lines:
            return "\n".join(lines)
    return shorten(text, 1)


def measure(text: str, font: FontProperties) -> float:
    """Return how wide a text is, in inches."""
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def _break_lines(text: str, width: float, *, font: FontProperties) -> list[str]:
    """Break a text after blanks, hyphens, slashes and underscores, and elsewhere if it must be."""
    lines = [""]
    for word in _WORD.findall(text):
        whole = measure(word.rstrip(), font) <= width
        for part in [word] if whole else list(word):
            if lines[-1] and measure((lines[-1] + part).rstrip(), font) > width:
                lines.append("")
            lines[-1] += part
    return [line.rstrip() for line in lines]


def _encode_svg(figure: Figure) -> bytes:
    """Return the figure as it was laid out for the PNG; without a date."""
    figure.set_layout_engine("none")
    text = StringIO()
    # Here too, `savefig` would draw everything twice.
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    return _NO_XML.sub("\ufffd", text.getvalue()).encode("utf-8")


def _encode_png(pixels: NDArray[np.uint8], *, dpi: int) -> bytes:
    """Return a PNG, with one channel where there is no color, or where there are few of them."""
    is_grey = bool((pixels == pixels[:, :, :1]).all())
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if is_grey else pixels))
    colors: Any = None if is_grey else image.getcolors(_FEW)  # None where there are more
    data = BytesIO()
    note = PngInfo()
    note.add_text("Software", SOFTWARE)
    image = image if colors is None else _index_colors(pixels, colors)
    image.save(data, format="png", compress_level=_COMPRESSION, dpi=(dpi, dpi), pnginfo=note)
    return data.getvalue()


def _index_colors(pixels: NDArray[np.uint8], colors: list[tuple[int, Any]]) -> Image.Image:
    """Return an image of the 256 most frequent colors, with the nearest one for all others."""
    known = np.array([color for _, color in sorted(colors, reverse=True)])  # (N, 3)
    palette = known[:256]
    nearest = np.zeros(1 << 24, dtype=np.uint8)
    nearest[_number_colors(known)] = np.abs(known[:, None] - palette).sum(axis=2).argmin(axis=1)
    image = Image.fromarray(nearest[_number_colors(pixels)])
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image


def _number_colors(colors: NDArray[Any]) -> NDArray[np.uint32]:
    """Return each color as one number; a matrix product of integers takes ten times as long."""
    red, green, blue = np.moveaxis(colors.astype(np.uint32), -1, 0)
    return (red << 16) | (green << 8) | blue
