"""TEST log, subgroups and dossier on the page: every cell from the files, every text escaped."""

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from medimg_baseline_cls.reporting.anonymous import hide_content, hide_row
from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.page.error_review import describe_cases
from medimg_baseline_cls.reporting.page.evaluation_log import tabulate_hashes, tabulate_test_log
from medimg_baseline_cls.reporting.page.pictures import list_errors
from medimg_baseline_cls.reporting.page.report_page import render_report
from medimg_baseline_cls.reporting.page.subgroups import tabulate_subgroups
from medimg_baseline_cls.reporting.page.tables import Table
from medimg_baseline_cls.utils.pseudonyms import Pseudonyms

MakeRun = Callable[..., Any]
LOG = (
    *("number", "when", "code", "version", "checkpoint_sha256", "thresholds_sha256"),
    *("split_sha256", "class_order", "predictions_test_sha256", "reason", "accepted"),
)
HOSTILE = "<script>alert(1)</script>"


def cells(table: Table | None) -> list[dict[str, str]]:
    assert table is not None
    return [dict(zip(table.header, row.cells, strict=True)) for row in table.rows]


def write_log(run: Any, *rows: tuple[str, str]) -> None:
    lines = [
        (
            *(i, "2026-01-02T03:04:05+00:00", "", "0.1.0", "c" * 64, "7" * 64, "5" * 64),
            *("A | B", "9" * 64, reason, accepted),
        )
        for i, (reason, accepted) in enumerate(rows, start=1)
    ]
    run.write_csv("test_log.csv", LOG, lines)


def figure(value: float | None, *interval: float) -> dict[str, Any]:
    if value is None:
        return {"value": None, "reason": "the subgroup holds positive images only"}
    return {"value": value, "interval": list(interval), "method": "bootstrap"}


def block(num_images: int, *, auroc: float | None) -> dict[str, Any]:
    point = {"threshold": 0.5, "sensitivity": figure(0.75, 0.5, 0.875)}
    names = ("average_precision", "brier_score", "calibration_in_the_large")
    found = {
        "prevalence": 0.5,
        "num_positive": num_images // 2,
        "num_negative": num_images // 2,
        "metrics": {"auroc": figure(auroc, 0.6, 0.9), **{name: figure(None) for name in names}},
        "operating_points": {
            "max_f1": point | {name: figure(None) for name in ("specificity", "ppv", "npv")}
        },
    }
    return {
        "num_images": num_images,
        "num_groups": num_images // 2,
        "is_too_small": num_images < 20,
        "classes": {"PNEUMONIA": found} if num_images >= 20 else {},
    }


def write_subgroups(run: Any) -> None:
    values = {HOSTILE: block(30, auroc=0.8125), "M": block(4, auroc=None)}
    column = {"column": "sex", "source": "table", "num_not_given": 3, "subgroups": values}
    lead = {"split": "test", "positive_class": "PNEUMONIA", "min_images": 20}
    content = lead | {"all": block(48, auroc=0.75), "columns": [column]}
    run.write_json("subgroups.json", content)


def test_the_log_counts_and_shows_each_evaluation(make_run: MakeRun) -> None:
    run = make_run()
    assert tabulate_test_log(read_run(run.folder)) is None
    write_log(run, ("first evaluation", ""), (HOSTILE, "the split: was a, is b. Why: mended"))
    rows = cells(tabulate_test_log(read_run(run.folder)))
    assert [row["No."] for row in rows] == ["1", "2"]
    assert rows[0]["Accepted change"] == "–" and "mended" in rows[1]["Accepted change"]
    assert rows[0]["Code"] == "0.1.0"
    hashes = cells(tabulate_hashes(read_run(run.folder)))
    assert [row["No."] for row in hashes] == ["1", "2"]
    assert hashes[0]["Checkpoint"] == "c" * 8
    page = render_report(read_run(run.folder))
    assert "2 times" in page and 'id="test-log"' in page
    assert "<script>alert" not in page and "&lt;script&gt;" in page


def test_subgroups_show_figures_intervals_and_what_is_too_small(make_run: MakeRun) -> None:
    run = make_run()
    assert tabulate_subgroups(read_run(run.folder)) == []
    write_subgroups(run)
    (table,) = tabulate_subgroups(read_run(run.folder))
    whole, hostile, small = cells(table)
    assert whole["Images"] == "48" and whole["AUROC"].startswith("0.750")
    assert hostile["AUROC"] == "0.813\n0.600–0.900"
    assert hostile["Sensitivity"] == "0.750\n0.500–0.875"
    assert hostile["PPV"] == hostile["AP"] == "–"
    assert small["Subgroup"] == "sex: M\ntoo few images"
    assert (small["Images"], small["Patients"], small["AUROC"]) == ("4", "2", "–")
    assert any("sex 3" in note for note in table.notes)
    assert "<script>alert" not in render_report(read_run(run.folder))


