"""Draw one explained image: original, heat map and overlay side by side, with its numbers.

A `PanelPainter` reuses one canvas and only changes what differs between images. It does not
use matplotlib's global state. Characters that the font lacks are replaced, never an error.
"""

import io
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medimg_baseline_cls.utils.files import write_bytes_atomic
from medimg_baseline_cls.utils.own_output import SOFTWARE
from medimg_baseline_cls.utils.visible import show_hidden

_FAMILY: Final = "DejaVu Sans"  # comes with matplotlib, so every machine draws the same
_INK, _GREY, _PALE, _RULE = "#1b1f24", "#5f6b76", "#e9ecef", "#c9d0d6"
_HEAT_COLORS: Final = "inferno"  # even steps of lightness, readable with any color vision
_OVERLAY_OPACITY: Final = 0.7
_MAX_SIDE_PX: Final = 512

# Okabe and Ito's palette: the two kinds of error differ for every color vision.
_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "FP": ("FALSE POSITIVE", "#d55e00"),
    "FN": ("FALSE NEGATIVE", "#0072b2"),
    "TP": ("TRUE POSITIVE", "#00805e"),
    "TN": ("TRUE NEGATIVE", "#00805e"),
    "": ("PREDICTION", "#6b7580"),
}
_CALLED: Final = "#2f3842"  # a prediction whose decision is the class that is shown

# Size in inches, of whole pixels so that the three pictures are drawn alike; all positions
# below are from the lower left corner.
_DPI: Final = 110
PANEL_WIDTH: Final = 1186  # pixels
_WIDTH, _HEIGHT = PANEL_WIDTH / _DPI, 496 / _DPI
_SIDE, _GAP, _LEFT, _BOTTOM = 348 / _DPI, 13 / _DPI, 28 / _DPI, 44 / _DPI
_CAPTION_Y = _BOTTOM + _SIDE + 0.13
_HEADER_Y = _BOTTOM + _SIDE + 0.59
_FOOTER_Y = 0.19
_RIGHT = _LEFT + 3 * _SIDE + 2 * _GAP
_GAUGE_LEFT = _RIGHT - _SIDE
_BADGE_ROOM: Final = 2.0
CLASS_NAME: Final = "{class}"
_NOTE = "Not a localization, not a cause."


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelText:
    """The texts and numbers of a panel.

    `kind` is "FP", "FN", "TP", "TN" or "" (no reference standard); `class_name` the class
    whose probability and map are shown; `label` the reference standard, None if unknown;
    `rule` the rule of the threshold; `decision` the decision in words; `method` the name of
    the map, `is_of_class` whether it is specific to the class, and `shows` what it means;
    `map_note` the resolution of the map; `empty_note` why a map is empty, in which
    `CLASS_NAME` is replaced by the class; `view` what the left picture is.
    """

    kind: str
    class_name: str
    probability: float
    label: str | None
    threshold: float
    image_id: str
    rule: str = ""
    method: str = "Grad-CAM"
    is_of_class: bool = True
    shows: str = "what raised the score"
    decision: str = ""
    map_note: str = ""
    empty_note: str = ""
    view: str = "Original"


