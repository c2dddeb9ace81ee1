"""The record of a run, recomputed from its predictions and files by other code."""

import hashlib
import json
import shutil
import typing
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score
from tests.conftest import MakePredictions, draw_odd_findings

from medimg_baseline_cls.catalogue import DECISIONS, SCORES
from medimg_baseline_cls.config import Config, config_to_dict
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.tracking.metrics import list_summary, name_classes
from medimg_baseline_cls.tracking.record import PATH_SETTINGS, list_runs_of_sweep, read_record
from medimg_baseline_cls.utils.files import read_csv, read_json, write_json
from medimg_baseline_cls.utils.runs import find_sweep_folder
from medimg_baseline_cls.utils.seals import NAME


def read_scores(path: Path) -> tuple[list[bool], list[float]]:
    rows = read_csv(path)
    column = next(name for name in rows[0] if name.endswith("PNEUMONIA"))
    return [row["label"] == "PNEUMONIA" for row in rows], [float(row[column]) for row in rows]


def copy_unsealed(run: Path, place: Path) -> Path:
    """Return a copy without hashes, as earlier versions left a run."""
    copy = shutil.copytree(run, place / run.name)
    (copy / NAME).unlink()
    return copy


@pytest.mark.parametrize("split", ["val", "test"])
def test_scores_are_those_of_scikit_learn(finished: Path, split: str) -> None:
    metrics = read_record(finished).metrics
    truth, scores = read_scores(finished / f"predictions_{split}.csv")
    assert metrics[f"{split}/auroc"] == pytest.approx(roc_auc_score(truth, scores))
    expected = average_precision_score(truth, scores)
    assert metrics[f"{split}/average_precision"] == pytest.approx(expected)
    assert metrics[f"{split}/num_images"] == len(truth)


def test_decisions_are_those_at_the_threshold_of_the_run(finished: Path) -> None:
    metrics = read_record(finished).metrics
    truth, scores = read_scores(finished / "predictions_test.csv")
    called = np.array(scores) >= metrics["threshold/max_f1"]
    assert metrics["test/sensitivity"] == pytest.approx(recall_score(truth, called))
    expected = recall_score(np.logical_not(truth), np.logical_not(called))
    assert metrics["test/specificity"] == pytest.approx(expected)


def test_another_operating_point_gives_other_decisions(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / finished.name
    shutil.copytree(finished, copy)
    config = read_json(copy / "config.json")
    write_json(copy / "config.json", config | {"operating_point": "default"})
    truth, scores = read_scores(copy / "predictions_test.csv")
    metrics = read_record(copy).metrics
    called = np.array(scores) >= 0.5
    assert metrics["threshold/default"] == 0.5
    assert metrics["test/sensitivity"] == pytest.approx(recall_score(truth, called))


def test_the_ends_of_an_interval_surround_the_estimate(finished: Path) -> None:
    metrics = read_record(finished).metrics
    bounded = [name for name in metrics if f"{name}_lower" in metrics]
    assert {"test/auroc", "val/auroc", "test/average_precision"} <= set(bounded)
    for name in bounded:
        assert metrics[f"{name}_lower"] <= metrics[name] <= metrics[f"{name}_upper"]


def test_metrics_of_patients_have_names_of_their_own(finished: Path) -> None:
    metrics = read_record(finished).metrics
    assert metrics["test_patients/num_images"] < metrics["test/num_images"]
    summary = read_json(finished / "patients" / "test_summary.json")
    auroc = summary["classes"]["PNEUMONIA"]["metrics"]["auroc"]["value"]
    assert metrics["test_patients/auroc"] == auroc


def test_every_name_of_a_metric_is_that_of_the_catalogue(finished: Path) -> None:
    known = {metric.key for metric in (*SCORES.values(), *DECISIONS.values())} | {"num_images"}
    for name in read_record(finished).metrics:
        place, _, metric = name.rpartition("/")
        if place not in ("threshold", "epoch"):
            assert metric.removesuffix("_lower").removesuffix("_upper") in known


def test_steps_count_over_both_stages_and_times_rise(finished: Path) -> None:
    record, rows = read_record(finished), read_csv(finished / "history.csv")
    assert [epoch.step for epoch in record.epochs] == [1, 2, 3]
    assert [epoch.stage for epoch in record.epochs] == ["head", "finetune", "finetune"]
    for name in ("train_loss", "val_loss", "val_ap", "val_auroc", "lr"):
        found = [epoch.metrics[f"epoch/{name}"] for epoch in record.epochs]
        assert found == [float(row[name]) for row in rows]
    seconds = [float(row["seconds"]) for row in read_csv(finished / "timings.csv")]
    assert [epoch.metrics["epoch/seconds"] for epoch in record.epochs] == seconds
    ends = np.cumsum(seconds) + record.start
    assert [epoch.time for epoch in record.epochs] == pytest.approx(ends, rel=0, abs=1e-3)
    assert all(a.time <= b.time for a, b in pairwise(record.epochs))


def test_an_epoch_without_an_ap_has_none(finished: Path, tmp_path: Path) -> None:
    copy = copy_unsealed(finished, tmp_path)
    (copy / "timings.csv").unlink()
    header, first, *rest = (copy / "history.csv").read_text().splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True)) | {"val_ap": ""}
    (copy / "history.csv").write_text("\n".join([header, ",".join(cells.values()), *rest]) + "\n")
    one, two, _ = read_record(copy).epochs
    assert "epoch/val_ap" not in one.metrics and "epoch/val_ap" in two.metrics
    assert "epoch/seconds" not in one.metrics and one.time == read_record(copy).start


