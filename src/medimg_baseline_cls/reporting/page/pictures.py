"""The pictures of a run: figures with their captions, and panels matched with their mistakes.

A picture becomes a data URI of the very same bytes; anything that is not a PNG is refused.
"""

import base64
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.reporting.content import RunContent, number_of
from medimg_baseline_cls.reporting.text.names import FIGURES
from medimg_baseline_cls.schema import describe_findings
from medimg_baseline_cls.utils.quantities import format_threshold

MAX_PANELS = 40
_WIDE = 1600  # pixels: figures for a page in print have more, those for a column and images fewer
CUT_LENGTH = 80  # longer names are cut to this in the file names of panels
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PANEL = re.compile(r"(?P<rank>\d+)_p(?P<probability>[01]\.\d+)_(?P<rest>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG inside the page. `width` and `height` are in pixels."""

    uri: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        """Return whether it needs a whole row of the page."""
        return self.width > min(1.6 * self.height, _WIDE)


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its caption and file name."""

    name: str
    title: str
    caption: str
    picture: Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """One image that was classified wrongly, under one rule or several.

    Attributes:
        class_name: the class whose probability was cut.
        probability: of that class, as text.
        label: the reference standard; "" where split.csv does not name the image.
        rules: the operating points at which it is wrong, in words.
        margins: how far it is from the threshold of each of them; None where not known.
        score: the probability as a number.
        picture: its Grad-CAM panel; None before `medimg explain`.
    """

    anchor: str
    kind: str
    image_id: str
    class_name: str
    probability: str
    label: str
    rules: tuple[str, ...]
    margins: tuple[float | None, ...] = ()
    score: float | None = None
    picture: Picture | None


@dataclass(frozen=True, slots=True)
class Gallery:
    """The errors of one kind, the most confident first; `num_left_out` have no place here."""

    kind: str
    shown: tuple[Error, ...]
    num_left_out: int


def read_picture(path: Path) -> Picture:
    """Return a PNG as a data URI of its bytes.

    Raises:
        RunError: the file is not a PNG.
    """
    data = path.read_bytes()
    if not data.startswith(_SIGNATURE) or len(data) < 24:
        raise RunError(
            f"{path} is not a PNG, though its name says so; delete it and run the stage that "
            f"draws it again (`medimg evaluate` for figures, `medimg explain` for panels)."
        )
    width, height = struct.unpack(">II", data[16:24])
    return Picture("data:image/png;base64," + base64.b64encode(data).decode(), width, height)


def list_figures(figures: Mapping[str, Path]) -> dict[str, list[Figure]]:
    """Return the figures by the section they belong to, known ones in reading order."""
    names = ("data", "training", "evaluation", "probabilities", "subgroups")
    sections: dict[str, list[Figure]] = {name: [] for name in names}
    left = dict(figures)
    for known in FIGURES:
        for name in [n for n in left if known.pattern.match(n)]:
            detail = known.pattern.sub("", name.removesuffix(".png"), count=1).strip("_- ")
            title = f"{known.title}: {detail.replace('_', ' ')}" if detail else known.title
            figure = Figure(name, title, known.caption, read_picture(left.pop(name)))
            sections[known.section].append(figure)
    for name, path in left.items():
        title = name.removesuffix(".png").replace("_", " ").strip().capitalize()
        sections["evaluation"].append(Figure(name, title, "", read_picture(path)))
    return sections


def list_errors(content: RunContent, kind: str) -> Gallery:
    """Return the mistakes of one kind ("FP" or "FN"), each with its panel where there is one."""
    mistakes = _merge_rules(content, kind)
    errors: list[Error] = []
    for path in content.panels[kind][:MAX_PANELS]:
        mistake = _match_panel(path, mistakes)
        anchor, picture = f"{kind}-{len(errors) + 1}", read_picture(path)
        errors.append(_error(mistake, anchor=anchor, kind=kind, picture=picture))
        mistakes = [m for m in mistakes if m is not mistake]
    without = [
        _error(mistake, anchor=f"{kind}-{len(errors) + i}", kind=kind, picture=None)
        for i, mistake in enumerate(mistakes, start=1)
    ]
    num_left_out = max(0, len(content.panels[kind]) - MAX_PANELS)
    shown = errors if num_left_out else [*errors, *without]
    return Gallery(kind, tuple(shown), num_left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merged:
    image_id: str
    class_name: str
    probability: float | None
    label: str
    rules: tuple[str, ...]
    margins: tuple[float | None, ...] = ()


def _merge_rules(content: RunContent, kind: str) -> list[_Merged]:
    """Gather the rows of mistakes.csv that name the same image, the first rank first."""
    labels = {row["image_id"]: _readable(content, row["label"]) for row in content.split}
    target = content.target_sensitivity
    rows = [row for row in content.mistakes if row.get("kind") == kind]
    rows.sort(key=lambda row: number_of(row.get("rank")) or 0)
    rules: dict[tuple[str, str], dict[str, float | None]] = {}
    first: dict[tuple[str, str], Mapping[str, str]] = {}
    for row in rows:
        key = (row.get("class", content.positive_class or ""), row["image_id"])
        first.setdefault(key, row)
        margins = rules.setdefault(key, {})
        margins.setdefault(name_rule(row["rule"], target), number_of(row.get("margin")))
    merged = [
        _Merged(
            image_id=key[1],
            class_name=key[0],
            probability=number_of(row.get("probability")),
            label=labels.get(key[1], ""),
            rules=tuple(rules[key]),
            margins=tuple(rules[key].values()),
        )
        for key, row in first.items()
    ]
    sign = -1 if kind == "FP" else 1
    return sorted(merged, key=lambda m: sign * (m.probability or 0.0))


def _readable(content: RunContent, label: str) -> str:
    return describe_findings(label) if content.has_findings else label


def _match_panel(path: Path, mistakes: Iterable[_Merged]) -> _Merged:
    """Return the mistake that a panel shows; what its file name says where none is listed."""
    found = _PANEL.fullmatch(path.stem)
    if found is None:
        return _Merged(image_id=path.stem, class_name="", probability=None, label="", rules=())
    rest, decimals = found["rest"], len(found["probability"]) - 2
    best: tuple[int, int] = (0, 0)
    match = _Merged(
        image_id=rest,
        class_name="",
        probability=float(found["probability"]),
        label="",
        rules=(),
    )
    for mistake in mistakes:
        if f"{mistake.probability or 0.0:.{decimals}f}" != found["probability"]:
            continue
        length = max(_agreement(rest, form) for form in _forms(mistake.image_id))
        has_class = int(_bare(rest).startswith(_bare(mistake.class_name)))
        if length and (has_class, length) > best:
            best, match = (has_class, length), mistake
    return match


def _forms(image_id: str) -> tuple[str, ...]:
    """Return how an image may be called in a file name: whole or last part, with suffix or not."""
    last = image_id.rsplit("/", 1)[-1]
    return tuple(
        bare
        for name in (image_id, last)
        for bare in (_bare(name), _bare(name.rpartition(".")[0]))
        if bare
    )


def _agreement(rest: str, form: str) -> int:
    """Return how many letters of an image's name that of a panel has; 0 for another image."""
    if _bare(rest).endswith(form):
        return len(form)
    kept = _bare(rest[-CUT_LENGTH:])
    return len(kept) if len(rest) >= CUT_LENGTH and form.startswith(kept) else 0


def _bare(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _error(mistake: _Merged, *, anchor: str, kind: str, picture: Picture | None) -> Error:
    return Error(
        anchor=anchor,
        kind=kind,
        image_id=mistake.image_id,
        class_name=mistake.class_name,
        probability=format_threshold(mistake.probability),
        label=mistake.label,
        rules=mistake.rules,
        margins=mistake.margins,
        score=mistake.probability,
        picture=picture,
    )
