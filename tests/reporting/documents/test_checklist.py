"""Both checklists are whole, and nothing is answered that a run cannot know."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.reporting.page.test_report_page import HOSTILE

from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.documents.checklist import format_checklist, read_guidelines
from medimg_baseline_cls.reporting.documents.checklist_answers import (
    ANSWERS,
    NOT_AVAILABLE,
    answer_topics,
)

MULTI = ("COVID", "NORMAL", "PNEUMONIA")
# Collins et al. 2024, Table 2: 27 items, of which these have parts.
TRIPOD_PARTS = {
    3: "abc",
    5: "ab",
    6: "abc",
    8: "abc",
    9: "abc",
    12: "abcdefg",
    18: "abcdef",
    20: "abc",
    23: "ab",
    27: "abc",
}
ONLY_AUTHORS_KNOW = {
    "CLAIM 2024": ("3", "5", "11", "15", "16", "17", "18", "34", "41", "44"),
    "TRIPOD+AI": (
        *("3a", "3b", "3c", "5b", "6a", "6c", "8b", "8c", "9c", "14", "17", "18a", "18b", "18d"),
        *("18e", "19", "23b", "25", "27c"),
    ),
}


def rows_of(run: Any) -> dict[str, dict[str, list[str]]]:
    """Return guideline -> item -> cells of checklist.md."""
    files = {path.name for path in run.folder.iterdir()}
    text = format_checklist(read_run(run.folder), files)
    found: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("## "):
            found[line[3:]] = {}
        elif re.match(r"\| \d", line):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found[list(found)[-1]][cells[0]] = cells
    return found


def test_claim_has_44_items_and_tripod_27_with_their_parts() -> None:
    numbers = {g.name: [item.number for item in g.items] for g in read_guidelines()}
    assert numbers["CLAIM 2024"] == [str(i) for i in range(1, 45)]
    expected = [f"{i}{part}" for i in range(1, 28) for part in TRIPOD_PARTS.get(i, "") or [""]]
    assert numbers["TRIPOD+AI"] == expected
    assert len(expected) == 52


def test_topics_of_the_items_are_those_that_the_code_answers() -> None:
    used = {topic for g in read_guidelines() for item in g.items for topic in item.answers}
    assert used == set(ANSWERS)


@pytest.mark.parametrize("class_names", [("NORMAL", "PNEUMONIA"), MULTI], ids=["two", "three"])
def test_every_item_is_printed_with_a_place_for_the_authors(
    make_run: Callable[..., Any], class_names: tuple[str, ...]
) -> None:
    run = make_run(class_names)
    more = {"on_bad_image": "skip", "imbalance": "none"}
    run.write_json("config.json", run.json("config.json") | more)
    found = rows_of(run)
    for guideline in read_guidelines():
        rows = found[guideline.name]
        assert list(rows) == [item.number for item in guideline.items]
        assert {len(row) for row in rows.values()} == {5}
        assert {row[4] for row in rows.values()} == {""}
        for number in ONLY_AUTHORS_KNOW[guideline.name]:
            assert rows[number][3] == NOT_AVAILABLE
        unanswered = [number for number, row in rows.items() if row[3] == NOT_AVAILABLE]
        assert set(unanswered) - set(ONLY_AUTHORS_KNOW[guideline.name]) <= {
            *("33", "31", "29"),
            *("12d", "12f", "24"),
        }


def test_answers_hold_the_figures_of_the_run(make_run: Callable[..., Any]) -> None:
    run = make_run()
    claim = rows_of(run)["CLAIM 2024"]
    auroc = run.json("test_summary.json")["classes"]["PNEUMONIA"]["metrics"]["auroc"]["value"]
    assert f"AUROC was {auroc:.3f}" in claim["38"][3]
    assert "48 TEST" in claim["19"][3]
    assert "TEST: NORMAL 24, PNEUMONIA 24" in claim["36"][3]
    assert "torch: 2.10.0" in claim["23"][3]
    assert "640 × 512 px" in claim["13"][3]
    assert run.json("eval_summary.json")["checkpoint"]["sha256"] in claim["43"][3]


def test_run_that_has_only_settings_answers_little(make_run: Callable[..., Any]) -> None:
    found = rows_of(make_run(stages=()))
    for number in ("2", "19", "28", "38", "39"):
        assert found["CLAIM 2024"][number][3] == NOT_AVAILABLE


def test_files_of_other_stages_are_named_where_they_are(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run().folder)
    without = answer_topics(content, set())
    assert without["calibration"] == without["recalibration"] == ""
    assert "mistakes.csv" not in without["errors"]
    files = {"calibration.json", "recalibration.json", "mistakes.csv", "test_log.csv"}
    given = answer_topics(content, files)
    assert "calibration.json" in given["calibration"]
    assert "recalibration.json" in given["recalibration"]
    assert "test_log.csv" in given["internal_test"]


@pytest.mark.parametrize("class_names", [("NORMAL", "PNEUMONIA"), MULTI], ids=["two", "three"])
def test_mistakes_are_counted_at_one_operating_point(
    make_run: Callable[..., Any], class_names: tuple[str, ...]
) -> None:
    run = make_run(class_names)
    answer = rows_of(run)["CLAIM 2024"]["39"][3]
    for column, name in enumerate(class_names):
        if len(class_names) == 2 and name != run.positive_class:
            continue
        truth = run.labels["test"] == column
        call = run.probabilities["test"][:, column] >= 0.61  # max_f1, the run's own
        positives, negatives = (call & ~truth).sum(), (~call & truth).sum()
        assert f"false positives of {name} {positives}, false negatives {negatives}" in answer
    assert "at the operating point Max-F1" in answer


def test_readings_are_counted_by_image(make_run: Callable[..., Any]) -> None:
    run = make_run()
    assert "reader" not in rows_of(run)["CLAIM 2024"]["39"][3]
    rows = [("a", "real miss"), ("a", "real miss"), ("b", "poor image"), ("c", " ")]
    run.write_csv("dossier.csv", ("image_id", "reader"), rows)
    assert "A reader has judged 2 images in dossier.csv." in rows_of(run)["CLAIM 2024"]["39"][3]


def test_site_that_is_left_out_is_external_testing(make_run: Callable[..., Any]) -> None:
    run = make_run()
    run.write_json("config.json", run.json("config.json") | {"test_site": "Mainz"})
    topics = answer_topics(read_run(run.folder), set())
    assert "Mainz" in topics["external_test"]
    assert topics["internal_test"] == ""


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_names_stay_in_their_cells(make_run: Callable[..., Any], attack: str) -> None:
    run = make_run()
    config = run.json("config.json") | {"project": attack, "arch": attack}
    run.write_json("config.json", config)
    text = format_checklist(read_run(run.folder), set())
    assert "<" not in text
    assert "javascript:" not in text
    assert not [line for line in text.splitlines() if line.startswith("|") and line[-1] != "|"]


def test_no_path_of_the_user(make_run: Callable[..., Any]) -> None:
    text = format_checklist(read_run(make_run().folder), set())
    assert "/home" not in text
    assert "…/chest\\_xray" in text
