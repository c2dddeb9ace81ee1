"""tables/: the summaries at full precision, the same figures in print, no formula in a cell."""

import csv
import json
import shutil
from collections.abc import Callable
from math import floor
from pathlib import Path
from typing import Any

import pytest
from tests.reporting.text.test_latex import assert_balanced, compile_table, read_rows

from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.documents.table_files import list_exports, write_tables
from medimg_baseline_cls.utils.spreadsheet_cells import guard_cell

MULTI = ("COVID", "NORMAL", "PNEUMONIA")
HOSTILE = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "\n@x", '=HYPERLINK("x")')


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def give_intervals(run: Any) -> None:
    """Write an interval of ± 0.02 around each proportion and metric of the run."""

    def widen(block: Any) -> Any:
        if isinstance(block, list):
            return [widen(item) for item in block]
        if not isinstance(block, dict):
            return block
        value = block.get("value")
        if isinstance(value, float):
            return {**block, "interval": [value - 0.02, value + 0.02], "method": "bootstrap"}
        return {key: widen(item) for key, item in block.items()}

    for split in ("val", "test"):
        summary = widen(run.json(f"{split}_summary.json"))
        run.write_json(f"{split}_summary.json", summary | {"intervals": {"num_resamples": 2000}})


@pytest.mark.parametrize("class_names", [("NORMAL", "PNEUMONIA"), MULTI], ids=["two", "three"])
def test_every_figure_of_the_summaries_is_in_the_tables(
    make_run: Callable[..., Any], tmp_path: Path, class_names: tuple[str, ...]
) -> None:
    run = make_run(class_names)
    give_intervals(run)
    write_tables(read_run(run.folder), tmp_path)
    metrics = {
        (r["split"], r["class"], r["metric"]): r for r in read_table(tmp_path / "performance.csv")
    }
    points = {
        (r["split"], r["class"], r["operating_point"], r["metric"]): r
        for r in read_table(tmp_path / "operating_points.csv")
    }
    names = {"max_f1": "Max-F1", "target_sensitivity": "Target sensitivity 0.95"}
    for split in ("val", "test"):
        for owner, block in run.json(f"{split}_summary.json")["classes"].items():
            for key, metric in block["metrics"].items():
                row = metrics[split, owner, key]
                assert float(row["value"]) == metric["value"]
                assert [float(row["lower"]), float(row["upper"])] == metric["interval"]
                assert row["method"] == "bootstrap"
            for rule, point in block["operating_points"].items():
                rule_name = names.get(rule, "Default (0.5)")
                row = points[split, owner, rule_name, "sensitivity"]
                assert int(row["part"]) == point["tp"]
                assert int(row["whole"]) == point["tp"] + point["fn"]
                assert row["printed"].startswith(
                    f"{floor(1000 * float(row['value']) + 0.5) / 10:.1f}%"
                )
                npv = points[split, owner, rule_name, "npv"]
                assert int(npv["whole"]) == point["tn"] + point["fn"]


def test_latex_prints_what_the_csv_prints(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run = make_run()
    give_intervals(run)
    write_tables(read_run(run.folder), tmp_path)
    printed = {
        r["printed"].replace("95% CI ", "") for r in read_table(tmp_path / "operating_points.csv")
    }
    text = (tmp_path / "operating_points.tex").read_text(encoding="utf-8")
    cells = text.replace(r"\%", "%").replace(r"\ensuremath{-}", "−")
    assert len(printed) > 20
    for figure in printed:
        assert figure.replace("<", r"\textless{}").replace(">", r"\textgreater{}") in cells


@pytest.mark.parametrize("class_names", [("NORMAL", "PNEUMONIA"), MULTI, ("a_b", "50% & {x}")])
def test_latex_tables_are_complete(
    make_run: Callable[..., Any], tmp_path: Path, class_names: tuple[str, ...]
) -> None:
    content = read_run(make_run(class_names).folder)
    written = [p for p in write_tables(content, tmp_path) if p.suffix == ".tex"]
    assert [p.stem for p in written] == ["data", "training", "performance", "operating_points"]
    texts = [path.read_text(encoding="utf-8") for path in written]
    for path, text in zip(written, texts, strict=True):
        assert_balanced(text)
        assert len({len(row) for row in read_rows(text)}) == 1
        assert text.count(r"\caption{") == text.count(r"\label{tab:") == 1
        assert path.with_suffix(".csv").is_file()
    assert "shortstack" not in "".join(texts)
    if shutil.which("pdflatex"):
        assert "Overfull" not in compile_table(texts, tmp_path)


def test_data_table_counts_the_split(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run = make_run()
    write_tables(read_run(run.folder), tmp_path)
    rows = {row["split"]: row for row in read_table(tmp_path / "data.csv")}
    for split, labels in run.labels.items():
        assert int(rows[split]["images"]) == len(labels)
        assert int(rows[split]["groups"]) == (len(labels) + 1) // 2
        assert int(rows[split]["images_PNEUMONIA"]) == labels.sum()
    assert int(rows["all"]["images"]) == sum(map(len, run.labels.values()))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_cell_starts_a_formula(
    make_run: Callable[..., Any], tmp_path: Path, text: str
) -> None:
    run = make_run(("NORMAL", text.replace("\r", "=")))
    run.write_json("config.json", run.json("config.json") | {"arch": text})
    for path in write_tables(read_run(run.folder), tmp_path):
        if path.suffix != ".csv":
            continue
        with path.open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        texts = [cell for cell in cells if not is_number(cell)]
        assert not [c for c in texts if c.strip(" ")[:1] in set("=+-@\t\r\n＝")]


def test_numbers_are_not_guarded() -> None:
    assert guard_cell(-0.5) == -0.5
    assert guard_cell(None) is None
    assert guard_cell("0.5") == "0.5"
    assert guard_cell("−0.5 (−0.6, −0.4)") == "−0.5 (−0.6, −0.4)"


def test_paths_of_the_user_stay_at_home(make_run: Callable[..., Any], tmp_path: Path) -> None:
    for path in write_tables(read_run(make_run().folder), tmp_path):
        assert "/home" not in path.read_text(encoding="utf-8")


def test_run_without_evaluation_has_its_data_and_settings(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run(stages=("data",)).folder)
    assert [export.name for export in list_exports(content)] == ["data", "training"]


def test_undefined_figure_is_a_dash_and_an_empty_number(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = make_run()
    summary = run.json("test_summary.json")
    summary["classes"]["PNEUMONIA"]["metrics"]["auroc"] = {"value": None, "reason": "one class"}
    (run.folder / "test_summary.json").write_text(json.dumps(summary), encoding="utf-8")
    write_tables(read_run(run.folder), tmp_path)
    rows = read_table(tmp_path / "performance.csv")
    row = next(r for r in rows if (r["split"], r["metric"]) == ("test", "auroc"))
    assert (row["value"], row["printed"]) == ("", "–")


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell
    return True
