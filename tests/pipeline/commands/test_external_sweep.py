"""A locked sweep of seeds, or a cross-validation, on other data: each run, then all together."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tests.pipeline.commands.conftest import Told
from tests.pipeline.commands.test_external import hash_files

from medimg_baseline_cls import (
    compare,
    external,
    external_sweep,
    report,
    resume_cross_validation,
    resume_seeds,
)
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.errors import ConfigError, DataError, RunError
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.pipeline.commands import external_sweep as command
from medimg_baseline_cls.pipeline.commands import run_seeds
from medimg_baseline_cls.pipeline.steps import locked_run
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.utils.files import read_csv

Undrawn = Callable[[], AbstractContextManager[None]]
Scored = tuple[RunResult, Path, dict[str, str]]
NAME = "site-b"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def copy_results(sweep: Path, outputs: Path) -> Path:
    """Copy a sweep with its runs, as if all results were moved; return its folder there."""
    for name in ("runs", sweep.parent.name):
        shutil.copytree(sweep.parents[1] / name, outputs / name, symlinks=True)
    return outputs / sweep.parent.name / sweep.name


def runs_of(folder: Path) -> list[Path]:
    """Return the folders that a plan names."""
    return [Path(e["run"]) for e in read(folder / f"{folder.parents[1].parent.name}.json")["runs"]]


def aurocs_of(folders: list[Path]) -> list[float]:
    parts = [read_predictions(f / "predictions_test.csv", split="test") for f in folders]
    return [float(roc_auc_score(p.truth("PNEUMONIA"), p.scores("PNEUMONIA"))) for p in parts]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return class folders of another hospital, which calls the healthy No Finding."""
    folder = tmp_path_factory.mktemp("site")
    write_phantoms(folder / "drawn", num_train=24, num_test=2, image_size=64, seed=41)
    (folder / "drawn" / "train" / "NORMAL").rename(folder / "drawn" / "train" / "No Finding")
    return (folder / "drawn" / "train").rename(folder / NAME)


def score(sweep: Path, site: Path, *, outputs: Path, undrawn: Undrawn) -> Scored:
    folder = copy_results(sweep, outputs)
    before = hash_files(outputs)
    with undrawn():
        result = external_sweep(folder, site, maps=["No Finding=NORMAL"], panels=False)
    return result, folder, before


@pytest.fixture(scope="module")
def seeds(
    finished_seeds: Told, site: Path, undrawn: Undrawn, tmp_path_factory: pytest.TempPathFactory
) -> Scored:
    """Return the joint result of seeds, the folder of the sweep, and all hashes before."""
    outputs = tmp_path_factory.mktemp("outputs")
    return score(finished_seeds[0].run_dir, site, outputs=outputs, undrawn=undrawn)


@pytest.fixture(scope="module")
def folds(
    finished_folds: Told, site: Path, undrawn: Undrawn, tmp_path_factory: pytest.TempPathFactory
) -> Scored:
    """Return the same of a cross-validation."""
    outputs = tmp_path_factory.mktemp("outputs")
    return score(finished_folds[0].run_dir, site, outputs=outputs, undrawn=undrawn)


def test_no_file_of_a_sweep_or_of_a_run_is_changed(seeds: Scored, folds: Scored) -> None:
    for result, folder, before in (seeds, folds):
        assert result.run_dir == folder / "external" / NAME
        after = hash_files(folder.parents[1])
        assert {name: after.get(name) for name in before} == before
        assert {name for name in after if not name.startswith("cache/")} == set(before)


def test_the_plan_names_the_results_of_each_run(seeds: Scored, folds: Scored) -> None:
    for result, folder, _ in (seeds, folds):
        runs = [Path(e["run"]) for e in read(folder / f"{folder.parent.name}.json")["runs"]]
        named = runs_of(result.run_dir)
        assert named == [folder.parents[1] / "runs" / r.name / "external" / NAME for r in runs]
        for place in named:
            assert (place / "external.json").is_file() and (place / "report.html").is_file()
            assert [row["name"] for row in read_csv(place.parent / "external_log.csv")] == [NAME]