class PanelPainter:
    """Draws panels one after the other on one canvas."""

    def __init__(self) -> None:
        self._figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)
        self._pictures = [self._add_picture(i) for i in range(3)]
        self._captions = [
            self._add_text(_LEFT + i * (_SIDE + _GAP), _CAPTION_Y, size=8, color=_GREY)
            for i in range(3)
        ]
        self._add_color_bar()
        self._kind = self._add_text(
            _LEFT + 0.055, _HEADER_Y, size=8.5, color="white", weight="bold"
        )
        self._kind.set_bbox({"boxstyle": "round,pad=0.45,rounding_size=0.3", "linewidth": 0})
        self._score = self._add_text(0, _HEADER_Y, size=11, weight="bold")
        self._label = self._add_text(0, _HEADER_Y, size=11, color=_GREY)
        self._bar, self._tick = self._add_gauge()
        self._threshold = self._add_text(0, _HEADER_Y + 0.17, size=8, color=_INK)
        self._empty = self._add_text(
            _LEFT + _SIDE * 1.5 + _GAP, _BOTTOM + _SIDE / 2, size=9, color="white"
        )
        self._empty.set(ha="center", linespacing=1.5)
        self._image_id = self._add_text(_LEFT, _FOOTER_Y, size=8, color=_GREY)
        self._note = self._add_text(_RIGHT, _FOOTER_Y, size=8, color=_GREY)
        self._note.set(ha="right", fontstyle="italic")

    def draw(
        self,
        path: Path,
        *,
        image: ArrayLike,
        heat: ArrayLike,
        record: PanelText,
        below: NDArray[np.uint8] | None = None,
    ) -> None:
        """Draw one panel and write it as a PNG.

        Args:
            path: the target, written whole or not at all.
            image: gray or color, channels first or last, uint8, uint16 (shown from its
                darkest to its brightest value) or float in [0, 1]: shape (H, W), (1, H, W),
                (3, H, W), (H, W, 1) or (H, W, 3).
            heat: the map in [0, 1], shape (h, w), stretched over the image.
            record: texts and numbers of the panel.
            below: a picture to put under it, shape (h, PANEL_WIDTH, 3).

        Raises:
            ValueError: the image or the map has another shape, or the kind is unknown.
        """
        if record.kind not in _KINDS:
            known = ", ".join(filter(None, _KINDS))
            raise ValueError(f"kind is {record.kind!r}; expected one of {known}")
        original = _displayed(np.asarray(image))  # (H, W, 3)
        height, width = original.shape[:2]
        evidence = _fitted(np.asarray(heat, dtype=np.float32), (height, width))  # (H, W)
        colors = _color(evidence)
        overlay = _blend(original, colors, heat=evidence)
        for shown, picture in zip(self._pictures, (original, colors, overlay), strict=True):
            shown.set_data(picture)
            shown.set_extent((0, width, height, 0))
            _center(shown.axes, width=width, height=height)
        self._write_texts(record)
        self._write_empty(record, is_shown=not evidence.any())
        with self._outlined(evidence):
            write_bytes_atomic(path, self._render(below))

    def _write_empty(self, record: PanelText, *, is_shown: bool) -> None:
        """Write into an empty map why it is empty."""
        note = (record.empty_note or "No evidence") if is_shown else ""
        head, mark, tail = note.partition(CLASS_NAME)
        self._empty.set(x=0, text=note)
        if mark:
            # The text is centered, so that half of it counts.
            half = (_SIDE - 0.2) / 2
            self._fit(self._empty, record.class_name, room=half, head=head, tail=tail)
        self._empty.set_x(_LEFT + _SIDE * 1.5 + _GAP)

    @contextmanager
    def _outlined(self, evidence: NDArray[np.float32]) -> Generator[None, None, None]:
        """Outline the area of at least half the strongest evidence, for one panel."""
        if not evidence.min() < 0.5 < evidence.max():
            yield
            return
        axes = self._pictures[2].axes
        line = axes.contour(evidence, levels=[0.5], colors="white", linewidths=0.9)
        try:
            yield
        finally:
            line.remove()

    def _write_texts(self, record: PanelText) -> None:
        word, color = _KINDS[record.kind]
        for caption, text in zip(self._captions, (record.view, "", "Overlay"), strict=True):
            caption.set_text(text)
        note = f", {record.map_note}" if record.map_note else ""
        of_map, head = self._captions[1], f"{record.method} for "
        if record.is_of_class:
            self._fit(of_map, record.class_name, room=_SIDE, head=head, tail=note)
        else:
            self._fit(of_map, f"{record.method}, of no class", room=_SIDE, tail=note)
        kind = "Attribution" if record.is_of_class else "Map"
        self._note.set_text(_drawable(f"{kind}: {record.shows}. {_NOTE}"))
        is_prediction = not record.kind and bool(record.decision)
        if is_prediction and record.probability >= record.threshold:
            color = _CALLED
        self._kind.set_text(word)
        if is_prediction:
            self._fit(self._kind, record.decision, room=_BADGE_ROOM, head="Called ")
        self._kind.get_bbox_patch().set_facecolor(color)  # pyright: ignore[reportOptionalMemberAccess]
        probability, threshold = _format_distinct(record.probability, record.threshold)
        left = self._right_end(self._kind) + 0.26
        self._score.set_x(left)
        tail = f") = {probability}"
        self._fit(self._score, record.class_name, room=2.6, head="p(", tail=tail)
        left = self._right_end(self._score) + 0.2
        self._label.set_x(left)
        parts = [] if record.label is None else [f"label {record.label}"]
        parts += [] if is_prediction or not record.decision else [f"called {record.decision}"]
        self._fit(self._label, ", ".join(parts), room=_GAUGE_LEFT - 0.2 - left)
        self._bar.set(width=record.probability * _SIDE, facecolor=color)
        place = _GAUGE_LEFT + record.threshold * _SIDE
        self._tick.set_x(place - self._tick.get_width() / 2)
        rule = f" ({record.rule.replace('_', ' ').replace('f1', 'F1')})" if record.rule else ""
        self._threshold.set_text(_drawable(f"threshold {threshold}{rule}"))
        self._threshold.set_x(0)
        half = self._right_end(self._threshold) / 2
        self._threshold.set_x(min(max(place - half, _GAUGE_LEFT), _RIGHT - 2 * half))
        # File names differ at their end, so the end is kept.
        note_left = self._note.get_window_extent(self._canvas.get_renderer()).x0 / _DPI
        room = min(_GAUGE_LEFT - 0.8, note_left - 0.2) - _LEFT
        self._fit(self._image_id, record.image_id, room=room, start=0.3)

    def _fit(
        self,
        text: Text,
        words: str,
        *,
        room: float,
        head: str = "",
        tail: str = "",
        start: float = 0.75,
    ) -> None:
        """Write words between a head and a tail; shorten the words until all fits `room` inches.

        `start` is the share of the kept characters that comes before the ellipsis.
        """
        words = _drawable(words)
        text.set_text(head + words + tail)
        kept, left = len(words), text.get_position()[0]
        while kept > 3 and (width := self._right_end(text) - left) > room:
            kept = min(kept - 1, int(kept * room / width) + 1)
            first = round(kept * start)
            ends = words[:first].rstrip(), words[len(words) - kept + first :].lstrip()
            text.set_text(head + "…".join(ends) + tail)

    def _right_end(self, text: Text) -> float:
        return text.get_window_extent(self._canvas.get_renderer()).x1 / _DPI

    def _add_axes(self, left: float, bottom: float, *, width: float, height: float) -> Axes:
        place = (left / _WIDTH, bottom / _HEIGHT, width / _WIDTH, height / _HEIGHT)
        axes = self._figure.add_axes(place)
        axes.xaxis.set_visible(False)
        axes.spines[:].set_visible(False)
        return axes

    def _add_picture(self, number: int) -> AxesImage:
        left = _LEFT + number * (_SIDE + _GAP)
        axes = self._add_axes(left, _BOTTOM, width=_SIDE, height=_SIDE)
        axes.yaxis.set_visible(False)
        axes.set_facecolor("black")
        return axes.imshow(np.zeros((2, 2, 3)), interpolation="bilinear", aspect="auto")

    def _add_color_bar(self) -> None:
        axes = self._add_axes(_RIGHT + 0.14, _BOTTOM, width=0.12, height=_SIDE)
        ramp = np.linspace(0, 1, 256)[:, None]
        axes.imshow(ramp, cmap=_HEAT_COLORS, origin="lower", extent=(0, 1, 0, 1), aspect="auto")
        axes.yaxis.tick_right()
        axes.set_yticks([0, 0.5, 1])
        axes.tick_params(axis="y", length=2.5, width=0.6, color=_GREY, pad=2)
        for number, label in zip(("0", "0.5", "1"), axes.get_yticklabels(), strict=True):
            label.set(text=number, fontsize=8, color=_GREY, fontfamily=_FAMILY)
        text = self._add_text(_RIGHT + 0.62, _BOTTOM + _SIDE / 2, size=8, color=_GREY)
        text.set(text="relative evidence", rotation=90, ha="center", va="center")

    def _add_gauge(self) -> tuple[Rectangle, Rectangle]:
        """Add the bar of the probability from 0 to 1 and the tick of the threshold."""
        height, y = 0.09, _HEADER_Y - 0.06
        rail = Rectangle((_GAUGE_LEFT, y), _SIDE, height, facecolor=_PALE)
        bar = Rectangle((_GAUGE_LEFT, y), 0, height)
        tick = Rectangle((0, y - 0.05), 0.022, height + 0.1, facecolor=_INK)
        for part in (rail, bar, tick):
            part.set(transform=self._figure.dpi_scale_trans, linewidth=0)
            self._figure.add_artist(part)
        return bar, tick

    def _add_text(
        self, x: float, y: float, *, size: float, color: str = _INK, weight: str = "normal"
    ) -> Text:
        text = Text(x, y, "", color=color, verticalalignment="center_baseline")
        text.set(fontsize=size, fontfamily=_FAMILY, fontweight=weight, parse_math=False)
        text.set_transform(self._figure.dpi_scale_trans)
        self._figure.add_artist(text)
        return text

    def _render(self, below: NDArray[np.uint8] | None) -> bytes:
        self._canvas.draw()
        pixels = np.asarray(self._canvas.buffer_rgba())[..., :3]
        pixels = pixels if below is None else np.concatenate([pixels, below])
        file, note = io.BytesIO(), PngInfo()
        note.add_text("Software", SOFTWARE)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.save(file, format="PNG", compress_level=4, pnginfo=note)
        return file.getvalue()


