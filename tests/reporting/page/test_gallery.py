"""The controls of the gallery: what they offer, what the script is told, and what it may be."""

import base64
import csv
import hashlib
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from tests.reporting.page.test_report_page import HOSTILE, Reader

from medimg_baseline_cls.reporting.content import KINDS, read_run
from medimg_baseline_cls.reporting.page.gallery import offer_filter
from medimg_baseline_cls.reporting.page.pictures import Gallery, list_errors
from medimg_baseline_cls.reporting.page.report_page import render_report
from medimg_baseline_cls.reporting.page.template import read_resource

MULTI = ("COVID", "NORMAL", "PNEUMONIA")


def galleries_of(run: Any) -> list[Gallery]:
    content = read_run(run.folder)
    return [list_errors(content, kind) for kind in KINDS]


def items_of(page: str) -> list[dict[str, str | None]]:
    """Return the attributes of each mistake on the page."""
    tags = Reader(page).tags
    return [a for tag, a in tags if tag == "li" and "data-kind" in a]


def test_each_mistake_tells_its_margins_as_mistakes_csv_does(make_run: Callable[..., Any]) -> None:
    run = make_run()
    page = render_report(read_run(run.folder))
    with (run.folder / "mistakes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = sorted(float(row["margin"]) for row in rows)
    items = items_of(page)
    told = [
        float(pair.split(":")[1]) for a in items for pair in str(a["data-margins"] or "").split()
    ]
    assert sorted(told) == expected
    assert {a["data-kind"] for a in items} == {row["kind"] for row in rows}
    scores = {float(row["probability"]) for row in rows}
    assert {float(str(a["data-score"])) for a in items} == scores


def test_offers_are_the_kinds_rules_and_classes_of_the_mistakes(
    make_run: Callable[..., Any],
) -> None:
    offered = offer_filter(galleries_of(make_run(MULTI)))
    assert offered is not None
    assert offered.kinds == (
        *(("", "all mistakes"), ("FP", "false positives"), ("FN", "false negatives")),
    )
    assert {words for _, words in offered.classes[1:]} == set(MULTI)
    assert {words for _, words in offered.rules[1:]} == {
        *("Max-F1", "Target sensitivity 0.95", "Default (0.5)")
    }
    for options in (offered.kinds, offered.rules, offered.classes, offered.orders):
        values = [value for value, _ in options]
        assert values[0] == ""
        assert len(set(values)) == len(values)


def test_one_mistake_needs_no_controls(make_run: Callable[..., Any]) -> None:
    run = make_run()
    first = next(g for g in galleries_of(run) if g.shown)
    assert offer_filter([Gallery(first.kind, first.shown[:1], 0)]) is None
    assert offer_filter([]) is None
    header, first_row, *_ = (run.folder / "mistakes.csv").read_text(encoding="utf-8").splitlines()
    (run.folder / "mistakes.csv").write_text(f"{header}\n{first_row}\n", encoding="utf-8")
    shutil.rmtree(run.folder / "gradcam")
    page = render_report(read_run(run.folder))
    assert "gallery-controls" not in page.partition("<script>")[0]
    assert page.count('class="picture FP"') == 1


def test_controls_are_hidden_without_the_script_and_labeled(make_run: Callable[..., Any]) -> None:
    page = render_report(read_run(make_run(MULTI).folder))
    controls = re.search(r'<div id="gallery-controls".*?</div>', page, re.DOTALL)
    assert controls is not None
    reader = Reader(controls[0])
    assert "hidden" in reader.tags[0][1]
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("label") == tags.count("select") == 4
    assert all("data-kind" not in a or a.get("hidden") is None for a in items_of(page))


def test_policy_allows_exactly_the_script_inside(make_run: Callable[..., Any]) -> None:
    page = render_report(read_run(make_run().folder))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert scripts == [read_resource("gallery.js")]
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_page_without_mistakes_has_no_script(make_run: Callable[..., Any]) -> None:
    page = render_report(read_run(make_run(stages=("data", "training")).folder))
    assert "<script" not in page
    assert "script-src" not in page


def test_script_reaches_for_nothing_outside() -> None:
    code = read_resource("gallery.js")
    for word in ("fetch", "XMLHttp", "import", "eval", "innerHTML", "http", "location", "cookie"):
        assert word not in code
    assert "</" not in code


@pytest.mark.parametrize("attack", HOSTILE)
def test_script_is_told_numbers_never_names(make_run: Callable[..., Any], attack: str) -> None:
    run = make_run((attack.replace("/", "∕").replace("\x00", ""), "B", "C"), stem="s")
    for attributes in items_of(render_report(read_run(run.folder))):
        assert attributes["data-kind"] in KINDS
        assert re.fullmatch(r"\d*", attributes["data-class"] or "")
        assert re.fullmatch(r"[\d.e:\s-]*", attributes["data-margins"] or "")
        assert re.fullmatch(r"[\d.e-]*", attributes["data-score"] or "")
