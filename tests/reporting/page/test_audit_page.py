"""audit.html stands alone, shows every finding, and no name can break it."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls.audit.check_results import (
    Check,
    Example,
    Finding,
    NumberTable,
    Verdict,
    not_measured,
)
from medimg_baseline_cls.data.pixels.png import encode_png
from medimg_baseline_cls.reporting.page.audit_page import render_audit, write_audit_page
from medimg_baseline_cls.schema import SENTENCE_CHECKS

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title><script>alert(1)</script>",
    "{{ 7*7 }}",
    "\x00\x1b[31m",
    "' onfocus='alert(1)' autofocus='",
    "\u202egnp.exe",
    "a\udcffb.png",
)


class Tags(HTMLParser):
    """Collect the tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def make_picture(level: int = 90) -> bytes:
    import numpy as np

    return encode_png(np.full((8, 8), level, np.uint8))


def make_content(*checks: Check, verdict: Verdict = "error", **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "medimg": "0.1.0",
        "date": "2026-01-02 03:04",
        "project": "films",
        "data_dir": "/home/ada/films",
        "class_names": ["A", "B"],
        "task": "multiclass",
        "num_images": 5216,
        "num_rejected": 2,
        "num_per_split": {"train": 4589, "test": 627},
        "verdict": verdict,
        "exit_status": 3,
        "checks": [check.to_dict() for check in checks],
    }
    return content | changes


def make_check(*examples: Example, name: str = "duplicates", verdict: Verdict = "error") -> Check:
    finding = Finding(
        name="copies",
        verdict=verdict,
        count=1234,
        what="copies somewhere",
        advice="Remove them all.",
        examples=examples,
    )
    figures = NumberTable(
        "Some AUROCs",
        ("Property", "A"),
        (("mean", 0.98765), ("width", None), ("images", 5216)),
        note="A note.",
    )
    return Check(name, "Copies", "Looked at 5216 images.", (finding,), (figures,))


def render(*checks: Check, thumbnails: Mapping[str, bytes] | None = None, **changes: Any) -> str:
    return render_audit(make_content(*checks, **changes), thumbnails=thumbnails or {})


def test_page_needs_no_script_and_no_network() -> None:
    page = render(make_check(Example(("a.png",))), thumbnails={"a.png": make_picture()})
    tags = Tags(page)
    assert tags.open == []
    names = {tag for tag, _ in tags.tags}
    assert not names & {"script", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in tags.tags:
        for key in ("src", "href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
        assert not any(key.startswith("on") for key in attributes)


@pytest.mark.parametrize(
    ("splits", "shown"),
    [
        ({"train": 4589, "test": 627}, "4,589 TRAIN, 627 TEST"),
        ({"all": 60}, "60"),
        ({"train": 40, "all": 20}, "40 TRAIN, 20 in no split"),
        ({}, "0"),
    ],
)
def test_images_are_counted_per_split_and_in_none(splits: dict[str, int], shown: str) -> None:
    page = render(num_per_split=splits)
    assert f"<dt>Images</dt><dd><bdi>{shown}</bdi></dd>" in page


def test_style_is_allowed_by_its_hash_alone() -> None:
    page = render(make_check())
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'" in page
    assert " style=" not in page


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup(name: str) -> None:
    plain = Tags(render(make_check(Example(("x.png",), "x")), project="x", class_names=["x"]))
    page = render(
        make_check(Example((name,), name)), project=name, class_names=[name], data_dir=name
    )
    page.encode("utf-8")
    tags = Tags(page)
    assert [tag for tag, _ in tags.tags] == [tag for tag, _ in plain.tags]
    assert "\x00" not in page
    assert "\x1b" not in page


def test_every_finding_is_shown_with_count_verdict_and_advice() -> None:
    text = Tags(render(make_check(Example(("a.png",), "alike", 3)))).text
    for words in ("copies somewhere", "1,234", "error", "Remove them all.", "a.png", "alike"):
        assert words in text
    assert "Looked at 5216 images." in text
    assert "4,589 TRAIN, 627 TEST" in text


@pytest.mark.parametrize("name", SENTENCE_CHECKS)
def test_a_finding_that_is_a_sentence_has_no_count(name: str) -> None:
    finding = Finding(name="x", verdict="error", count=1, what="Patients are guessed.", advice="")
    check = Check(name, "Title", "All of it.", (finding,))
    assert check.counts == ("",)
    shown = " ".join(Tags(render(check)).text.split())
    assert "error Patients are guessed." in shown
    assert "Patients are guessed. error" in shown
    counted = replace(check, name="duplicates")
    assert counted.counts == (1,)
    assert "error 1 Patients are guessed." in " ".join(Tags(render(counted)).text.split())
    assert check.to_dict()["findings"][0]["count"] == 1


def test_thumbnails_are_the_very_bytes_and_examples_without_one_keep_their_name() -> None:
    picture = make_picture()
    check = make_check(Example(("a.png", "b.png"), "", 3))
    tags = Tags(render(check, thumbnails={"a.png": picture}))
    sources = {attributes["src"] for tag, attributes in tags.tags if tag == "img"}
    (source,) = sources
    assert source is not None
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == picture
    assert "b.png" in tags.text
    assert "and 3 more" in tags.text


def test_examples_in_words_are_a_list() -> None:
    page = render(make_check(Example((), "file bytes: AUROC 0.902"), Example(("a.png",), "cut")))
    text = " ".join(Tags(page).text.split())
    assert "file bytes: AUROC 0.902" in text
    assert "a.png: cut" in text
    assert "<img" not in page


def test_numbers_are_printed_one_way_and_undefined_is_a_dash() -> None:
    page = render(make_check())
    cells = re.findall(r'<td class="num"><bdi>(.*?)</bdi>', page)
    assert cells == ["0.988", "–", "5,216"]
    assert "A note." in page


def test_absolute_paths_are_cut_down() -> None:
    assert "/home/ada" not in render(make_check())


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("ok", "Nothing was found"),
        ("note", "see the notes"),
        ("warning", "may bias a result"),
        ("error", "would invalidate a result"),
    ],
)
def test_answer_comes_first(verdict: Verdict, words: str) -> None:
    text = Tags(render(make_check(verdict=verdict), verdict=verdict)).text
    assert words in text
    assert text.index(words) < text.index("What was found")