def _displayed(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return any image as RGB in [0, 1], reduced to the size of a picture, shape (H, W, 3)."""
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or image.size == 0:
        raise ValueError(f"an image of shape {image.shape} is neither gray nor RGB")
    values = np.repeat(_to_bytes(image), 3 // image.shape[-1], axis=-1)
    picture = Image.fromarray(values)
    picture.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX), Image.Resampling.LANCZOS)
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def _to_bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    values = image.astype(np.float32)
    if image.dtype == np.uint16:
        # 16-bit images use part of the range: without stretching, 12 bits would look black.
        lowest, highest = values.min(), values.max()
        values = (values - lowest) / max(highest - lowest, np.float32(1))
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _fitted(heat: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the map resized to (height, width)."""
    if heat.ndim != 2 or heat.size == 0:
        raise ValueError(f"a map has shape {heat.shape}; expected (h, w)")
    if heat.shape != size:
        stretched = Image.fromarray(heat).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        heat = np.asarray(stretched, dtype=np.float32)
    return np.clip(heat, 0, 1)


def blend_heat(image: NDArray[np.float32], heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a gray picture (H, W) in [0, 1] with its map over it, as panels show it, (H, W, 3)."""
    return _blend(image[..., None].repeat(3, axis=2), _color(heat), heat=heat)


def _color(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(colormaps[_HEAT_COLORS](heat)[..., :3], dtype=np.float32)


def _blend(
    original: NDArray[np.float32], colors: NDArray[np.float32], *, heat: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Overlay the picture with the colors, the more opaque the stronger the evidence."""
    opacity = np.float32(_OVERLAY_OPACITY) * heat[..., None]
    return np.asarray(original * (1 - opacity) + colors * opacity, dtype=np.float32)


def _center(axes: Axes, *, width: int, height: int) -> None:
    """Set limits so that the whole picture is in its square, undistorted."""
    side = max(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    axes.set(xlim=(left, left + side), ylim=(top + side, top))


def _format_distinct(probability: float, threshold: float) -> tuple[str, str]:
    """Return both numbers with enough digits to see which is larger, at least three."""
    for digits in range(3, 10):
        texts = f"{probability:.{digits}f}", f"{threshold:.{digits}f}"
        if probability == threshold or texts[0] != texts[1]:
            return texts
    return repr(probability), repr(threshold)


def _drawable(text: str) -> str:
    """Return the text in one line, hidden characters shown, missing glyphs replaced."""
    known = get_font(findfont(FontProperties(family=[_FAMILY]))).get_charmap()
    return "".join(
        char if ord(char) in known and char.isprintable() else "?" for char in show_hidden(text)
    )
