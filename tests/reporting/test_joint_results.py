"""A result of several runs is found, named and linked wherever its folder is."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.reporting.page.test_joint_page import (
    NAMES,
    SETTINGS,
    make_comparison,
    make_spread,
    read_page,
    words_of,
)

from medimg_baseline_cls import report
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.reporting.joint_results import list_missing, read_comparison, read_sweep
from medimg_baseline_cls.utils.seals import seal_results

ENTRIES: dict[str, list[dict[str, Any]]] = {
    "folds": [
        {"repeat": 0, "fold": 0, "site": None},
        {"repeat": 0, "fold": 1, "site": None},
    ],
    "repeats": [
        {"repeat": 0, "fold": 0, "site": None},
        {"repeat": 0, "fold": 1, "site": None},
        {"repeat": 1, "fold": 0, "site": None},
        {"repeat": 1, "fold": 1, "site": None},
    ],
    "sites": [
        {"repeat": 0, "fold": 0, "site": "Bonn"},
        {"repeat": 0, "fold": 1, "site": "Köln & Umland"},
        {"repeat": 0, "fold": 2, "site": "<b>Trier"},
    ],
}
TITLES = {
    "folds": ["Fold 0", "Fold 1"],
    "repeats": [
        "Repeat 0, fold 0",
        "Repeat 0, fold 1",
        "Repeat 1, fold 0",
        "Repeat 1, fold 1",
    ],
    "sites": ["Bonn", "Köln & Umland", "<b>Trier"],
}
SENTENCES = {
    "folds": "2-fold cross-validation of 40 images of 24 patients; 2 runs, each tested on the fold",
    "repeats": (
        "2-fold cross-validation of 40 images of 24 patients, the folds drawn 2 times; 4 runs, "
        "each tested on the fold"
    ),
    "sites": (
        "leaving out one of 3 sites at a time of 60 images of 36 patients; 3 runs, each tested on "
        "the site"
    ),
}


class Cells(HTMLParser):
    """Collect the rows of all tables of a page as texts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self._is_inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._is_inside = True
        elif tag == "small":
            self.rows[-1][-1] += " | "

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.rows[-1][-1] = self.rows[-1][-1].strip()
            self._is_inside = False

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.rows[-1][-1] += data.strip("\n")


