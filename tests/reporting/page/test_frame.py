"""Every page has the same frame: one policy, one style sheet, header, first screen, contents."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.reporting.page.test_audit_page import make_check, render
from tests.reporting.page.test_joint_page import make_comparison
from tests.reporting.page.test_report_page import Reader
from tests.reporting.test_joint_results import ENTRIES, write_kind, write_sweep

from medimg_baseline_cls.reporting.page.joint_page import write_joint_page
from medimg_baseline_cls.reporting.page.report_page import write_report

KINDS = ("run", "audit", "cv", "seeds", "compare")
KICKERS = {
    "run": "Classification report",
    "audit": "Data audit",
    "cv": "Cross-validation",
    "seeds": "Several seeds",
    "compare": "Comparison",
}


@pytest.fixture
def make_page(make_run: Callable[..., Any], tmp_path: Path) -> Callable[[str], str]:
    """Return a maker of a page of each kind."""

    def make(kind: str) -> str:
        if kind == "audit":
            return render(make_check())
        if kind == "run":
            return write_report(make_run().folder).read_text(encoding="utf-8")
        folder = tmp_path / kind
        if kind == "cv":
            write_kind(folder, "folds")
        elif kind == "seeds":
            write_sweep(folder, kind, [{"seed": n} for n in range(len(ENTRIES["folds"]))])
        else:
            make_comparison(folder, ("a", "b"), (tmp_path / "a", tmp_path / "b"))
        return write_joint_page(folder, kind).read_text(encoding="utf-8")

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_the_frame_of_all(make_page: Callable[[str], str], kind: str) -> None:
    page = make_page(kind)
    assert page.startswith("<!DOCTYPE html>\n")
    assert f'<p class="kicker">{KICKERS[kind]}</p>' in page
    for part in ("<header>", '<p class="lede">', '<section id="answer"', "<nav ", "<footer>"):
        assert page.count(part) == 1
    assert "Research use only." in page and "needs no network" in page
    reader = Reader(page)
    assert reader.open == []
    ids = {a["id"] for _, a in reader.tags if "id" in a}
    contents = page[page.index("<nav ") : page.index("</nav>")]
    linked = re.findall(r'href="#([^"]+)"', contents)
    assert linked and set(linked) <= ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_allows_its_own_style_sheet_alone(
    make_page: Callable[[str], str], kind: str
) -> None:
    page = make_page(kind)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'" in policy and f"style-src 'sha256-{digest}'" in policy
    assert ("script-src" in policy) == (kind == "run")
    assert " style=" not in page


@pytest.mark.parametrize("kind", ["cv", "seeds"])
def test_a_metric_that_no_run_defines_is_said_to_be_undefined(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / kind
    if kind == "cv":
        write_kind(folder, "folds")
    else:
        write_sweep(folder, kind, [{"seed": 3}, {"seed": 4}])
    path = folder / f"{kind}_summary.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    metrics = content["classes"]["PNEUMONIA"]["metrics"]
    metrics["auroc"] = {
        "mean": None,
        "sd": None,
        "min": None,
        "max": None,
        "num_defined": 0,
        "reason": "undefined in every run",
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    page = write_joint_page(folder, kind).read_text(encoding="utf-8")
    assert '<p class="value">–</p>' in page
    assert "undefined in every run" in page
    assert "None" not in page
    num_drawn = page.count('<svg class="scale"')
    assert num_drawn == 3
