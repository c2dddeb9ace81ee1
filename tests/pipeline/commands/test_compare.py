"""The comparison command: copies of a run do not differ, other test sets are refused."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import roc_auc_score

from medimg_baseline_cls import compare
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.pipeline.commands.compare import name_comparison
from medimg_baseline_cls.utils.seals import seal_results


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def copy(finished_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run, of the same name, that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "copies" / finished_run.name)


@pytest.fixture
def worse(copy: Path) -> Path:
    """Return the copy with every third probability turned over."""
    rows = read_rows(copy / "predictions_test.csv")
    for row in rows[::3]:
        first, second = row["prob_NORMAL"], row["prob_PNEUMONIA"]
        row["prob_NORMAL"], row["prob_PNEUMONIA"] = second, first
    write_rows(copy / "predictions_test.csv", rows)
    seal_results(copy, ["predictions_test.csv"])
    return copy.rename(copy.parent / "worse")


def test_two_copies_of_a_run_do_not_differ(finished_run: Path, copy: Path, tmp_path: Path) -> None:
    result = compare([finished_run, copy], output_dir=tmp_path)
    assert result.run_dir.parent == tmp_path / "compare"
    assert (result.run_dir / "report.html").is_file()
    names = [model["name"] for model in result.summary["models"]]
    assert names == [f"{finished_run.name} [1]", f"{finished_run.name} [2]"]
    rows = read_rows(result.run_dir / "comparison.csv")
    of_second = [row for row in rows if row["model"] == names[1]]
    assert len(of_second) == 4 + 3 * 8
    assert {float(row["difference"]) for row in of_second if row["value"]} == {0.0}
    tested = [row for row in of_second if row["p_value"]]
    assert {row["test"] for row in tested} == {"delong", "mcnemar"}
    assert {float(row[key]) for row in tested for key in ("p_value", "p_holm")} == {1.0}


def test_figures_are_those_of_the_predictions(
    finished_run: Path, worse: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    result = compare([finished_run, worse], output_dir=tmp_path)
    written: Any = json.loads((result.run_dir / "comparison.json").read_text(encoding="utf-8"))
    assert written == result.summary
    assert written["runs"] == {finished_run.name: str(finished_run), "worse": str(worse)}
    aurocs: list[float] = []
    for run in (finished_run, worse):
        rows = read_rows(run / "predictions_test.csv")
        truth = [row["label"] == "PNEUMONIA" for row in rows]
        aurocs.append(roc_auc_score(truth, [float(row["prob_PNEUMONIA"]) for row in rows]))
    gap = written["differences"][0]["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    assert gap["value"] == pytest.approx(aurocs[1] - aurocs[0], abs=1e-12)
    assert (result.run_dir / "comparison.png").stat().st_size > 10_000
    assert before == {path: path.read_bytes() for path in before}


def test_a_copy_is_said_to_be_one(finished_run: Path, copy: Path, tmp_path: Path) -> None:
    result = compare([finished_run, copy], output_dir=tmp_path)
    name = finished_run.name
    warning = f"{name} [1] and {name} [2] have identical predictions."
    assert result.summary["warnings"][0] == warning
    said = (result.run_dir / "log.txt").read_text(encoding="utf-8")
    assert warning in " ".join(said.split())


def test_the_folder_is_named_after_every_run(
    finished_run: Path, worse: Path, tmp_path: Path
) -> None:
    folder = compare([finished_run, worse], output_dir=tmp_path).run_dir
    project = json.loads((finished_run / "config.json").read_text())["project"]
    assert re.fullmatch(rf"{project}_vs_worse_\d{{8}}-\d{{6}}", folder.name)
    assert folder.parent == tmp_path / "compare"
    turned = compare([worse, finished_run], output_dir=tmp_path).run_dir
    assert turned.name.startswith(f"worse_vs_{project}_")


def test_any_folder_can_give_its_name(tmp_path: Path) -> None:
    sweep = tmp_path / "films_20260102-030405" / "ensemble"
    odd = [tmp_path / "my run (2)", tmp_path / "-", tmp_path / ("x" * 90)]
    assert name_comparison([sweep, odd[0]]) == "films_vs_my-run-2"
    assert name_comparison([odd[1], odd[2]]) == f"run_vs_{'x' * 32}"
    assert name_comparison([sweep] * 5) == "films_vs_films_vs_films_vs_2_more"


def test_results_on_other_data_are_named_by_their_run_and_the_data(
    finished_run: Path, tmp_path: Path
) -> None:
    folders: list[Path] = []
    for run, place in {
        "plain_20260101-120000": "plain_20260101-120000/external/hosp_b",
        "still": "still/external/hosp_b",
        "site": "external/site-hosp_b",
    }.items():
        folder = Path(shutil.copytree(finished_run, tmp_path / place, symlinks=True))
        (folder / "external.json").write_text(json.dumps({"run": run, "name": folder.name}))
        folders.append(folder)
    result = compare(folders, output_dir=tmp_path)
    assert [model["name"] for model in result.summary["models"]] == [
        *("plain_20260101-120000 on hosp_b", "still on hosp_b", "site on hosp_b")
    ]
    assert result.run_dir.name.startswith("plain-on-hosp_b_vs_still-on-hosp_b_vs_site-on-hosp_b_")


def test_an_ensemble_on_other_data_is_named_by_its_sweep_and_the_data(tmp_path: Path) -> None:
    folders = [tmp_path / sweep / "external" / "hosp_b" / "ensemble" for sweep in ("a", "b")]
    for folder in folders:
        folder.mkdir(parents=True)
        plan = {"external": {"sweep": folder.parents[2].name, "name": "hosp_b"}}
        (folder.parent / "seeds.json").write_text(json.dumps(plan))
    assert name_comparison(folders) == "a-on-hosp_b_vs_b-on-hosp_b"


def test_the_command_prints_one_table(
    finished_run: Path, worse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    assert main(["compare", str(finished_run), str(worse), "--output", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "2 models on 30 TEST images" in said
    assert "AUROC" in said and "p (Holm)" in said and "McNemar" in said
    assert (folder / "log.txt").read_text(encoding="utf-8") == said
    assert main(["compare", str(finished_run), str(worse), "--output", str(folder)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_other_test_images_are_refused_with_counts(
    finished_run: Path, copy: Path, tmp_path: Path
) -> None:
    write_rows(copy / "predictions_test.csv", read_rows(copy / "predictions_test.csv")[4:])
    with pytest.raises(RunError, match=r"0 of 26 TEST images .* 4 of 30 only in"):
        compare([finished_run, copy], output_dir=tmp_path)
    assert not (tmp_path / "compare").exists()


def test_other_reference_standards_are_refused(
    finished_run: Path, copy: Path, tmp_path: Path
) -> None:
    rows = read_rows(copy / "predictions_test.csv")
    rows[0]["label"] = {"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"}[rows[0]["label"]]
    write_rows(copy / "predictions_test.csv", rows)
    with pytest.raises(RunError, match="1 of 30 TEST images have another reference standard"):
        compare([finished_run, copy], output_dir=tmp_path)


def test_other_files_are_refused(finished_run: Path, copy: Path, tmp_path: Path) -> None:
    rows = read_rows(copy / "split.csv")
    for row in rows:
        row["sha256"] = row["sha256"][::-1]
    write_rows(copy / "split.csv", rows)
    with pytest.raises(RunError, match="30 of 30 TEST images are other files"):
        compare([finished_run, copy], output_dir=tmp_path)


def test_a_run_that_is_not_evaluated_is_refused(
    finished_run: Path, copy: Path, tmp_path: Path
) -> None:
    (copy / "test_summary.json").unlink()
    with pytest.raises(RunError, match="is not evaluated: `medimg run --resume"):
        compare([finished_run, copy], output_dir=tmp_path)
    with pytest.raises(RunError, match="two runs or more, but got 1"):
        compare([finished_run], output_dir=tmp_path)
    (copy / "external.json").write_text("{}")  # unfinished results on other data
    with pytest.raises(RunError, match="is not evaluated: run `medimg external RUN DATA` again"):
        compare([finished_run, copy], output_dir=tmp_path)
