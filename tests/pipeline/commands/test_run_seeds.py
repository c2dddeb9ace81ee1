"""Sweeps of seeds: ordinary runs on one split, their ensemble; stopped ones end the same."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tests.pipeline.commands.conftest import Told

from medimg_baseline_cls import compare, resume_seeds, run_seeds
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds, read_thresholds
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.pipeline import sweep
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.utils.quantities import format_score
from medimg_baseline_cls.utils.runs import read_status

ConfigMaker = Callable[..., Config]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def runs_of(folder: Path) -> list[Path]:
    return [Path(entry["run"]) for entry in read_json(folder / "seeds.json")["runs"]]


@pytest.fixture(scope="module")
def finished(finished_seeds: Told) -> RunResult:
    return finished_seeds[0]


def test_a_callback_is_told_of_every_run_in_turn(finished_seeds: Told) -> None:
    assert finished_seeds[1].told == ["1 of 2", "start", "end", "2 of 2", "start", "end"]


def test_each_seed_is_an_ordinary_run_on_the_same_split(finished: RunResult) -> None:
    runs = runs_of(finished.run_dir)
    settings = [read_json(run / "config.json") for run in runs]
    assert [(s["seed"], s["split_seed"]) for s in settings] == [(3, 3), (1, 3)]
    assert [read_status(run) for run in runs] == ["finished", "finished"]
    assert all((run / "report.html").is_file() for run in runs)
    stamp = finished.run_dir.name.removeprefix("medimg_")
    assert [run.name for run in runs] == [f"medimg_seeds{stamp}_s{seed}" for seed in (3, 1)]
    assert len({(run / "split.csv").read_bytes() for run in runs}) == 1
    assert len({(run / "history.csv").read_bytes() for run in runs}) == 2


def test_the_summary_is_that_of_the_runs(finished: RunResult) -> None:
    content = read_json(finished.run_dir / "seeds_summary.json")
    assert content == finished.summary
    parts = [
        read_predictions(r / "predictions_test.csv", split="test")
        for r in runs_of(finished.run_dir)
    ]
    aurocs = [roc_auc_score(p.labels == 1, p.scores("PNEUMONIA")) for p in parts]
    auroc = content["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    assert auroc["mean"] == pytest.approx(np.mean(aurocs))
    assert auroc["sd"] == pytest.approx(np.std(aurocs, ddof=1))
    assert [entry["seed"] for entry in content["runs"]] == [3, 1]
    assert content["intervals"]["num_resamples"] == 60


def test_the_ensemble_is_one_more_evaluated_model(finished: RunResult) -> None:
    folder = finished.run_dir / "ensemble"
    found: dict[str, Any] = {}
    for split in ("val", "test"):
        name = f"predictions_{split}.csv"
        parts = [read_predictions(r / name, split=split) for r in runs_of(finished.run_dir)]
        found[split] = read_predictions(folder / name, split=split)
        expected = (parts[0].probabilities + parts[1].probabilities) / 2
        np.testing.assert_allclose(found[split].probabilities, expected, rtol=1e-15)
        assert found[split].labels.tolist() == parts[0].labels.tolist()
    thresholds = read_thresholds(
        folder / "thresholds.json", predictions_val=folder / "predictions_val.csv"
    )
    again = choose_thresholds(found["val"], classes=["PNEUMONIA"], target_sensitivity=0.95)
    assert [p.value for p in thresholds["PNEUMONIA"]] == [p.value for p in again["PNEUMONIA"]]
    summary = summarize_predictions(found["test"], thresholds, positive_class="PNEUMONIA")
    written = read_json(folder / "test_summary.json")
    run = read_json(runs_of(finished.run_dir)[0] / "test_summary.json")
    assert written.keys() == run.keys()
    block = written["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    assert block["value"] == summary.classes["PNEUMONIA"].metrics["auroc"].value
    assert "interval" in block


def test_a_sweep_is_compared_by_its_ensemble(finished: RunResult, tmp_path: Path) -> None:
    run = runs_of(finished.run_dir)[0]
    result = compare([finished.run_dir, run], output_dir=tmp_path)
    first, second = result.summary["models"]
    assert (first["name"], second["name"]) == (f"{finished.run_dir.name} (ensemble)", run.name)
    auroc = read_json(finished.run_dir / "ensemble" / "test_summary.json")["classes"]["PNEUMONIA"]
    value = first["classes"]["PNEUMONIA"]["metrics"]["auroc"]["value"]
    assert value == auroc["metrics"]["auroc"]["value"]
    pages = [folder / "report.html" for folder in (result.run_dir, finished.run_dir)]
    compared = pages[0].read_text(encoding="utf-8")
    assert re.findall(
        r'<th scope="row"><bdi>(\w+)</bdi>', compared.split("Settings that differ")[-1]
    ) == ["seed"]
    assert f"ensemble {format_score(value)}" in pages[1].read_text(encoding="utf-8")


def test_a_stopped_sweep_ends_with_the_same_figures(
    finished: RunResult,
    phantoms: Path,
    make_config: ConfigMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[Path] = []

    def stop_at_second(run: Path) -> RunResult:
        calls.append(run)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(run)

    evaluate = sweep.evaluate
    monkeypatch.setattr(sweep, "evaluate", stop_at_second)
    flags = ["--image-size", "64", "-b", "16", "--lr", "1e-3", "--val-fraction", "0.25"]
    flags += ["--head-epochs", "0", "--epochs", "1", "--num-hard-examples", "1"]
    flags += ["--num-resamples", "60", "--arch", "test_resnet", "--no-pretrained"]
    flags += ["--output-dir", str(tmp_path)]
    assert main(["run", "--data", str(phantoms), "--seeds", "3", "1", *flags]) == 130
    (folder,) = (tmp_path / "seeds").iterdir()
    said = capsys.readouterr().err
    assert f"1 of 2 runs finished; resume with: medimg run --resume {folder}" in said
    with pytest.raises(RunError, match="is not finished: medimg run --resume"):
        compare([folder, calls[0]], output_dir=tmp_path)

    assert main(["run", "--resume", "--output-dir", str(tmp_path)]) == 0
    before, after = finished.summary, read_json(folder / "seeds_summary.json")
    assert after["classes"] == before["classes"]
    assert after["ensemble"] == before["ensemble"]
    assert len([run for run in (tmp_path / "runs").iterdir() if not run.is_symlink()]) == 2
    with pytest.raises(RunError, match="no unfinished sweep of seeds"):
        resume_seeds(output_dir=tmp_path)


@pytest.mark.parametrize(
    ("settings", "seeds", "words"),
    [
        ({}, (0,), "seeds = 0: expected two or more different ones"),
        ({}, (0, 1, 1), "seeds = 0 1 1: expected two or more different ones"),
        ({"seed": 4}, (0, 1), "seeds sets seed itself"),
        ({}, (0, -1), "seed = -1"),
    ],
)
def test_contradictory_requests_are_refused_and_leave_nothing(
    settings: dict[str, Any], seeds: tuple[int, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        run_seeds(Config(output_dir=tmp_path, **settings), seeds)
    assert list(tmp_path.iterdir()) == []


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        run_seeds(Config(output_dir=tmp_path), (0, 1))


def test_an_edited_plan_is_refused(finished: RunResult, tmp_path: Path) -> None:
    plan = read_json(finished.run_dir / "seeds.json")
    plan["runs"][0]["more"] = 1
    (tmp_path / "seeds.json").write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(RunError, match=r"seeds\.json was changed"):
        resume_seeds(tmp_path)
    (tmp_path / "seeds.json").unlink()
    with pytest.raises(RunError, match="seeds.json is missing"):
        resume_seeds(tmp_path)
