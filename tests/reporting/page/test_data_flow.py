"""The data flow diagram: every image is counted once, boxes do not meet, words fit and are safe."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.page.data_flow import (
    MAX_CLASSES,
    MAX_REASONS,
    WIDTH,
    Box,
    Flow,
    draw_flow,
    group_reasons,
)
from medimg_baseline_cls.reporting.page.report_page import render_report

MULTI = ("COVID", "NORMAL", "PNEUMONIA")


def lines_in(flow: Flow, box: Box) -> list[tuple[str, str]]:
    """Return the lines of a box: the name and the number."""
    inside = [
        word
        for word in flow.words
        if box.x <= word.x <= box.x + box.width and box.y < word.y <= box.y + box.height
    ]
    names = {word.y: word.whole or word.text for word in inside if word.anchor == "start"}
    numbers = {word.y: word.text for word in inside if word.anchor == "end"}
    return [(name, numbers.get(y, "")) for y, name in sorted(names.items())]


def box_of(flow: Flow, style: str) -> Box:
    return next(box for box in flow.boxes if box.style == style)


def draw(run: Any, **changes: Any) -> Flow:
    flow = draw_flow(replace(read_run(run.folder), **changes))
    assert flow is not None
    return flow


@pytest.mark.parametrize("class_names", [("NORMAL", "PNEUMONIA"), MULTI], ids=["two", "three"])
def test_every_image_is_counted_where_it_went(
    make_run: Callable[..., Any], class_names: tuple[str, ...]
) -> None:
    run = make_run(class_names)
    flow = draw(run)
    for split, labels in run.labels.items():
        title, images, groups, *classes = lines_in(flow, box_of(flow, split))
        assert title == (split.upper(), "")
        assert images == ("images", str(len(labels)))
        assert groups == ("patients", str((len(labels) + 1) // 2))
        counts = {name: int((labels == k).sum()) for k, name in enumerate(class_names)}
        assert {name: int(number) for name, number in classes} == counts
    total = sum(map(len, run.labels.values()))
    found, accepted = (box for box in flow.boxes if not box.style)
    assert lines_in(flow, found) == [("Files found", str(total + 1))]
    assert lines_in(flow, accepted)[0] == ("Images accepted", str(total))
    assert lines_in(flow, box_of(flow, "rejected"))[0] == ("Rejected", "1")


def test_boxes_lie_apart_and_inside_and_words_inside_boxes(make_run: Callable[..., Any]) -> None:
    flow = draw(make_run(("A" * 60, "B")))
    for a, b in itertools.combinations(flow.boxes, 2):
        is_beside = a.x + a.width <= b.x or b.x + b.width <= a.x
        assert is_beside or a.y + a.height <= b.y or b.y + b.height <= a.y
    for box in flow.boxes:
        assert box.x >= 0 and box.x + box.width <= WIDTH + 1e-9
        assert box.y >= 0 and box.y + box.height <= flow.height
    assert all(any(b.x < w.x < b.x + b.width for b in flow.boxes) for w in flow.words)
    cut = [word for word in flow.words if word.whole]
    assert {word.whole for word in cut} == {"A" * 60}
    assert all(len(word.text) < 20 for word in cut)


def test_many_classes_fold(make_run: Callable[..., Any]) -> None:
    names = tuple(f"class{i}" for i in range(MAX_CLASSES + 3))
    flow = draw(make_run(names))
    lines = lines_in(flow, box_of(flow, "test"))[3:]
    assert len(lines) == MAX_CLASSES
    assert lines[-1] == ("and 4 more", "")


def test_without_rejected_files_there_is_no_such_box(make_run: Callable[..., Any]) -> None:
    flow = draw(make_run(), rejected=())
    assert not [box for box in flow.boxes if box.style == "rejected"]
    assert len(flow.arrows) == 4


def test_reasons_are_counted_without_names_and_numbers() -> None:
    rows = [
        {"path": "a/x.png", "reason": "/home/ada/a/x.png is cut off"},
        {"path": "b/y.png", "reason": "y.png is cut off"},
        {"path": "c.tif", "reason": "the file holds 3 frames, expected one still image"},
        {"path": "d.tif", "reason": "the file holds 12 frames, expected one still image"},
        {"path": "e.png", "reason": "the image cannot be decoded: bad header 7"},
        {"path": "f.png", "reason": ""},
    ]
    assert dict(group_reasons(rows)) == {
        "is cut off": 2,
        "the file holds … frames": 2,
        "the image cannot be decoded": 1,
        "no reason given": 1,
    }


def test_many_reasons_fold_and_add_up(make_run: Callable[..., Any]) -> None:
    rows = [{"path": f"{i}.png", "reason": f"reason {'abcdefgh'[i % 8]}"} for i in range(20)]
    flow = draw(make_run(), rejected=rows)
    title, *reasons, others = lines_in(flow, box_of(flow, "rejected"))
    assert len(reasons) == MAX_REASONS
    assert others[0] == "other reasons"
    assert sum(int(number) for _, number in (*reasons, others)) == int(title[1]) == 20


def test_limited_run_says_taken(make_run: Callable[..., Any]) -> None:
    run = make_run()
    run.write_json("config.json", run.json("config.json") | {"limit": 100})
    assert any(word.text == "Files taken" for word in draw(run).words)


def test_diagram_is_on_the_page_once_there_is_a_split(make_run: Callable[..., Any]) -> None:
    page = render_report(read_run(make_run().folder))
    diagram = re.search(r'<figure class="flow">.*?</figure>', page, re.DOTALL)
    assert diagram is not None
    assert "132 images of 66 patients" in diagram[0]
    assert "Undefined" not in diagram[0]
    without = render_report(read_run(make_run(stages=(), name="b").folder))
    assert 'class="flow"' not in without


def test_a_long_name_in_capitals_leaves_room_for_its_number(make_run: Callable[..., Any]) -> None:
    run = make_run(("NORMAL", "PNEUMONIA WITH A VERY LONG NAME"))
    flow = draw_flow(read_run(run.folder))
    assert flow is not None
    cut = [words for words in flow.words if words.whole.startswith("PNEUMONIA")]
    assert len(cut) == 3
    for words in cut:
        # Capitals are wider than other letters: twelve and a number fill a third of the diagram.
        assert words.text.endswith("…") and 3 <= len(words.text) <= 14