def test_origin_is_in_the_tags(finished: Path) -> None:
    tags, config = read_record(finished).tags, read_json(finished / "config.json")
    assert tags["split_sha256"] == hashlib.sha256((finished / "split.csv").read_bytes()).hexdigest()
    best = hashlib.sha256((finished / "best.pt").read_bytes()).hexdigest()
    assert tags["checkpoint_sha256"] == best
    assert tags["stages"] == "head: 1 to 1, finetune: 2 to 3"
    assert tags["run_id"] == finished.name
    assert config["provenance"]["weights"]["sha256"] == tags.get("weights_sha256", "")


def test_the_fingerprint_is_that_of_the_pixels_alone(finished: Path, tmp_path: Path) -> None:
    digests = [row["sha256"] for row in read_csv(finished / "split.csv")]
    expected = hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
    assert read_record(finished).tags["data_fingerprint"] == expected
    copy = copy_unsealed(finished, tmp_path)
    header, *rows = (copy / "split.csv").read_text().splitlines()
    renamed = [row.replace("person", "someone") for row in reversed(rows)]
    (copy / "split.csv").write_text("\n".join([header, *renamed]) + "\n")
    assert read_record(copy).tags["data_fingerprint"] == expected
    (copy / "split.csv").write_text("\n".join([header, *rows[1:]]) + "\n")
    assert read_record(copy).tags["data_fingerprint"] != expected


def test_settings_that_are_paths_are_sent_with_names_alone(finished: Path, tmp_path: Path) -> None:
    hints = typing.get_type_hints(Config)
    of_paths = {name for name, hint in hints.items() if "Path" in str(hint)}
    assert of_paths == set(PATH_SETTINGS) >= {"data_dir", "output_dir", "weights", "manifest"}
    config = read_json(finished / "config.json")
    assert set(read_record(finished).params) & of_paths == set()
    named = read_record(finished, names=True).params
    assert named["data_dir"] == config["data_dir"]
    settings = set(config_to_dict(Config()))
    inferred = {name for name in named if name.startswith("inferred.")}
    assert set(named) - inferred == settings
    assert {"inferred.positive_class", "inferred.class_names"} <= inferred


def cut_line(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-1])


def empty(_: str) -> str:
    return ""