def write_sweep(folder: Path, kind: str, entries: list[dict[str, Any]], **facts: Any) -> Path:
    """Write a cross-validation whose runs are not there."""
    folder.mkdir(parents=True)
    named = [entry | {"run": f"outputs/runs/{n}"} for n, entry in enumerate(entries)]
    plan = {"runs": named, "settings": SETTINGS}
    sizes = {"num_images": 20, "num_groups": 12}
    content = {
        "num_folds": 2,
        "repeats": 1,
        "by_site": False,
        **facts,
        **make_spread(kind).to_json(),
        "runs": [entry | sizes for entry in named],
    }
    (folder / f"{kind}.json").write_text(json.dumps(plan), encoding="utf-8")
    (folder / f"{kind}_summary.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_kind(folder: Path, name: str) -> Path:
    facts = {"repeats": 2 if name == "repeats" else 1, "by_site": name == "sites"}
    return write_sweep(folder, "cv", ENTRIES[name], **facts)


@pytest.mark.parametrize("name", list(ENTRIES))
def test_a_run_is_called_after_its_fold_or_its_site(tmp_path: Path, name: str) -> None:
    folder = write_kind(tmp_path / "cv", name)
    assert [run.title for run in read_sweep(folder, "cv").runs] == TITLES[name]
    text = words_of(read_page(folder, "cv"))
    assert SENTENCES[name] in text
    assert f"{', '.join(TITLES[name])}: their run folders are not there." in text


def test_a_run_is_called_after_its_seed(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "seeds", "seeds", [{"seed": 7}, {"seed": 11}])
    content = read_sweep(folder, "seeds")
    assert [run.title for run in content.runs] == ["Seed 7", "Seed 11"]
    assert content.ensemble is None and content.figures == {}
    assert "2 runs from different seeds on one split." in words_of(read_page(folder, "seeds"))


def test_the_table_of_folds_has_the_numbers_of_the_summary(tmp_path: Path) -> None:
    folder = write_kind(tmp_path / "cv", "folds")
    rows = Cells(read_page(folder, "cv")).rows
    assert rows[0][:5] == ["Run", "Images", "Patients", "AUROC", "AP"]
    assert rows[3][:5] == ["Mean", "", "", "0.840 | SD 0.037", "0.840 | SD 0.037"]
    assert rows[4:] == [
        ["Operating point", "Metric", "Mean", "SD", "Minimum", "Maximum", "Pooled", "Runs"],
        ["", "AUROC", "0.840", "0.037", "0.712", "0.913", "–", "3"],
        ["", "AP", "0.840", "0.037", "0.712", "0.913", "–", "3"],
        ["Max-F1", "Sensitivity", "0.751", "0.037", "0.712", "0.913", "0.762", "3"],
        ["", "Specificity", "0.751", "0.037", "0.712", "0.913", "0.762", "3"],
    ]


def test_the_table_of_seeds_has_the_interval_of_the_mean(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "seeds", "seeds", [{"seed": 7}, {"seed": 11}])
    rows = Cells(read_page(folder, "seeds")).rows
    header = ["Mean", "SD", "Minimum", "Maximum", "95 % CI of the mean", "Runs"]
    assert rows[4] == ["Operating point", "Metric", *header]
    assert rows[5] == ["", "AUROC", "0.840", "0.037", "0.712", "0.913", "0.612–0.934", "3"]
    assert rows[7] == ["Max-F1", "Sensitivity", "0.751", "0.037", "0.712", "0.913", "–", "3"]


def test_the_table_of_differences_has_intervals_and_both_p_values(tmp_path: Path) -> None:
    names = ("plain", "still", "wide")
    runs = tuple(tmp_path / "gone" / name for name in names)
    page = read_page(make_comparison(tmp_path / "x", names, runs), "compare")
    rows = Cells(page).rows
    gap = ["−0.021 | −0.052 to +0.009", "DeLong", "0.042", "0.126"]
    expected = [
        ["Metric", "Model", "Value", "Difference", "Test", "p", "p (Holm)"],
        ["AUROC", "plain", "0.900", "reference", "", "", ""],
        ["", "still", "0.900", *gap],
        ["", "wide", "0.900", *gap],
    ]
    assert rows[4:8] == rows[8:12] == expected  # what is shown first, and all of the class
    text = words_of(page)
    assert "still minus plain" in text and "wide minus plain" in text
    assert "3 models, trained to distinguish" in text


def test_runs_are_found_when_all_results_were_moved(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = make_run(name="0").folder
    (run / "report.html").write_text("a report", encoding="utf-8")
    home = run.parent.parent
    folder = write_kind(home / "cv" / "chest", "folds")
    moved = tmp_path / "moved"
    shutil.move(home, moved)
    runs = read_sweep(moved / "cv" / folder.name, "cv").runs
    assert [run.link for run in runs] == ["../../runs/0/report.html", ""]
    assert [run.summary is not None for run in runs] == [True, False]


def test_values_of_a_run_that_was_scored_again_since_are_not_shown(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    runs = [make_run(name=name).folder for name in "01"]
    folder = write_kind(runs[0].parent.parent / "cv" / "chest", "folds")
    for run in runs:
        (run / "predictions_test.csv").write_text("scored", encoding="utf-8")
        seal_results(run, ("test_summary.json",))
    plan = json.loads((folder / "cv.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256(b"scored").hexdigest()
    plan["external"] = {"predictions_sha256": [digest, digest]}
    (folder / "cv.json").write_text(json.dumps(plan), encoding="utf-8")
    assert list_missing(read_sweep(folder, "cv").runs) == []
    (runs[1] / "predictions_test.csv").write_text("scored again", encoding="utf-8")
    members = read_sweep(folder, "cv").runs
    assert [run.summary is not None for run in members] == [True, False]
    (warning,) = list_missing(members)
    assert warning.startswith("Fold 1: scored again since, so the values are not shown here")
    assert warning in words_of(read_page(folder, "cv"))
    with (runs[0] / "test_summary.json").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(RunError, match=r"test_summary.json was edited after it was written"):
        read_sweep(folder, "cv")


def test_a_run_far_away_is_read_and_not_linked(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    runs = tuple(make_run(name=name).folder for name in ("plain", "still"))
    for run in runs:
        (run / "report.html").write_text("a report", encoding="utf-8")
    folder = make_comparison(tmp_path / "a" / "b" / "c" / "d", ("plain", "still"), runs)
    assert os.path.relpath(runs[0], folder).startswith("../../../")
    found = read_comparison(folder).runs
    assert [run.link for run in found] == ["", ""]
    assert all(run.summary is not None and run.settings for run in found)
    assert str(tmp_path) not in read_page(folder, "compare")


def test_report_takes_the_name_of_a_result(tmp_path: Path) -> None:
    write_kind(tmp_path / "cv" / "chest_1", "folds")
    make_comparison(tmp_path / "compare" / "a_vs_b", ("a", "b"), (tmp_path, tmp_path))
    for name, kind in (("chest_1", "cv"), ("a_vs_b", "compare")):
        page = tmp_path / kind / name / "report.html"
        assert report(name, output_dir=tmp_path).summary == {"report": str(page)}
        assert NAMES[1] in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(("kind", "command"), [("cv", "cv"), ("seeds", "run")])
def test_report_names_the_command_that_finishes_a_sweep(
    tmp_path: Path, kind: str, command: str
) -> None:
    folder = write_sweep(tmp_path / kind / "chest", kind, ENTRIES["folds"])
    (folder / f"{kind}_summary.json").unlink()
    with pytest.raises(RunError, match=f"not finished.*medimg {command} --resume {folder}"):
        report("chest", output_dir=tmp_path)
    assert not (folder / "report.html").exists()


def test_the_setting_of_a_run_is_enough_to_hide_file_names(
    make_run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = make_run(name="0")
    with (run.folder / "split.csv").open(encoding="utf-8", newline="") as file:
        name = next(csv.DictReader(file))["path"]
    evaluation = run.json("eval_summary.json")
    run.write_json("eval_summary.json", evaluation | {"warnings": [f"Look at {name}."]})
    home = run.folder.parent.parent
    folder = write_kind(home / "cv" / "chest", "folds")
    report(folder)
    assert name in (folder / "report.html").read_text(encoding="utf-8")
    report(folder, anonymous_ids=True)
    assert name not in (folder / "report.html").read_text(encoding="utf-8")
    run.write_json("config.json", run.json("config.json") | {"anonymous_ids": True})
    report(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert name not in page
    assert "Fold 0: Look at " in words_of(page)


@pytest.mark.parametrize("kind", ["cv", "seeds"])
def test_findings_and_grades_have_their_averages(tmp_path: Path, kind: str) -> None:
    entries = ENTRIES["folds"] if kind == "cv" else [{"seed": 7}, {"seed": 11}]
    folder = write_sweep(tmp_path / kind, kind, entries)
    path = folder / f"{kind}_summary.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    block = content["classes"]["PNEUMONIA"]
    content |= {"positive_class": None, "macro": block, "micro": block, "task": "multilabel"}
    path.write_text(json.dumps(content), encoding="utf-8")
    page = read_page(folder, kind)
    assert "trained to find NORMAL and PNEUMONIA" in words_of(page)
    for title in ("PNEUMONIA", "Macro mean", "Micro, all pairs"):
        assert f"<summary>{title}</summary>" in page
    kappa = block["metrics"]["auroc"] | {"mean": 0.4321}
    content |= {"task": "ordinal", "overall": {"quadratic_weighted_kappa": kappa}}
    path.write_text(json.dumps(content), encoding="utf-8")
    page = read_page(folder, kind)
    assert "trained to grade NORMAL &lt; PNEUMONIA" in page
    assert "<summary>Whole images</summary>" in page and "0.432" in page