def test_the_summary_is_that_of_the_scored_models(seeds: Scored, folds: Scored) -> None:
    for result, folder, _ in (seeds, folds):
        content = read(result.run_dir / f"{folder.parent.name}_summary.json")
        assert content == json.loads(json.dumps(result.summary))
        aurocs, found = aurocs_of(runs_of(result.run_dir)), content["classes"]["PNEUMONIA"]
        auroc = found["metrics"]["auroc"]
        assert auroc["mean"] == pytest.approx(np.mean(aurocs))
        assert auroc["sd"] == pytest.approx(np.std(aurocs, ddof=1))
        assert (auroc["min"], auroc["max"]) == pytest.approx((min(aurocs), max(aurocs)))
        assert len(auroc["interval"]) == 2 and "seeds and patients" in auroc["method"]
        assert "pooled" not in found["operating_points"]["max_f1"]
        about = content["external"]
        assert (about["name"], about["sweep"], about["num_images"]) == (NAME, folder.name, 24)
        files = [run / "predictions_test.csv" for run in runs_of(result.run_dir)]
        hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        assert about["predictions_sha256"] == hashes


def test_the_ensemble_decides_at_its_locked_thresholds(seeds: Scored) -> None:
    result, folder, _ = seeds
    own, there = folder / "ensemble", result.run_dir / "ensemble"
    for name in ("thresholds.json", "predictions_val.csv"):
        assert (there / name).read_bytes() == (own / name).read_bytes()
    assert read(there / "val_summary.json") == read(own / "val_summary.json")
    parts = [
        read_predictions(run / "predictions_test.csv", split="test")
        for run in runs_of(result.run_dir)
    ]
    joint = read_predictions(there / "predictions_test.csv", split="test")
    mean = (parts[0].probabilities + parts[1].probabilities) / 2
    np.testing.assert_allclose(joint.probabilities, mean, rtol=1e-15)
    measured = read(there / "test_summary.json")["classes"]["PNEUMONIA"]["operating_points"]
    truth, scores = joint.truth("PNEUMONIA"), joint.scores("PNEUMONIA")
    for rule, point in read(own / "thresholds.json")["classes"]["PNEUMONIA"].items():
        assert measured[rule]["threshold"] == point["threshold"]
        sensitivity = (scores[truth] >= point["threshold"]).mean()
        assert measured[rule]["sensitivity"]["value"] == pytest.approx(sensitivity)


def test_folds_have_no_ensemble_and_no_out_of_fold_predictions(folds: Scored) -> None:
    result, _, _ = folds
    names = {path.name for path in result.run_dir.iterdir()}
    stored = ("cv.json", "cv_summary.json", "report.html", "log.txt", "results.sha256")
    assert names == {*stored, ".medimg-output"}
    assert [(e["repeat"], e["fold"]) for e in result.summary["runs"]] == [(0, 0), (0, 1)]


def test_the_page_says_what_was_scored_and_links_the_runs(seeds: Scored, folds: Scored) -> None:
    for (result, _, _), words in (
        (seeds, ("models of 2 seeds.", "ensemble ")),
        (folds, ("models of 2 folds.", "no prediction is out of fold")),
    ):
        path = result.run_dir / "report.html"
        page = path.read_text(encoding="utf-8")
        text = " ".join(page.split())
        for part in (*words, f"TEST on this page is {NAME}, 24 images of", "External validation"):
            assert part in text
        links = re.findall(r'href="([.][^"]+)"', page)
        places = [run / "report.html" for run in runs_of(result.run_dir)]
        assert [(result.run_dir / link).resolve() for link in links] == places
        assert "Pooled" not in page
        path.unlink()
        assert report(result.run_dir).summary == {"report": str(path)}
        assert path.read_text(encoding="utf-8") == page


def test_the_ensemble_is_compared_with_another_model_on_these_images(
    seeds: Scored, tmp_path: Path
) -> None:
    result, _, _ = seeds
    other = runs_of(result.run_dir)[1]
    for ensemble in (result.run_dir, result.run_dir / "ensemble"):
        found = compare([other, ensemble], output_dir=tmp_path).summary
        assert found["num_images"] == 24
        name = f"{result.run_dir.parents[1].name} (ensemble) on {NAME}"
        assert found["models"][1]["name"] == name
        values = [m["classes"]["PNEUMONIA"]["metrics"]["auroc"]["value"] for m in found["models"]]
        assert values == pytest.approx(aurocs_of([other, result.run_dir / "ensemble"]))


def test_the_code_is_that_of_the_worst_run(seeds: Scored) -> None:
    result, _, _ = seeds
    places = runs_of(result.run_dir)
    is_alarm = any(read(place / "external.json")["alarms"] for place in places)
    is_alarm |= "alarms" in result.summary["external"]
    assert result.status == (3 if is_alarm else 0)