def cut_letters(text: str) -> str:
    return text[: len(text) // 2]


def change_a_digit(text: str) -> str:
    """Return the text with another last digit, as a hand might leave it."""
    place = max(place for place, letter in enumerate(text) if letter.isdigit())
    return f"{text[:place]}{9 - int(text[place])}{text[place + 1 :]}"


READ = ("history.csv", "timings.csv", "split.csv", "thresholds.json", "test_summary.json")


@pytest.mark.parametrize("damage", [cut_line, empty, cut_letters, change_a_digit])
@pytest.mark.parametrize("name", [*READ, "val_summary.json", "patients/test_summary.json"])
def test_a_damaged_file_is_refused_in_one_sentence(
    finished: Path, tmp_path: Path, name: str, damage: Callable[[str], str]
) -> None:
    copy = shutil.copytree(finished, tmp_path / finished.name)
    (copy / name).write_text(damage((copy / name).read_text()))
    with pytest.raises(RunError, match=f"{name} was edited after it was written") as caught:
        read_record(copy)
    assert len(caught.value.args) == 1 and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READ)
def test_a_missing_file_is_refused(finished: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(finished, tmp_path / finished.name)
    (copy / name).unlink()
    with pytest.raises(RunError, match=f"{name} is missing"):
        read_record(copy)


@pytest.mark.parametrize("damage", [cut_line, empty, cut_letters])
def test_a_history_that_was_cut_off_is_refused_without_hashes_too(
    finished: Path, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    copy = copy_unsealed(finished, tmp_path)
    (copy / "history.csv").write_text(damage((copy / "history.csv").read_text()))
    with pytest.raises(
        RunError, match=r"history\.csv.* (lacks 1 epoch of timings|is empty|row \d)"
    ):
        read_record(copy)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("thresholds.json", '{"classes": {"PNEUMONIA": [1]}}'),
        ("test_summary.json", '{"classes": 3}'),
        ("config.json", '{"project": '),
        ("status.json", "[]"),
        ("timings.csv", "stage\nhead\n"),
        ("test_log.csv", "a,b\n1\n"),
    ],
)
def test_what_is_no_such_file_is_refused_without_hashes_too(
    finished: Path, tmp_path: Path, name: str, text: str
) -> None:
    copy = copy_unsealed(finished, tmp_path)
    (copy / name).write_text(text)
    with pytest.raises(RunError, match=r"was changed|as it was written|cut off|restore it"):
        read_record(copy)


def test_a_killed_training_may_have_timed_one_epoch_more(finished: Path, tmp_path: Path) -> None:
    copy = copy_unsealed(finished, tmp_path)
    write_json(copy / "status.json", {"state": "interrupted"})
    (copy / "history.csv").write_text(cut_line((copy / "history.csv").read_text()))
    assert len(read_record(copy).epochs) == 2
    (copy / "history.csv").write_text(cut_line((copy / "history.csv").read_text()))
    with pytest.raises(RunError, match="lacks 2 epochs"):
        read_record(copy)


