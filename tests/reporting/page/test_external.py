"""What the page of an external evaluation says first, from external.json alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_baseline_cls.records.probabilities import CalibrationSummary
from medimg_baseline_cls.reporting.content import RunContent, read_run
from medimg_baseline_cls.reporting.documents.checklist_answers import answer_topics
from medimg_baseline_cls.reporting.documents.model_card import format_model_card
from medimg_baseline_cls.reporting.documents.sentences import describe_performance
from medimg_baseline_cls.reporting.page.external import describe_external, tabulate_external
from medimg_baseline_cls.reporting.page.external_cautions import list_cautions
from medimg_baseline_cls.reporting.page.report_page import render_report
from medimg_baseline_cls.statistics.calibration import describe_calibration


def gap(internal: float | None, external: float | None, **more: Any) -> dict[str, Any]:
    value = None if internal is None or external is None else external - internal
    return {"internal": internal, "external": external, "value": value, **more}


EXTERNAL: dict[str, Any] = {
    "run": "chest_20260101-000000",
    "name": "site-b",
    "num_images": 80,
    "num_patients": 60,
    "alarms": [],
    "duplicates": {
        "num_left_out": 2,
        "kinds": {"same file": 1, "same pixels": 0, "nearly identical": 1},
        "unchecked": "",
        "images": [
            {"path": "A/1.png", "copy_of": "train/A/9.png", "split": "train", "kind": "same file"},
            {
                "path": "A/2.png",
                "copy_of": "val/A/8.png",
                "split": "val",
                "kind": "nearly identical",
            },
        ],
    },
    "internal": {"num_images": 1200, "num_patients": 1},
    "differences": {
        "PNEUMONIA": {
            "metrics": {
                "auroc": gap(0.95, 0.81, interval=[-0.2, -0.05], method="bootstrap"),
                "average_precision": gap(0.9, 0.92, interval=[-0.01, 0.05], method="bootstrap"),
                "slope": gap(None, 0.7, reason="undefined on the internal images: separated"),
            },
            "operating_points": {
                "max_f1": {
                    "sensitivity": gap(0.9, 0.9, interval=None),
                    "specificity": gap(0.8, 0.5, interval=[-0.4, -0.2], method="bootstrap"),
                }
            },
        },
        "macro": {"metrics": {"auroc": gap(0.95, 0.81)}, "operating_points": {}},
    },
}


@pytest.fixture
def content(run_folder: Path) -> RunContent:
    return replace(read_run(run_folder), external=EXTERNAL)


@pytest.fixture
def run_folder(make_run: Callable[..., Any]) -> Path:
    return make_run().folder


def rows_of(content: RunContent, number: int = 0) -> dict[str, tuple[str, ...]]:
    return {row.cells[0]: row.cells[1:] for row in tabulate_external(content)[number].rows}


def test_a_run_on_its_own_data_has_none_of_it(run_folder: Path) -> None:
    plain = read_run(run_folder)
    assert plain.external == {}
    assert (describe_external(plain), tabulate_external(plain)) == ("", [])
    assert "External validation" not in render_report(plain)


def test_the_first_sentence_says_what_test_is(content: RunContent) -> None:
    text = describe_external(content)
    assert "TEST on this page is site-b, 80 images of 60 patients" in text
    assert "those of the run chest_20260101-000000" in text
    assert "its own TEST (1,200 images)" in text


def test_each_metric_has_both_sides_and_the_difference(content: RunContent) -> None:
    rows = rows_of(content)
    assert rows["AUROC"] == ("0.950", "0.810", "−0.140\n−0.200 to −0.050")
    assert rows["Average precision"] == ("0.900", "0.920", "+0.020\n−0.010 to +0.050")
    assert rows["Specificity, Max-F1"] == ("0.800", "0.500", "−0.300\n−0.400 to −0.200")


def test_what_is_undefined_says_why(content: RunContent) -> None:
    rows = rows_of(content)
    label = "Calibration slope\nundefined on the internal images: separated"
    assert rows[label] == ("–", "0.700", "–")
    assert rows["Sensitivity, Max-F1"] == ("0.900", "0.900", "0.000")


def test_averages_are_not_shown_for_two_classes(content: RunContent) -> None:
    titles = [table.title for table in tabulate_external(content)]
    assert titles == [
        "External minus internal, PNEUMONIA",
        "Left out as copies of images of the run: 2",
    ]


def test_copies_are_named(content: RunContent) -> None:
    rows = rows_of(content, 1)
    assert rows["A/1.png"] == ("same file", "TRAIN", "train/A/9.png")
    assert rows["A/2.png"] == ("nearly identical", "VAL", "val/A/8.png")


@pytest.mark.parametrize(
    ("found", "note"),
    [
        ({"num_left_out": 0}, "No image of the run, exact or nearly identical"),
        (
            {"num_left_out": 0, "unchecked": "near copies: /data/x/home is not there"},
            "near copies: …/home is not there",
        ),
        ({"num_left_out": 25, "images": []}, "25 more are listed in duplicates.csv."),
    ],
)
def test_what_was_not_found_or_not_checked_is_said(
    content: RunContent, found: dict[str, Any], note: str
) -> None:
    content = replace(content, external={**EXTERNAL, "duplicates": found})
    assert note in " ".join(tabulate_external(content)[-1].notes)


def test_the_page_shows_it_first(content: RunContent) -> None:
    page = render_report(content)
    assert page.index("TEST on this page is site-b") < page.index('id="external"')
    assert page.index('id="external"') < page.index('id="performance"')
    assert "External validation</p>" in page
    assert "<h1><bdi>site-b</bdi></h1>" in page
    assert "Left out as copies of images of the run: 2" in page


def test_a_table_without_rows_has_its_title_and_no_header(content: RunContent) -> None:
    found = {
        **EXTERNAL,
        "duplicates": {"num_left_out": 0},
        "shift": {"far": {"num_far": 0, "share_far": 0.0, "images": []}},
    }
    page = render_report(replace(content, external=found))
    for title in (
        "Left out as copies of images of the run: 0",
        "External images that look unlike every training image: 0 of 80",
    ):
        assert page.count(f'<p class="caption">{title}</p>') == page.count(title) == 1
    assert "No image of the run, exact or nearly identical" in page
    assert "External image<" not in page and "Image of the run<" not in page
    assert "External image<" in render_report(content)


def test_names_are_escaped(content: RunContent) -> None:
    hostile = {**EXTERNAL, "name": "<script>alert(1)</script>"}
    page = render_report(replace(content, external=hostile))
    assert "<script>alert(1)" not in page


def test_it_is_read_from_the_folder(run_folder: Path, tmp_path: Path) -> None:
    path = run_folder / "external.json"
    path.write_text(json.dumps(EXTERNAL), encoding="utf-8")
    try:
        assert read_run(run_folder).external["name"] == "site-b"
    finally:
        path.unlink()


SHIFT: dict[str, Any] = {
    "prevalence": {
        "NORMAL": {"internal": 0.5, "external": 0.75},
        "PNEUMONIA": {"internal": 0.5, "external": 0.25},
    },
    "controls": {"border": {"PNEUMONIA": {"internal": 0.8, "external": 0.55}}},
    "domain": {"NORMAL": {"auroc": 0.99, "control": 0.48}},
    "properties": [],
    "differs_in": ["intensity", "border"],
}


def test_reasons_are_listed_with_both_sides(content: RunContent) -> None:
    mix = {
        "sex": {
            "F": {"internal": 0.75, "external": 0.5},
            "": {"internal": 0.0, "external": 0.25},
        },
        "site": {"x": {"internal": 1.0, "external": 1.0}, "": {"internal": 0.0, "external": 0.0}},
    }
    found = replace(content, external={**EXTERNAL, "shift": SHIFT, "case_mix": mix})
    rows = rows_of(found, 1)
    assert rows == {
        "Prevalence of PNEUMONIA": ("0.500", "0.250"),
        "Share of sex F": ("0.750", "0.500"),
        "Share without sex": ("0.000", "0.250"),
        "Share of site x": ("1.000", "1.000"),
        "AUROC of the border control, PNEUMONIA": ("0.800", "0.550"),
    }
    reasons, domain = tabulate_external(found)[1:3]
    assert "Shares are of all images, with and without a value." in reasons.notes
    assert domain.rows[0].cells == ("NORMAL", "0.990", "0.480")
    assert "The images differ in: intensity, border" in domain.notes[0]


def test_shares_of_an_earlier_version_are_said_to_be_of_known_images(content: RunContent) -> None:
    mix = {"sex": {"F": {"internal": 0.75, "external": 0.5}}}
    found = replace(content, external={**EXTERNAL, "shift": SHIFT, "case_mix": mix})
    notes = " ".join(tabulate_external(found)[1].notes)
    assert "of the images that have a value" in notes and "of all images" not in notes


@pytest.mark.parametrize(
    ("internal", "external", "is_said"),
    [(0.972, 0.616, True), (0.972, 0.9, False), (0.6, 0.9, False), (0.9, None, False)],
)
def test_a_control_that_falls_far_has_a_sentence(
    content: RunContent, internal: float, external: float | None, is_said: bool
) -> None:
    sides = {"PNEUMONIA": {"internal": internal, "external": external}}
    shift = {**SHIFT, "controls": {"border": sides}}
    found = replace(content, external={**EXTERNAL, "shift": shift})
    notes = " ".join(tabulate_external(found)[1].notes)
    said = "falls from 0.972 to 0.616: what the outer frame told about PNEUMONIA"
    assert (said in notes) == is_said
    assert ("falls from" in notes) == is_said


def worsen(content: RunContent, **metrics: Any) -> RunContent:
    """Return the content with these differences, 3 of 10 positive and a mean probability of 0.6."""
    truth = np.arange(10) < 3
    scores = np.where(truth, 0.8, 0.6 + (0.6 - 0.8) * 3 / 7)
    found = describe_calibration(truth, scores, weights=np.ones((2, 10), np.uint16), seed=0)
    return replace(
        content,
        calibration=CalibrationSummary({"test": {"PNEUMONIA": found}}),
        external={
            **EXTERNAL,
            "differences": {"PNEUMONIA": {"metrics": metrics, "operating_points": {}}},
        },
    )


def test_probabilities_that_are_too_high_are_a_caution_on_the_first_screen(
    content: RunContent,
) -> None:
    found = worsen(content, intercept_at_slope_1=gap(0.1, -1.5, interval=[-1.9, -1.3]))
    (caution,) = list_cautions(found)
    assert caution.startswith("Probabilities of PNEUMONIA are too high on these data")
    assert "their mean is 0.600, the prevalence 0.300 (observed / expected 0.50)" in caution
    page = render_report(found)
    assert page.index("Probabilities of PNEUMONIA are too high") < page.index('id="external"')


@pytest.mark.parametrize(
    "offset",
    [
        gap(0.1, -0.3, interval=[-0.5, -0.3]),  # small
        gap(-1.8, -1.5, interval=[0.1, 0.5]),  # not worse
        gap(0.1, -1.5, interval=[-3.9, 0.3]),  # not clear
        gap(None, -1.5, reason="undefined"),
        gap(0.1, -1.5),
    ],
)
def test_calibration_that_did_not_clearly_get_worse_is_no_caution(
    content: RunContent, offset: dict[str, Any]
) -> None:
    assert list_cautions(worsen(content, intercept_at_slope_1=offset)) == []
    assert list_cautions(replace(content, external={})) == []


@pytest.mark.parametrize(
    ("auroc", "is_said"),
    [([-0.02, 0.02], True), ([-0.2, -0.1], False)],
)
def test_a_brier_score_that_rises_without_the_auroc_is_a_caution(
    content: RunContent, auroc: list[float], is_said: bool
) -> None:
    brier = gap(0.05, 0.2, interval=[0.1, 0.2], method="bootstrap")
    found = worsen(content, brier_score=brier, auroc=gap(0.9, 0.9, interval=auroc))
    assert bool(list_cautions(found)) == is_said
    assert all("0.200 on these data and 0.050 on TEST" in text for text in list_cautions(found))


def test_images_unlike_every_training_image_have_a_table_and_their_share(
    content: RunContent,
) -> None:
    far = {
        "num_far": 12,
        "share_far": 0.15,
        "images": [{"path": "A/7.png", "distance": 4.0}, {"path": "A/3.png", "distance": 1.25}],
    }
    external = {**EXTERNAL, "shift": {**SHIFT, "far": far}}
    found = next(
        table
        for table in tabulate_external(replace(content, external=external))
        if "look unlike" in table.title
    )
    assert found.title.endswith("12 of 80")
    assert [row.cells for row in found.rows] == [("A/7.png", "4.00"), ("A/3.png", "1.25")]
    assert found.notes[0].startswith("15.0\u00a0% of the external images have a distance above 1")
    few = {**EXTERNAL, "shift": {**SHIFT, "far": {"reason": "fewer than 50 training images"}}}
    titles = [table.title for table in tabulate_external(replace(content, external=few))]
    assert not any("look unlike" in title for title in titles)


def test_what_could_not_be_compared_is_said_with_the_prevalence(content: RunContent) -> None:
    shift = {"prevalence": SHIFT["prevalence"], "reason": "/data/home is not there"}
    found = tabulate_external(replace(content, external={**EXTERNAL, "shift": shift}))[1]
    assert [row.cells for row in found.rows] == [("Prevalence of PNEUMONIA", "0.500", "0.250")]
    assert "Not compared: …/home is not there" in found.notes


def test_away_from_the_page_the_other_data_are_not_called_test(content: RunContent) -> None:
    sentences = describe_performance(content)
    assert sentences[0].startswith("On the external data set site-b (")
    assert not any("TEST" in text for text in sentences)


def test_the_checklist_says_that_testing_was_external(content: RunContent) -> None:
    topics = answer_topics(content, {"test_log.csv"})
    assert "site-b" in topics["external_test"]
    assert topics["internal_test"] == ""


def test_splits_without_an_image_are_not_listed(content: RunContent) -> None:
    other = tuple(row for row in content.split if row["split"] == "test")
    assert replace(content, split=other).splits == ("test",)
    assert replace(content, external={}, split=other).splits == ("train", "val", "test")


def test_what_was_inferred_from_the_data_of_the_run_is_not_listed(content: RunContent) -> None:
    said = {
        "topic": "patients",
        "found": "270 patients, 362 images",
        "certainty": "certain",
        "reason": "file names",
        "flag": "--group-regex",
        "warning": "",
    }
    config = {**content.config, "provenance": {**content.provenance, "inferences": [said]}}
    found = replace(content, config=config)
    for page in (render_report(found), format_model_card(found, {})):
        assert "Inferred from the data" not in page and "270 patients" not in page
    own = replace(found, external={})
    assert "Inferred from the data" in render_report(own)
    assert "270 patients" in format_model_card(own, {})


def test_advice_is_not_that_for_a_run(content: RunContent) -> None:
    assert content.mistakes
    bare = replace(content, panels=dict.fromkeys(content.panels, ()))
    assert "no heat maps yet" not in render_report(bare)
    assert "no heat maps yet" in render_report(replace(bare, external={}))