def write_dossier(run: Any, reader: str, *, is_lone: bool = False) -> str:
    """Write a dossier of the first listed mistake; return its image_id."""
    content = read_run(run.folder)
    first = dict(content.mistakes[0])
    train = run.ids["train"][:2]
    near = [(train[0], "NORMAL", "0.0625"), (train[1], "PNEUMONIA", "0.25"), ("", "", "")]
    more = {"label": "NORMAL", "group": "p9", "threshold": "0.61", "subgroup_sex": "F"}
    for i, cells_of in enumerate(near, start=1):
        for part, cell in zip(("image_id", "label", "distance"), cells_of, strict=True):
            more[f"nearest_{i}_{part}"] = cell
    if is_lone:
        more["group"] = content.split[0]["path"]
    row = first | more | {"reader": reader, "reader_comment": HOSTILE}
    run.write_csv("dossier.csv", list(row), [list(row.values())])
    return first["image_id"]


def test_an_image_without_a_patient_is_not_called_one(make_run: MakeRun) -> None:
    run = make_run()
    write_dossier(run, "", is_lone=True)
    content = read_run(run.folder)
    notes = describe_cases(content, [list_errors(content, kind) for kind in ("FP", "FN")])
    ((facts),) = (case.facts for case in notes.values())
    assert facts[0] == "sex F"


def test_a_mistake_shows_patient_neighbors_and_reading(make_run: MakeRun) -> None:
    run = make_run()
    image_id = write_dossier(run, "label wrong")
    content = read_run(run.folder)
    galleries = [list_errors(content, kind) for kind in ("FP", "FN")]
    notes = describe_cases(content, galleries)
    (anchor,) = notes
    shown = next(e for gallery in galleries for e in gallery.shown if e.anchor == anchor)
    assert shown.image_id == image_id
    case = notes[anchor]
    assert case.facts[:2] == ("patient p9", "sex F")
    margin = float(content.mistakes[0]["margin"])
    assert case.facts[2] == f"{margin:.3f} from the threshold of Max-F1"
    assert case.readings == (f"label wrong: {HOSTILE}",)
    assert [(near.label, near.distance, near.picture) for near in case.nearest] == [
        ("NORMAL", "0.063", None),
        ("PNEUMONIA", "0.250", None),
    ]
    page = render_report(content)
    assert "Reader: " in page and "<script>alert" not in page


def test_the_picture_of_a_neighbor_is_found_by_its_row(make_run: MakeRun) -> None:
    run = make_run()
    write_dossier(run, "")
    rows = read_run(run.folder).split
    number = next(i for i, row in enumerate(rows) if row["image_id"] == run.ids["train"][1])
    folder = run.folder / "gradcam" / "nearest"
    folder.mkdir()
    Image.new("L", (96, 64)).save(folder / f"{number}.png")
    content = read_run(run.folder)
    (case,) = describe_cases(content, [list_errors(content, k) for k in ("FP", "FN")]).values()
    first, second = case.nearest
    assert first.picture is None
    assert second.picture is not None and second.picture.width == 96


def test_pseudonyms_replace_names_and_nothing_else() -> None:
    names = Pseudonyms(b"key")
    row = {"image_id": "a/p1.png", "group": "p1", "label": "p1", "nearest_1_image_id": ""}
    hidden = hide_row(row, names)
    assert hidden == row | {"image_id": names.image("a/p1.png"), "group": names.group("p1")}
    assert names.image("p1") != names.group("p1").replace("patient", "image")


@pytest.mark.parametrize("name", ["sub/evil name.png", "evil name.png"])
def test_the_reason_of_a_rejected_file_names_it_no_more(make_run: MakeRun, name: str) -> None:
    run = make_run()
    reasons = [(name, f"{name} is cut off"), ("b.png", "evil name.png has no pixels")]
    run.write_csv("rejected.csv", ("path", "reason"), reasons)
    hidden = hide_content(read_run(run.folder), Pseudonyms(b"key"))
    assert all("evil" not in text for text in hidden.rejected[0].values())
    assert hidden.rejected[0]["path"] in hidden.rejected[0]["reason"]