def test_the_main_values_are_in_words(finished: Path, swept: Path) -> None:
    record = read_record(finished)
    summary = read_json(finished / "test_summary.json")["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    low, high = summary["interval"]
    said = f"TEST: AUROC {summary['value']:.3f} (95 % CI {low:.3f}–{high:.3f}), AP "
    assert record.tags["summary"].startswith(said)
    assert "; VAL: AUROC " in record.tags["summary"]
    assert read_record(swept).tags["summary"].startswith("TEST, mean of 2 runs: AUROC ")
    assert "trial" not in record.tags


def test_a_limit_of_images_makes_a_trial(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished, tmp_path / finished.name)
    write_json(copy / "config.json", read_json(copy / "config.json") | {"limit": 40})
    tags = read_record(copy).tags
    assert tags["trial"] == "a trial with 40 images at most (--limit)"
    assert tags["summary"].startswith(f"{tags['trial']}; TEST: AUROC")


def test_a_run_that_has_only_begun_has_a_record(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / finished.name
    copy.mkdir()
    for name in ("config.json", "env_report.json", "split.csv"):
        shutil.copy(finished / name, copy / name)
    write_json(copy / "status.json", {"state": "training"})
    record = read_record(copy)
    assert record.state == "interrupted"  # no process has locked it
    assert (record.epochs, record.metrics) == ((), {})
    assert record.params == read_record(finished).params
    assert record.start == read_record(finished).start


def test_a_record_depends_on_the_folder_alone(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "moved" / finished.name
    shutil.copytree(finished, copy)
    moved, there = read_record(copy), read_record(finished)
    assert replace(moved, folder=there.folder, end=there.end) == there


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder \(config.json is missing\)"):
        read_record(tmp_path)


def test_a_sweep_is_the_parent_of_its_runs(swept: Path) -> None:
    runs = list_runs_of_sweep(swept)
    assert [run.name[-2:] for run in runs] == ["s0", "s1"]
    for run in runs:
        record = read_record(run)
        assert record.parent is not None and record.parent.samefile(swept)
        assert record.project == "chest"
    parent = read_record(swept)
    assert (parent.kind, parent.project, parent.state) == ("seeds", "chest", "finished")
    assert parent.params["seed"] == "[0, 1]"
    assert parent.tags["kind"] == "seeds" and parent.tags["run_id"] == swept.name


def test_a_sweep_has_mean_and_sd_of_its_runs_and_its_ensemble(swept: Path) -> None:
    parent = read_record(swept).metrics
    for name in ("auroc", "average_precision", "sensitivity"):
        values = [read_record(run).metrics[f"test/{name}"] for run in list_runs_of_sweep(swept)]
        assert parent[f"test/{name}"] == pytest.approx(np.mean(values))
        assert parent[f"test/{name}_sd"] == pytest.approx(np.std(values, ddof=1))
        assert parent[f"test/{name}_min"] == min(values)
        assert parent[f"test/{name}_max"] == max(values)
    truth, scores = read_scores(swept / "ensemble" / "predictions_test.csv")
    assert parent["ensemble/auroc"] == pytest.approx(roc_auc_score(truth, scores))


def test_runs_of_a_sweep_are_found_where_all_was_moved(swept: Path, tmp_path: Path) -> None:
    home = tmp_path / "moved"
    shutil.copytree(swept.parents[1], home)
    moved = home / "seeds" / swept.name
    content = read_json(moved / "seeds.json")
    for entry in content["runs"]:
        entry["run"] = f"/gone/runs/{Path(entry['run']).name}"
    write_json(moved / "seeds.json", content)
    runs = list_runs_of_sweep(moved)
    assert [run.parent for run in runs] == [home / "runs"] * 2
    shutil.copy(swept / "seeds.json", moved / "seeds.json")  # a copy; the first runs are there too
    assert list_runs_of_sweep(moved) == runs
    assert find_sweep_folder(runs[0]) == moved


def test_a_sweep_that_has_only_begun_has_a_record(swept: Path, tmp_path: Path) -> None:
    begun = tmp_path / "seeds" / swept.name
    begun.mkdir(parents=True)
    content = read_json(swept / "seeds.json")
    entries = [entry | {"run": None} for entry in content["runs"]]
    write_json(begun / "seeds.json", content | {"runs": entries})
    record = read_record(begun)
    assert (record.state, record.metrics, list_runs_of_sweep(begun)) == ("training", {}, [])
    assert record.params == read_record(swept).params


@pytest.mark.parametrize(
    ("name", "is_found"),
    [
        ("chest_seeds20260101-120000_s3", True),
        ("chest_seeds20260101-120000-2_s3", False),
        ("chest_cv20260101-120000_r0f1", False),
        ("chest_20260101-120000", False),
        ("other_seeds20260101-120000_s3", False),
    ],
)
def test_the_sweep_of_a_run_is_found_by_its_name(tmp_path: Path, name: str, is_found: bool) -> None:
    sweep = tmp_path / "seeds" / "chest_20260101-120000"
    sweep.mkdir(parents=True)
    write_json(sweep / "seeds.json", {"runs": []})
    run = tmp_path / "runs" / name
    run.mkdir(parents=True)
    assert find_sweep_folder(run) == (sweep if is_found else None)


def summarize(predictions: Predictions, val: Predictions, folder: Path) -> Path:
    thresholds = choose_thresholds(
        val, classes=val.class_names, target_sensitivity=0.9, operating_point="max_f1"
    )
    summary = summarize_predictions(predictions, thresholds, positive_class=None)
    write_json(folder / "test_summary.json", summary.to_json())
    return folder / "test_summary.json"


def test_each_class_of_several_has_its_metrics_and_the_mean_is_the_first(
    draw: MakePredictions, tmp_path: Path
) -> None:
    names = ("no finding", "mass (large)", "nodule")
    val, test = (draw(split, class_names=names) for split in ("val", "test"))
    found = list_summary(summarize(test, val, tmp_path), rule="max_f1", prefix="test")
    keys = ("no_finding", "mass_large_", "nodule")
    per_class = [
        roc_auc_score(test.labels == k, test.probabilities[:, k]) for k in range(len(names))
    ]
    assert [found[f"test/{key}/auroc"] for key in keys] == pytest.approx(per_class)
    assert found["test/auroc"] == pytest.approx(np.mean(per_class))


def test_findings_that_are_undefined_have_no_metric(tmp_path: Path) -> None:
    val, test = draw_odd_findings()
    found = list_summary(summarize(test, val, tmp_path), rule="max_f1", prefix="test")
    assert "test/finding_0/auroc" in found and "test/finding_2/auroc" not in found
    assert "test/micro/auroc" in found and "test/overall/exact_match" in found
    assert all(np.isfinite(value) for value in found.values())
    assert json.loads(json.dumps(found)) == found


@given(st.lists(st.text(min_size=1, max_size=90), unique=True, max_size=12))
def test_names_of_classes_are_accepted_everywhere_and_differ(names: list[str]) -> None:
    keys = name_classes(tuple(names))
    assert list(keys) == names
    assert len(set(keys.values())) == len(names)
    for key in keys.values():
        assert all(letter.isalnum() or letter in "_.-" for letter in key) and len(key) < 120


def test_a_sweep_over_settings_is_the_parent_of_its_trials(finished: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep" / "chest_20260101-120000"
    sweep.mkdir(parents=True)
    trials = []
    for number in (0, 1):
        trial = tmp_path / "runs" / f"chest_sweep20260101-120000_t{number}"
        shutil.copytree(finished, trial)
        trials.append({"number": number, "run": str(trial)})
    settings = read_json(finished / "config.json") | {"project": "chest"}
    del settings["provenance"]
    plan = {"num_trials": 2, "provenance": {"x": 1}, "runs": trials, "settings": settings}
    write_json(sweep / "sweep.json", plan)
    begun = read_record(sweep)
    assert (begun.kind, begun.state, begun.metrics) == ("sweep", "training", {})
    best = {"number": 1, "value": 0.75}
    counts = {"num_trials": 2, "num_complete": 1, "num_pruned": 1, "num_failed": 0}
    write_json(sweep / "sweep_summary.json", {"objective": "val_ap", "best": best, **counts})
    record = read_record(sweep)
    assert record.metrics == {
        "trials/num_trials": 2,
        "trials/num_complete": 1,
        "trials/num_pruned": 1,
        "trials/num_failed": 0,
        "best/val_ap": 0.75,
        "best/trial": 1,
    }
    assert record.tags["summary"] == "best trial: val_ap 0.750"
    assert record.params["num_trials"] == "2" and "provenance" not in record.params
    for run in list_runs_of_sweep(sweep):
        assert read_record(run).parent == sweep and read_record(run).project == "chest"
    assert len(list_runs_of_sweep(sweep)) == 2
