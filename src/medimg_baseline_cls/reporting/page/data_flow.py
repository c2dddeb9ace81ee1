"""The data flow diagram: files found, rejected and why, accepted, and where each image went.

`draw_flow` lays out boxes, words and arrows in a space 440 wide, so that the words are about
as large as text where the page is 400 px wide; flow.svg.j2 turns them into SVG.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from medimg_baseline_cls.reporting.content import Rows, RunContent
from medimg_baseline_cls.reporting.documents.sentences import describe_data
from medimg_baseline_cls.reporting.page.tables import count_labels
from medimg_baseline_cls.reporting.text.format import format_count, hide_paths
from medimg_baseline_cls.reporting.text.names import name_split
from medimg_baseline_cls.schema import SPLIT_NAMES

WIDTH = 440
MAX_REASONS = 5
MAX_CLASSES = 8
_PAD, _LINE, _GAP = 8, 16, 26
_LETTER = 6.1  # width of an average letter, at the diagram's size of text
_CAPITAL = 8.0
_HALF = 206


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; `style` is "", "rejected", "train", "val" or "test"."""

    x: float
    y: float
    width: float
    height: float
    style: str


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text from its left ("start") or right end ("end"); `whole` where it was cut."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    style: str = ""
    whole: str = ""


@dataclass(frozen=True, slots=True)
class Arrow:
    """A straight arrow from one point to another."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A whole diagram; `description` says the same in a sentence."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    words: tuple[Words, ...]
    arrows: tuple[Arrow, ...]
    description: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of a box: a name, and a number at its right end or ""."""

    name: str
    number: str = ""
    style: str = ""


def draw_flow(content: RunContent) -> Flow | None:
    """Return the diagram of a run; None before there is a split.csv, and for other data.

    Of other data it is not known what was left out before.
    """
    if not content.split or content.splits != SPLIT_NAMES:
        return None
    found, rejected, accepted = _describe_files(content)
    top = max(_height(found), _height(rejected) if rejected else 0.0)
    second = top + _GAP
    third = second + _height(accepted) + _GAP
    splits = {split: _describe_split(content, split) for split in SPLIT_NAMES}
    lowest = max(_height(entries) for entries in splits.values())
    boxes = [
        (found, Box(0, 0, _HALF, _height(found), "")),
        (accepted, Box(0, second, WIDTH, _height(accepted), "")),
    ]
    arrows = [Arrow(_HALF / 2, _height(found), _HALF / 2, second)]
    if rejected:
        box = Box(WIDTH - _HALF, 0, _HALF, _height(rejected), "rejected")
        boxes.append((rejected, box))
        arrows.append(Arrow(_HALF, _height(found) / 2, box.x, _height(found) / 2))
    width = (WIDTH - 2 * _PAD) / 3
    for i, (split, entries) in enumerate(splits.items()):
        x = i * (width + _PAD)
        boxes.append((entries, Box(x, third, width, lowest, split)))
        arrows.append(Arrow(x + width / 2, second + _height(accepted), x + width / 2, third))
    return Flow(
        width=WIDTH,
        height=third + lowest,
        boxes=tuple(box for _, box in boxes),
        words=tuple(word for entries, box in boxes for word in _place(entries, box)),
        arrows=tuple(arrows),
        description=f"{describe_data(content)} No {content.unit} is in more than one split.",
    )


def group_reasons(rejected: Rows) -> list[tuple[str, int]]:
    """Return why files were rejected and how many for each reason, the most frequent first.

    Names of files and numbers within a reason are left out, so that like reasons meet.

    >>> group_reasons([{"path": "a.png", "reason": "a.png has 3 frames, expected one"},
    ...                {"path": "b.png", "reason": "b.png has 7 frames, expected one"}])
    [('has … frames', 2)]
    """
    return Counter(_plain_reason(row) for row in rejected).most_common()


def _plain_reason(row: Mapping[str, str]) -> str:
    text, path = hide_paths(row.get("reason", "")), row.get("path", "")
    for name in filter(None, (path, path.rsplit("/", 1)[-1])):
        text = text.replace(name, "")
    text = re.split(r": |; |\. |, expected| \(", text.replace("…/", ""))[0]
    return re.sub(r"\d+", "…", " ".join(text.split())).strip(" .:,'\"") or "no reason given"


def _describe_files(content: RunContent) -> tuple[list[_Entry], list[_Entry], list[_Entry]]:
    num_rejected, num_accepted = len(content.rejected), len(content.split)
    what = "Files taken" if content.config.get("limit") else "Files found"
    found = [_Entry(what, format_count(num_rejected + num_accepted), "title")]
    reasons = group_reasons(content.rejected)
    rejected = [_Entry("Rejected", format_count(num_rejected), "title")] if reasons else []
    rejected += [_Entry(name, format_count(number)) for name, number in reasons[:MAX_REASONS]]
    others = sum(number for _, number in reasons[MAX_REASONS:])
    rejected += [_Entry("other reasons", format_count(others))] if others else []
    groups = format_count(len({row["group"] for row in content.split}))
    accepted = [
        _Entry("Images accepted", format_count(num_accepted), "title"),
        _Entry(f"{content.unit}s", groups),
    ]
    return found, rejected, accepted


def _describe_split(content: RunContent, split: str) -> list[_Entry]:
    records = [row for row in content.split if row["split"] == split]
    counts, _ = count_labels(content, records)
    entries = [
        _Entry(name_split(split), style="title"),
        _Entry("images", format_count(len(records))),
        _Entry(f"{content.unit}s", format_count(len({row["group"] for row in records}))),
    ]
    named = list(zip(content.class_names, counts, strict=True))
    kept = len(named) if len(named) <= MAX_CLASSES else MAX_CLASSES - 1
    entries += [_Entry(name, format_count(count), "class") for name, count in named[:kept]]
    rest = named[kept:]
    return [*entries, _Entry(f"and {len(rest)} more", style="class")] if rest else entries


def _height(entries: Sequence[_Entry]) -> float:
    return len(entries) * _LINE + 1.25 * _PAD


def _place(entries: Sequence[_Entry], box: Box) -> Iterator[Words]:
    """Yield the lines of a box: names at the left, numbers at the right, names cut to fit."""
    for i, entry in enumerate(entries, start=1):
        y = box.y + i * _LINE + 1
        text = _cut(entry.name, box.width - 2.5 * _PAD - _measure(entry.number))
        whole = entry.name if text != entry.name else ""
        yield Words(box.x + _PAD, y, text, style=entry.style, whole=whole)
        if entry.number:
            yield Words(box.x + box.width - _PAD, y, entry.number, "end", entry.style)


def _cut(text: str, room: float) -> str:
    """Return a text that is about as wide as there is room, its end left out."""
    if _measure(text) <= room:
        return text
    kept = text
    while len(kept) > 1 and _measure(kept) + _CAPITAL > room:
        kept = kept[:-1]
    return kept + "…"


def _measure(text: str) -> float:
    """Return about how wide a text is drawn."""
    return sum(_CAPITAL if letter.isupper() else _LETTER for letter in text)
