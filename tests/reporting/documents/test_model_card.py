"""The model card: figures of the run, its warnings, its hashes, research use, nothing hostile."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.reporting.page.test_report_page import HOSTILE

from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.documents.model_card import LIMITS, format_model_card
from medimg_baseline_cls.reporting.page.report_page import write_report

MULTI = ("COVID", "NORMAL", "PNEUMONIA")
SECTIONS = (
    *("Intended use", "Data", "Model and training", "Performance", "Operating points"),
    *("Controls", "Limitations", "Environment", "Hashes (SHA-256)"),
)


def sections_of(text: str) -> list[str]:
    return re.findall(r"^## (.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("class_names", [("NORMAL", "PNEUMONIA"), MULTI], ids=["two", "three"])
def test_card_of_a_finished_run_is_whole(
    make_run: Callable[..., Any], class_names: tuple[str, ...]
) -> None:
    run = make_run(class_names)
    write_report(run.folder)
    text = (run.folder / "model_card.md").read_text(encoding="utf-8")
    assert sections_of(text) == list(SECTIONS)
    assert "Research use only" in text
    assert "VAL is small: 24 images" in text
    assert "resnet18.safetensors" in text
    digest = hashlib.sha256((run.folder / "best.pt").read_bytes()).hexdigest()
    assert f"| best.pt | {digest} |" in text
    assert "/home" not in text
    assert all(part in text for part in (LIMITS[0], LIMITS[1]))


def test_sentences_hold_the_figures_of_test(make_run: Callable[..., Any]) -> None:
    run = make_run()
    text = format_model_card(read_run(run.folder), {})
    block = run.json("test_summary.json")["classes"]["PNEUMONIA"]
    assert f"AUROC was {block['metrics']['auroc']['value']:.3f}" in text
    point = block["operating_points"]["max_f1"]
    assert f"({point['tp']}/{point['tp'] + point['fn']})" in text
    assert "50.0% PNEUMONIA" in text
    assert "On TEST (48 images of" in text


def test_run_without_evaluation_has_no_empty_sections(make_run: Callable[..., Any]) -> None:
    text = format_model_card(read_run(make_run(stages=("data",)).folder), {})
    assert sections_of(text) == [
        *("Intended use", "Data", "Model and training", "Limitations", "Environment")
    ]


def test_same_run_gives_the_same_documents(make_run: Callable[..., Any]) -> None:
    run = make_run()
    names = ("model_card.md", "checklist.md", "tables/performance.csv", "tables/training.tex")
    written: list[list[bytes]] = []
    for _ in range(2):
        write_report(run.folder)
        written.append([(run.folder / name).read_bytes() for name in names])
    assert written[0] == written[1]


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_names_make_no_tag_or_link(make_run: Callable[..., Any], attack: str) -> None:
    run = make_run(("NORMAL", attack.replace("/", "∕").replace("\x00", "")), stem="s")
    run.write_json("config.json", run.json("config.json") | {"project": attack, "arch": attack})
    evaluation = run.json("eval_summary.json") | {"warnings": [attack]}
    run.write_json("eval_summary.json", evaluation)
    text = format_model_card(read_run(run.folder), {})
    assert not set("<>\x00\u202e") & set(text)
    assert "javascript:" not in text
    assert "https:" not in text
