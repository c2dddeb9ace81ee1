"""Subgroups of a real run: from file names and table columns to JSON, figure and page."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from medimg_baseline_cls import evaluate, report


def change_settings(run_dir: Path, **changes: object) -> None:
    path = run_dir / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def copy(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "runs" / "copy")


def test_file_names_and_columns_part_test_and_the_page_shows_it(copy: Path) -> None:
    split = pd.read_csv(copy / "split.csv", dtype=str, keep_default_na=False)
    split["subgroup_age"] = [str(20 + 3 * (i % 20)) for i in range(len(split))]
    split["subgroup_<b>site</b>"] = ["A" if i % 2 else "=B" for i in range(len(split))]
    split.to_csv(copy / "split.csv", index=False, lineterminator="\n")
    columns = ["age", "<b>site</b>"]
    change_settings(copy, subgroup_columns=columns, subgroup_bins=["age=40"], subgroup_min_images=8)
    evaluate(copy, accept="columns added")
    content = json.loads((copy / "subgroups.json").read_text())
    columns = {column["column"]: column for column in content["columns"]}
    assert list(columns) == ["age", "<b>site</b>", "etiology"]
    assert list(columns["age"]["subgroups"]) == ["< 40", "≥ 40"]
    test = pd.read_csv(copy / "predictions_test.csv")
    for kind in ("virus", "bacteria"):
        rows = test[test["path"].str.contains(f"_{kind}_")]
        block = columns["etiology"]["subgroups"][kind]
        assert block["num_images"] == len(rows)
        if len(rows) < 8:
            assert block["is_too_small"]
            continue
        point = block["classes"]["PNEUMONIA"]["operating_points"]["max_f1"]
        call = rows["prob_PNEUMONIA"] >= point["threshold"]
        assert point["sensitivity"]["value"] == pytest.approx(call.mean())
        assert point["ppv"]["value"] is None
    assert (copy / "figures" / "subgroups_test.png").is_file()
    page = Path(report(copy).summary["report"]).read_text(encoding="utf-8")
    assert 'id="subgroups"' in page and "etiology: virus" in page and "age: &lt; 40" in page
    assert "<b>site</b>" not in page


def test_a_run_without_subgroups_loses_the_files_of_an_earlier_evaluation(copy: Path) -> None:
    assert (copy / "subgroups.json").is_file()
    change_settings(copy, subgroup_regex="none")
    evaluate(copy)
    left = [*copy.glob("subgroups.*"), *copy.glob("figures/subgroups*")]
    assert left == []
    assert 'id="subgroups"' not in Path(report(copy).summary["report"]).read_text(encoding="utf-8")
