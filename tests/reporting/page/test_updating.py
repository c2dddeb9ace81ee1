"""What the page of an external evaluation says of updates, from updating.json alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.updating import (
    ClassUpdating,
    EventsNeeded,
    Fitted,
    Gain,
    Sizes,
    UpdatedModel,
    UpdatingSummary,
)
from medimg_baseline_cls.reporting.content import RunContent, read_run
from medimg_baseline_cls.reporting.page.external import describe_external
from medimg_baseline_cls.reporting.page.report_page import render_report
from medimg_baseline_cls.reporting.page.updating import describe_updating, tabulate_updating

HEADING = "If the model were updated on these data"


def interval(low: float, high: float) -> Interval:
    return Interval(bounds=(low, high), method="bootstrap")


GAIN = Gain(
    value=-0.02,
    interval=interval(-0.03, -0.01),
    locked=Estimate(value=0.12, interval=interval(0.1, 0.2)),
    updated=Estimate(value=0.10, interval=interval(0.05, 0.15)),
)
FITTED = Fitted(
    locked=0.0,
    estimate=Estimate(value=-1.2, interval=interval(-1.5, -0.9)),
    folds=(-1.1, -1.3),
)
BLOCK = ClassUpdating(
    sizes=Sizes(num_images=1200, num_patients=900, num_positive=80),
    fitting_parts=(
        Sizes(num_images=960, num_patients=720, num_positive=64),
        Sizes(num_images=1010, num_patients=720, num_positive=63),
    ),
    updates={
        "intercept": UpdatedModel(
            fitted={"intercept": FITTED},
            metrics={"brier_score": GAIN},
            operating_points={"max_f1": {"specificity": GAIN}},
        ),
        "intercept_and_slope": UpdatedModel(reason="no rising line fits the logits"),
        "threshold": UpdatedModel(
            fitted={"max_f1": replace(FITTED, locked=0.5, folds=(0.25, 0.5))},
            operating_points={"max_f1": {"sensitivity": GAIN}},
        ),
    },
    needed=(EventsNeeded(metric="auroc", value=0.8, width=0.1, num_images=4252, num_positive=77),),
)


def summary_of(**classes: ClassUpdating) -> UpdatingSummary:
    return UpdatingSummary(num_folds=2, intervals={}, classes=classes)


@pytest.fixture
def folder(make_run: Callable[..., Any]) -> Path:
    return make_run().folder


@pytest.fixture
def content(folder: Path) -> RunContent:
    return replace(read_run(folder), updating=summary_of(PNEUMONIA=BLOCK))


def test_the_lead_says_that_the_locked_result_comes_first_and_what_was_fitted_on(
    content: RunContent,
) -> None:
    lead = describe_updating(content)
    assert lead.startswith("The results above are those of the locked model.")
    assert "960 to 1,010 images of 720 patients, 63 to 64 of them PNEUMONIA" in lead


def test_a_change_is_between_locked_and_updated(content: RunContent) -> None:
    gains = tabulate_updating(content)[0]
    assert gains.title == "Updated minus locked, PNEUMONIA"
    cells = [row.cells for row in gains.rows]
    shown = ("0.120\n0.100–0.200", "0.100\n0.050–0.150", "−0.020\n−0.030 to −0.010")
    assert cells == [
        ("Intercept of the logit fitted", "", "", ""),
        ("Brier score", *shown),
        ("Threshold chosen again", "", "", ""),
        ("Sensitivity, Max-F1", *shown),
    ]


def test_what_is_gained_by_which_update_is_said_and_that_decisions_stay(
    content: RunContent,
) -> None:
    other = replace(GAIN, updated=Estimate(value=0.09))
    chosen = {
        "sensitivity": replace(GAIN, locked=Estimate(value=0.9), updated=Estimate(value=0.8)),
        "specificity": replace(GAIN, locked=Estimate(value=0.5), updated=Estimate(value=0.7)),
    }
    updates = {
        "intercept": BLOCK.updates["intercept"],
        "intercept_and_slope": UpdatedModel(metrics={"brier_score": other}),
        "threshold": UpdatedModel(operating_points={"max_f1": chosen}),
    }
    found = replace(content, updating=summary_of(PNEUMONIA=replace(BLOCK, updates=updates)))
    assert (
        "the Brier score is 0.120 locked, 0.100 with a new intercept, 0.090 with a new intercept "
        "and slope" in describe_updating(found)
    )
    assert (
        "with the threshold of Max-F1 chosen again sensitivity goes from 0.900 to 0.800 and "
        "specificity goes from 0.500 to 0.700" in describe_updating(found)
    )
    assert "What is gained" not in describe_updating(
        replace(found, updating=summary_of(PNEUMONIA=replace(BLOCK, updates={})))
    )
    assert "decisions change only where thresholds are chosen again" in render_report(found)


def test_a_change_that_the_fit_itself_brings_about_has_no_interval(content: RunContent) -> None:
    metrics = dict.fromkeys(("intercept_at_slope_1", "slope", "log_loss"), GAIN)
    block = replace(BLOCK, updates={"intercept": UpdatedModel(metrics=metrics)})
    rows = tabulate_updating(replace(content, updating=summary_of(PNEUMONIA=block)))[0].rows
    changes = {row.cells[0]: row.cells[3] for row in rows[1:]}
    assert changes == {
        "Calibration in the large": "−0.020",
        "Calibration slope": "−0.020",
        "Log loss": "−0.020\n−0.030 to −0.010",
    }


def test_an_update_that_is_not_available_has_its_reason_below(content: RunContent) -> None:
    notes = tabulate_updating(content)[0].notes
    text = "Intercept and slope of the logit fitted: not available, because no rising line fits the"
    assert notes[1].startswith(text)
    assert text in render_report(content)


def test_what_was_fitted_has_the_values_of_the_folds(content: RunContent) -> None:
    rows = [row.cells for row in tabulate_updating(content)[1].rows]
    label, locked, _, folds = rows[0]
    assert label == "Intercept alone"
    assert (locked, folds) == ("0.000", "−1.300 to −1.100")
    assert rows[1][0] == "Threshold, Max-F1"
    assert rows[1][3] == "0.250 to 0.500"


def test_the_images_that_are_needed_are_next_to_those_here(content: RunContent) -> None:
    table = tabulate_updating(content)[2]
    # One image in 15 is positive here: 100 of them are in 1,500.
    assert [row.cells for row in table.rows] == [
        ("AUROC", "0.800", "0.100", "77", "4,252"),
        ("At least 100 PNEUMONIA and 100 others", "", "", "100", "1,500"),
    ]
    assert "1,200 images of 900 patients, 80 of them PNEUMONIA" in table.notes[1]


@pytest.mark.parametrize(
    ("needed", "num_images", "said"),
    [
        (4252, 1200, "AUROC with an interval of width 0.100: 4,252, which is not reached here."),
        (4252, 4252, "AUROC with an interval of width 0.100: 4,252, which is reached here."),
        (24, 150, "the recommendation of 100 on each side: 200, which is not reached here."),
        (24, 200, "the recommendation of 100 on each side: 200, which is reached here."),
    ],
)
def test_what_needs_the_most_images_is_said_with_whether_they_are_here(
    content: RunContent, needed: int, num_images: int, said: str
) -> None:
    block = replace(
        BLOCK,
        sizes=Sizes(num_images=num_images, num_patients=90, num_positive=num_images // 2),
        needed=(replace(BLOCK.needed[0], num_images=needed),),
    )
    table = tabulate_updating(replace(content, updating=summary_of(PNEUMONIA=block)))[2]
    assert table.notes[1].endswith(f"The most images are needed for {said}")


@pytest.mark.parametrize(
    ("num_positive", "least"), [(1150, ("2,300", "2,400")), (400, ("100", "300"))]
)
def test_the_least_number_is_that_of_the_rarer_side(
    content: RunContent, num_positive: int, least: tuple[str, str]
) -> None:
    sizes = Sizes(num_images=1200, num_patients=900, num_positive=num_positive)
    found = summary_of(PNEUMONIA=replace(BLOCK, sizes=sizes))
    table = tabulate_updating(replace(content, updating=found))[2]
    assert table.rows[-1].cells[3:] == least


def test_sizes_that_nobody_can_plan_with_have_the_reason(content: RunContent) -> None:
    lost = replace(BLOCK.needed[0], num_images=None, num_positive=None, reason="it is inverted")
    some, none = (
        tabulate_updating(
            replace(content, updating=summary_of(PNEUMONIA=replace(BLOCK, needed=needed)))
        )[2]
        for needed in ((*BLOCK.needed, lost), (lost, lost))
    )
    assert some.rows[1].cells == ("AUROC\nit is inverted", "0.800", "0.100", "–", "–")
    assert none.rows == ()
    assert none.notes == ("Not available, because it is inverted.",)


def test_the_section_is_on_the_page_after_the_performance(content: RunContent) -> None:
    page = render_report(content)
    assert page.index('<section id="performance">') < page.index('<section id="updating">')
    assert HEADING in page
    assert 'href="#updating"' in page


def test_the_first_sentences_of_the_page_lead_to_it(content: RunContent) -> None:
    numbers = {"num_images": 1200, "num_patients": 900}
    found = replace(content, external={"name": "b", "run": "chest", **numbers})
    assert "Updates have a section of their own." in describe_external(found)
    assert "Updates have" not in describe_external(replace(found, updating=None))


def test_a_run_has_no_such_section(folder: Path) -> None:
    content = read_run(folder)
    assert content.updating is None
    assert describe_updating(content) == ""
    assert tabulate_updating(content) == []
    assert HEADING not in render_report(content)


def test_the_file_of_the_folder_is_read(folder: Path) -> None:
    text = json.dumps(summary_of(PNEUMONIA=BLOCK).to_json())
    (folder / "updating.json").write_text(text, encoding="utf-8")
    assert read_run(folder).updating == summary_of(PNEUMONIA=BLOCK)


def test_a_number_is_never_shown_as_more_exact_than_it_is(content: RunContent) -> None:
    close = Estimate(value=0.99996, interval=interval(0.99, 0.99999))
    gain = Gain(value=0.0, interval=interval(-0.0001, 0.0001), locked=close, updated=close)
    model = UpdatedModel(operating_points={"max_f1": {"sensitivity": gain}})
    block = replace(BLOCK, updates={"threshold": model})
    rows = tabulate_updating(replace(content, updating=summary_of(PNEUMONIA=block)))[0].rows
    assert rows[1].cells[1].startswith(">0.999")
    assert rows[1].cells[3] == "0.000\n0.000 to 0.000"


def test_more_classes_have_the_reason_alone(content: RunContent) -> None:
    bare = replace(content, updating=UpdatingSummary(reason="they have a sum of 1"))
    assert describe_updating(bare) == "Not available: they have a sum of 1."
    assert tabulate_updating(bare) == []
    assert "Not available: they have a sum of 1." in render_report(bare)


def test_a_class_with_too_few_patients_has_the_reason(content: RunContent) -> None:
    block = ClassUpdating(sizes=BLOCK.sizes, reason="only 3 patients are ill")
    found = replace(content, updating=summary_of(PNEUMONIA=block))
    assert describe_updating(found) == "Not available: only 3 patients are ill."
    assert tabulate_updating(found) == []
    page = render_report(found)
    assert page.count("only 3 patients are ill") == 1
    assert "Updated minus locked" not in page and "update is fitted" not in page


@pytest.fixture
def findings(make_run: Callable[..., Any]) -> RunContent:
    """Return a run of two classes, each shown by itself, as findings are."""
    content = read_run(make_run().folder)
    evaluation = content.evaluation
    assert evaluation is not None
    summaries = {
        split: replace(summary, positive_class=None) for split, summary in content.summaries.items()
    }
    provenance = {**content.provenance, "positive_class": None}
    return replace(
        content,
        config={**content.config, "positive_class": None, "provenance": provenance},
        evaluation=replace(evaluation, positive_class=None),
        summaries=summaries,
        updating=summary_of(NORMAL=BLOCK, PNEUMONIA=BLOCK),
    )


def test_the_one_finding_that_is_not_updated_has_a_title_and_its_reason(
    findings: RunContent,
) -> None:
    bare = ClassUpdating(sizes=BLOCK.sizes, reason="only 3 patients are ill")
    found = replace(findings, updating=summary_of(NORMAL=BLOCK, PNEUMONIA=bare))
    assert describe_updating(found).startswith("The results above are")
    table = tabulate_updating(found)[1]
    assert table.rows == ()
    assert table.notes == ("PNEUMONIA: not available, because only 3 patients are ill.",)


def test_findings_that_are_all_not_updated_have_a_sentence_of_all_reasons(
    findings: RunContent,
) -> None:
    few, none = (ClassUpdating(sizes=BLOCK.sizes, reason=why) for why in ("3 are", "nobody is"))
    found = replace(findings, updating=summary_of(NORMAL=few, PNEUMONIA=none))
    assert describe_updating(found) == "Not available: NORMAL: 3 are; PNEUMONIA: nobody is."
    same = replace(findings, updating=summary_of(NORMAL=few, PNEUMONIA=few))
    assert describe_updating(same) == "Not available: 3 are."
    assert tabulate_updating(found) == tabulate_updating(same) == []


def test_each_finding_has_its_own_tables_and_sizes(findings: RunContent) -> None:
    tables = tabulate_updating(findings)
    assert [table.about for table in tables] == ["NORMAL", "PNEUMONIA"] * 3
    assert len({table.title for table in tables}) == 6
    for name, table in zip(("NORMAL", "PNEUMONIA"), tables, strict=False):
        assert f"63 to 64 of them {name}" in table.notes[-1]
    assert "of them" not in describe_updating(findings)


def test_a_note_that_tables_share_is_on_the_page_once(findings: RunContent) -> None:
    page = render_report(findings)
    for text in ("applied to the patients of the held-out fold", "intercept 0 and slope 1 leave"):
        assert page.count(text) == 1


def test_an_undefined_metric_is_a_dash(content: RunContent) -> None:
    nothing = Estimate(value=None, reason="the images do not define it")
    gain = Gain(value=None, reason=nothing.reason, locked=GAIN.locked, updated=nothing)
    model = UpdatedModel(fitted={"intercept": FITTED}, metrics={"slope": gain})
    block = replace(BLOCK, updates={"intercept": model})
    found = tabulate_updating(replace(content, updating=summary_of(PNEUMONIA=block)))[0]
    assert found.rows[1].cells == ("Calibration slope", "0.120\n0.100–0.200", "–", "–")