def test_findings_are_ordered_by_weight() -> None:
    note = make_check(name="groups", verdict="note")
    warning, error = make_check(name="labels", verdict="warning"), make_check()
    omitted = not_measured("shift", "Shift", reason="one split.")
    tags = Tags(render(Check("files", "Files", ""), omitted, note, warning, error))
    anchors = [str(a["href"])[1:] for tag, a in tags.tags if tag == "a"]
    assert anchors[:3] == ["duplicates-1", "labels-1", "groups-1"]
    sections = [a["id"] for tag, a in tags.tags if tag == "section"][1:-1]
    assert sections == anchors[3:] == ["duplicates", "labels", "groups", "shift", "files"]
    assert "No findings: Files." in tags.text
    assert "Not measured: Shift." in tags.text


def test_the_overview_has_a_picture_of_each_warning() -> None:
    def count_pictures(verdict: Verdict) -> int:
        check = make_check(Example(("b.png", "a.png")), verdict=verdict)
        page = render(check, thumbnails={"a.png": make_picture()})
        return page[page.index('class="overview"') : page.index("<nav")].count("<img")

    assert [count_pictures(v) for v in ("error", "warning", "note")] == [1, 1, 0]


def test_the_title_is_the_data_set() -> None:
    page = render(make_check(), data_dir="/home/ada/chest")
    assert "<h1><bdi>chest</bdi></h1>" in page and "<title>chest: data audit" in page


def test_every_link_of_the_contents_leads_to_a_section() -> None:
    tags = Tags(render(Check("files", "Files", ""), make_check())).tags
    ids = {attributes.get("id") for _, attributes in tags}
    links = [str(a["href"])[1:] for tag, a in tags if tag == "a"]
    assert links == ["duplicates-1", "duplicates", "files"]
    assert set(links) <= ids


def test_page_is_written_whole_and_the_same_each_time(tmp_path: Path) -> None:
    content = make_content(make_check(Example(("a.png",))))
    thumbnails = {"a.png": make_picture()}
    path = write_audit_page(tmp_path, content, thumbnails=thumbnails)
    assert path == tmp_path / "audit.html"
    first = path.read_bytes()
    write_audit_page(tmp_path, content, thumbnails=thumbnails)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["audit.html"]