@pytest.fixture
def again(seeds: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a copy of the scored sweep, in which a run is scored by what was stored for it.

    `codes` are those of the runs, and `fault` is raised in the place of the second.
    """
    given = SimpleNamespace(folder=None, codes=[0, 0], fault=None, called=[])

    def answer(run: Path, data: Path, **how: Any) -> RunResult:
        given.called.append(run.name)
        if given.fault is not None and len(given.called) == 2:
            raise given.fault
        place = run / "external" / how["name"]
        return RunResult(
            place, read(place / "external.json"), status=given.codes[len(given.called) - 1]
        )

    given.folder = copy_results(seeds[1], tmp_path / "outputs")
    monkeypatch.setattr(command, "external", answer)
    monkeypatch.setattr(run_seeds, "draw_evaluation", lambda *_, **__: None)
    return given


@pytest.mark.parametrize("codes", [(0, 0), (0, 3), (3, 0)])
def test_one_run_that_seems_inverted_is_enough(
    again: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, codes: tuple[int, int]
) -> None:
    again.codes = codes
    monkeypatch.setattr(run_seeds, "find_inverted", lambda *_: ())
    result = external_sweep(again.folder, Path(NAME))
    assert result.status == max(codes)
    assert "alarms" not in result.summary["external"]


def test_an_ensemble_that_seems_inverted_is_enough_and_the_page_says_so(
    again: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_seeds, "find_inverted", lambda *_: ("the AUROC is below chance",))
    result = external_sweep(again.folder, Path(NAME))
    assert result.status == 3
    page = (result.run_dir / "report.html").read_text(encoding="utf-8")
    assert "Ensemble: the AUROC is below chance" in page


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), DataError("Mass is not a class.")])
def test_a_call_that_is_stopped_keeps_what_was_there(
    again: SimpleNamespace, fault: BaseException
) -> None:
    joint = again.folder / "external" / NAME
    before = hash_files(joint.parents[3] / "runs"), {p: p.read_bytes() for p in joint.glob("*.*")}
    again.fault = fault
    with pytest.raises(type(fault)) as stopped:
        external_sweep(again.folder, Path(NAME))
    if isinstance(fault, DataError):
        kept = "the results of seed 3 are kept, and nothing was summarized."
        assert stopped.value.args == (f"seed 1: Mass is not a class; {kept}",)
    assert before[1] == {p: p.read_bytes() for p in joint.glob("*.*")}
    shutil.rmtree(joint.parent)  # likewise where there was nothing before
    again.called.clear()
    with pytest.raises(type(fault)):
        external_sweep(again.folder, Path(NAME))
    assert not joint.parent.exists()
    again.called.clear()
    again.fault = None
    assert external_sweep(again.folder, Path(NAME)).run_dir == joint
    assert hash_files(joint.parents[3] / "runs") == before[0]


def test_earlier_joint_results_come_back_if_new_ones_fail(
    again: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint = again.folder / "external" / NAME
    before = {p.name: p.read_bytes() for p in joint.rglob("*.json")}

    def fail(*_: Any, **__: Any) -> RunResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_seeds, "tabulate_seeds", fail)  # all but the page is written
    with pytest.raises(KeyboardInterrupt):
        external_sweep(again.folder, Path(NAME))
    assert {p.name: p.read_bytes() for p in joint.rglob("*.json")} == before


def test_a_sweep_that_is_read_only_is_left_alone(
    again: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(place: Path, mode: int) -> bool:  # root may write everywhere
        return again.folder not in (place, *place.parents)

    shutil.rmtree(again.folder / "external")
    monkeypatch.setattr(locked_run.os, "access", refuse)
    result = external_sweep(again.folder, Path(NAME), output_dir=tmp_path / "here")
    assert result.run_dir == tmp_path / "here" / "external" / f"{again.folder.name}-{NAME}"
    assert not (again.folder / "external").exists()
    assert (result.run_dir / "report.html").is_file()


@pytest.mark.parametrize("name", ["seeds_summary.json", "ensemble/test_summary.json"])
def test_a_report_of_edited_results_is_refused(again: SimpleNamespace, name: str) -> None:
    joint = again.folder / "external" / NAME
    _append(name)(joint)
    with pytest.raises(RunError, match=f"{name} was edited after it was written"):
        report(joint)


def _edit_threshold(folder: Path) -> None:
    path = folder / "ensemble" / "thresholds.json"
    content = read(path)
    content["classes"]["PNEUMONIA"]["max_f1"]["threshold"] += 0.01
    path.write_text(json.dumps(content), encoding="utf-8")


def _remove_threshold(folder: Path) -> None:
    path = folder / "ensemble" / "thresholds.json"
    path.write_text(json.dumps(read(path) | {"classes": {"NORMAL": {"x": {}}}}), encoding="utf-8")


def _append(name: str) -> Callable[[Path], None]:
    def append(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(b"\n")

    return append


def _change_network(folder: Path) -> None:
    run = Path(read(folder / "seeds.json")["runs"][1]["run"]).name
    _append(f"../../runs/{run}/best.pt")(folder)


@pytest.mark.parametrize(
    "change",
    [_edit_threshold, _remove_threshold, _append("ensemble/predictions_val.csv"), _change_network],
)
def test_an_ensemble_that_was_changed_since_is_refused(
    again: SimpleNamespace, change: Callable[[Path], None]
) -> None:
    change(again.folder)
    with pytest.raises(RunError, match="ensemble is not what TEST was scored with") as refused:
        external_sweep(again.folder, Path(NAME), name="other")
    assert f"medimg run --resume {again.folder}" in str(refused.value)
    assert again.called == [] and not (again.folder / "external" / "other").exists()


def test_a_run_that_is_gone_is_named(again: SimpleNamespace) -> None:
    plan = read(again.folder / "seeds.json")
    plan["runs"][1]["run"] = "outputs/runs/gone"
    (again.folder / "seeds.json").write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(RunError, match="outputs/runs/gone, a run of .* is not there: restore it"):
        external_sweep(again.folder, Path(NAME))
    assert again.called == []


def test_runs_of_a_copied_sweep_are_not_taken_from_two_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, copied = tmp_path / "made", tmp_path / "copied"
    named = [str(made / "runs" / name) for name in "ab"]
    for place in (*map(Path, named), copied / "runs" / "a"):
        place.mkdir(parents=True)
        (place / "config.json").touch()
    sweep = copied / "seeds" / "chest"
    with pytest.raises(RunError, match=f"{named[1]}, a run of {sweep}, is not there: restore it"):
        command._find_members(sweep, named)
    (copied / "runs" / "b").mkdir()
    (copied / "runs" / "b" / "config.json").touch()
    assert command._find_members(sweep, named) == [copied / "runs" / name for name in "ab"]
    assert capsys.readouterr().out == ""
    shutil.rmtree(copied / "runs")  # the sweep alone was copied: its runs are where they were made
    assert command._find_members(sweep, named) == [Path(name) for name in named]
    said = " ".join(capsys.readouterr().out.split())
    assert f"are in {made / 'runs'}: their results are written there" in said


def test_what_is_not_a_finished_sweep_is_refused(
    again: SimpleNamespace, finished_run: Path, tmp_path: Path
) -> None:
    joint = again.folder / "external" / NAME
    with pytest.raises(RunError, match="is a single run"):
        external_sweep(finished_run, Path(NAME))
    with pytest.raises(RunError, match="on other data, not its runs: name the folder of the"):
        external_sweep(joint, Path(NAME))
    with pytest.raises(RunError, match="on other data, not its runs"):
        resume_seeds(joint)
    with pytest.raises(ConfigError, match="--name sites|name"):
        external_sweep(again.folder, Path(NAME), name="sites")
    (again.folder / "seeds_summary.json").unlink()
    with pytest.raises(RunError, match=f"not finished.*medimg run --resume {again.folder}"):
        external_sweep(again.folder, Path(NAME))
    with pytest.raises(RunError, match="is a folder of several runs"):
        external(again.folder, tmp_path)
    assert again.called == []


def test_results_of_folds_are_not_resumed(folds: Scored) -> None:
    with pytest.raises(RunError, match="results of a cross-validation on other data"):
        resume_cross_validation(folds[0].run_dir)


def test_the_command_line_takes_a_sweep_and_one_data_set(
    again: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    again.codes = [0, 3]
    outputs = str(again.folder.parents[1])
    assert main(["external", again.folder.name, NAME, "--output-dir", outputs]) == 3
    assert len(again.called) == 2
    capsys.readouterr()
    assert main(["external", str(again.folder), NAME, "site-c"]) == 2
    said = capsys.readouterr().err
    assert "one data set at a time, but 2 were given: call medimg external once for each" in said
