"""The run folder: complete, consistent, and computed again from its predictions alone."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from sklearn import metrics as oracle

from medimg_baseline_cls import evaluate, explain, report
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.pipeline.commands.explain import safe_name

FILES = """config.json env_report.json log.txt split.csv rejected.csv history.csv timings.csv
best.pt best_head.pt last.pt predictions_val.csv predictions_test.csv thresholds.json
val_summary.json test_summary.json eval_summary.json mistakes.csv report.html
tables/performance.csv tables/operating_points.tex
figures/train_batch.png figures/training.png figures/roc.png""".split()
VERIFY = Path(__file__).resolve().parents[3] / "shared" / "tools" / "verify_run.py"


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_run_leaves_every_file(finished_run: Path) -> None:
    assert [name for name in FILES if not (finished_run / name).is_file()] == []


def test_summaries_are_strict_json(finished_run: Path) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(token)

    for path in finished_run.glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_figures_equal_those_of_scikit_learn(finished_run: Path) -> None:
    rows = read_rows(finished_run / "predictions_test.csv")
    truth = [row["label"] == "PNEUMONIA" for row in rows]
    scores = [float(row["prob_PNEUMONIA"]) for row in rows]
    summary = json.loads((finished_run / "test_summary.json").read_text())
    block = summary["classes"]["PNEUMONIA"]
    assert block["metrics"]["auroc"]["value"] == pytest.approx(oracle.roc_auc_score(truth, scores))
    assert block["metrics"]["average_precision"]["value"] == pytest.approx(
        oracle.average_precision_score(truth, scores)
    )
    for point in block["operating_points"].values():
        calls = [score >= point["threshold"] for score in scores]
        assert point["sensitivity"]["value"] == pytest.approx(oracle.recall_score(truth, calls))
        assert point["tn"] == oracle.confusion_matrix(truth, calls)[0, 0]


@pytest.mark.skipif(not VERIFY.is_file(), reason="the independent checker is not beside the clone")
def test_independent_checker_agrees(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("verify_run", VERIFY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["verify_run.py", str(finished_run)])
    assert module.main() == 0, capsys.readouterr().out


def test_history_keeps_the_best_epoch(finished_run: Path) -> None:
    history = read_rows(finished_run / "history.csv")
    assert [row["stage"] for row in history] == ["head", "finetune", "finetune"]
    best = max(history, key=lambda row: (float(row["val_ap"]), -float(row["val_loss"])))
    checkpoint = torch.load(finished_run / "best.pt", weights_only=True)
    assert (checkpoint["stage"], str(checkpoint["epoch"])) == (best["stage"], best["epoch"])
    summary = json.loads((finished_run / "val_summary.json").read_text())
    written = summary["classes"]["PNEUMONIA"]["metrics"]["average_precision"]["value"]
    assert written == pytest.approx(float(best["val_ap"]), abs=1e-12)


def test_every_mistake_has_one_panel(finished_run: Path) -> None:
    mistakes = read_rows(finished_run / "mistakes.csv")
    for kind in ("FP", "FN"):
        images = {row["image_id"] for row in mistakes if row["kind"] == kind}
        panels = sorted((finished_run / "gradcam" / kind).glob("*.png"))
        assert {p.stem.split("_", 2)[2] for p in panels} == {safe_name(i) for i in images}
        scores = [float(p.stem.split("_")[1].removeprefix("p")) for p in panels]
        assert scores == sorted(scores, reverse=kind == "FP")


def test_no_absolute_path_in_tables_and_report(finished_run: Path, phantoms: Path) -> None:
    for name in ("split.csv", "predictions_test.csv", "mistakes.csv", "report.html"):
        assert str(phantoms) not in (finished_run / name).read_text(encoding="utf-8")


def test_stages_can_be_run_again_alone(finished_run: Path) -> None:
    before = (finished_run / "predictions_test.csv").read_bytes()
    summary = (finished_run / "test_summary.json").read_bytes()
    evaluate(finished_run)
    explain(finished_run)
    report(finished_run)
    assert (finished_run / "predictions_test.csv").read_bytes() == before
    assert (finished_run / "test_summary.json").read_bytes() == summary
    assert "evaluated again" in (finished_run / "log.txt").read_text(encoding="utf-8")


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        evaluate(tmp_path)
