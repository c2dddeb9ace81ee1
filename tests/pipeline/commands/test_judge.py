"""The judge command: predictions of any model give an ordinary run folder without weights."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from medimg_baseline_cls import (
    compare,
    evaluate,
    explain,
    judge,
    predict,
    report,
    resume_run,
    train,
)
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import JUDGE_SETTINGS, Config, field_facts
from medimg_baseline_cls.errors import ConfigError, LeakageError, MedimgError, RunError
from medimg_baseline_cls.phantom.image_folder import make_phantom

Row = Mapping[str, object]
Rows = list[dict[str, Any]]
Judge = Callable[..., Path]
Undrawn = Callable[[], AbstractContextManager[None]]
OURS = ("image_id", "path", "label", "group")


def write_table(path: Path, rows: Sequence[Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def draw(split: str, *, num: int = 60, shift: float = 1.5, seed: int = 1) -> Rows:
    """Draw a fair classifier's scores, two images for each patient."""
    random = np.random.default_rng([seed, len(split), split == "val"])
    truth = np.arange(num) // 2 % 2
    scores = 1 / (1 + np.exp(-(random.normal(size=num) + shift * truth - shift / 2)))
    return [
        {
            "image_id": f"{split}_{i:03d}.png",
            "patient": f"{split}-p{i // 2}",
            "label": "sick" if truth[i] else "healthy",
            "score": float(scores[i]),
        }
        for i in range(num)
    ]


@pytest.fixture
def judged(tmp_path: Path, undrawn: Undrawn) -> Judge:
    """Return what writes rows as tables, judges them without figures and returns the run."""

    def run(test: Rows, val: Rows | None = None, *, config: Any = None, **more: Any) -> Path:
        settings = {"num_resamples": 50, "output_dir": tmp_path / "out", **(config or {})}
        files = [write_table(tmp_path / "test.csv", test)]
        files += [] if val is None else [write_table(tmp_path / "val.csv", val)]
        with undrawn():
            return judge(*files, config=Config(**settings), **more).run_dir

    return run


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of `draw`'s tables, with all its figures; it is not to be changed."""
    folder = tmp_path_factory.mktemp("plain")
    for split in ("val", "test"):
        write_table(folder / f"{split}.csv", draw(split))
    files = ["--val", str(folder / "val.csv"), "--test", str(folder / "test.csv")]
    assert main(["judge", *files, "--num-resamples", "50", "--output-dir", str(folder)]) == 0
    (run,) = (folder / "runs").glob("medimg_*")
    return run


def assert_equal(found: Any, expected: Any, where: str = "") -> None:
    """Compare the content of two JSON files, numbers within 1e-12."""
    if isinstance(expected, dict):
        assert isinstance(found, dict) and found.keys() == expected.keys(), where
        for key in expected:
            assert_equal(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), where
        for number, item in enumerate(expected):
            assert_equal(found[number], item, f"{where}/{number}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-12), where
    else:
        assert found == expected, where


def rename(rows: list[dict[str, str]], classes: Sequence[str]) -> Rows:
    """Return the predictions of a run as another program writes them, in another order."""
    return [
        {
            "Filename": row["image_id"],
            "y_true": row["label"],
            **{f"P({name})": row[f"prob_{name}"] for name in classes},
            "Patient ID": row["group"],
        }
        for row in reversed(rows)
    ]


def with_finding_columns(rows: Rows, classes: Sequence[str]) -> Rows:
    """Return the same with a column of labels for each finding, blank where unknown."""
    changed: Rows = []
    for row in rows:
        parts = str(row.pop("y_true")).split("|")
        truth = {n: "" if f"?{n}" in parts else str(int(n in parts)) for n in classes}
        changed.append({**row, **{f"{name}_label": value for name, value in truth.items()}})
    return changed


@pytest.fixture(scope="module")
def small_runs(tmp_path_factory: pytest.TempPathFactory, undrawn: Undrawn) -> Callable[[str], Path]:
    """Return what trains a tiny network on three classes, grades or findings."""
    folder = tmp_path_factory.mktemp("small")
    random, rows = np.random.default_rng(4), list[Row]()
    for number in range(72):
        pixels = make_phantom(2, number, is_positive=number % 2 == 0, image_size=64).pixels
        Image.fromarray(pixels).save(folder / f"p{number:02d}.png")
        values = random.integers(-1, 2, size=3).tolist()
        rows.append(
            {
                "path": f"p{number:02d}.png",
                "patient": f"p{number // 2}",
                "classes": ("cyst", "mass", "none")[number // 2 % 3],
                "grades": number // 2 % 3,
                **dict(zip("ABC", values, strict=True)),
                "split": ("train", "val", "test")[number // 24],
            }
        )
    table = write_table(folder / "table.csv", rows)

    def run(labels: str) -> Path:
        config = Config(
            manifest=table,
            output_dir=folder / labels,
            label_columns=("A", "B", "C") if labels == "findings" else (labels,),
            task="ordinal" if labels == "grades" else "auto",
            group_column="patient",
            arch="test_resnet",
            image_size=64,
            head_epochs=1,
            finetune_epochs=0,
            num_resamples=50,
            pretrained=False,
        )
        with undrawn():
            return evaluate(train(config).run_dir).run_dir

    return run


def check_same(run: Path, judged: Judge, *, change: Callable[[Rows, Sequence[str]], Rows]) -> Path:
    """Judge a run's predictions under other names, and compare every result."""
    config = read_json(run / "config.json")
    classes = config["provenance"]["class_names"]
    val, test = (
        change(rename(read_table(run / f"predictions_{s}.csv"), classes), classes)
        for s in ("val", "test")
    )
    names = ("num_resamples", "num_hard_examples", "task")
    found = judged(test, val, config={name: config[name] for name in names})
    for name in ("test_summary.json", "val_summary.json", "calibration.json", "prevalence.json"):
        expected = read_json(run / name)
        if name == "prevalence.json":  # there is no TRAIN
            for content in expected.values():
                content.pop("train", None)
        assert_equal(read_json(found / name), expected, name)
    stored = [read_json(folder / "thresholds.json")["classes"] for folder in (run, found)]
    assert_equal(stored[1], stored[0])
    assert (found / "mistakes.csv").read_bytes() == (run / "mistakes.csv").read_bytes()
    assert read_json(found / "eval_summary.json")["test_evaluations"] == 1
    return found


def test_predictions_of_a_run_give_its_results(
    finished_run: Path, judged: Judge, tmp_path: Path
) -> None:
    found = check_same(finished_run, judged, change=lambda rows, _: rows)
    assert not (found / "best.pt").exists()
    compared = compare([finished_run, found], output_dir=tmp_path).summary
    gap = compared["differences"][0]["classes"]["PNEUMONIA"]["metrics"]["auroc"]
    assert gap["value"] == 0.0


def test_our_own_files_are_understood_as_they_are(
    finished_run: Path, tmp_path: Path, undrawn: Undrawn
) -> None:
    files = [finished_run / f"predictions_{split}.csv" for split in ("test", "val")]
    config = Config(num_resamples=50, output_dir=tmp_path)
    with undrawn():
        found = judge(files[0], files[1], config=config).run_dir
    for split in ("val", "test"):
        name = f"predictions_{split}.csv"
        assert (found / name).read_bytes() == (finished_run / name).read_bytes()


def test_three_classes_give_the_same_results(
    small_runs: Callable[[str], Path], judged: Judge
) -> None:
    check_same(small_runs("classes"), judged, change=lambda rows, _: rows)


def test_grades_give_the_same_results_and_are_compared(
    small_runs: Callable[[str], Path], judged: Judge, tmp_path: Path
) -> None:
    run = small_runs("grades")
    found = check_same(run, judged, change=lambda rows, _: rows)
    summary = read_json(found / "test_summary.json")
    assert "quadratic_weighted_kappa" in summary["overall"]
    compared = compare([run, found], output_dir=tmp_path).summary
    assert compared["task"] == "ordinal"
    classes = compared["differences"][0]["classes"]
    assert list(classes) == ["0", "1", "2", "macro"]
    for content in classes.values():
        assert content["metrics"]["auroc"]["value"] == 0.0


def test_findings_give_the_same_results(small_runs: Callable[[str], Path], judged: Judge) -> None:
    check_same(small_runs("findings"), judged, change=with_finding_columns)


def test_metrics_are_those_of_scikit_learn(plain_run: Path) -> None:
    test = draw("test")
    metrics = read_json(plain_run / "test_summary.json")["classes"]["sick"]["metrics"]
    truth = [row["label"] == "sick" for row in test]
    scores = [row["score"] for row in test]
    assert metrics["auroc"]["value"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    ap = average_precision_score(truth, scores)
    assert metrics["average_precision"]["value"] == pytest.approx(ap, abs=1e-12)


def test_logits_give_what_their_probabilities_give(plain_run: Path, judged: Judge) -> None:
    tables = {split: draw(split) for split in ("test", "val")}
    for rows in tables.values():
        for row in rows:
            row["score"] = float(np.log(row["score"] / (1 - row["score"])))
    found = judged(tables["test"], tables["val"], logits=True)
    expected = read_json(plain_run / "test_summary.json")["classes"]["sick"]["metrics"]
    metrics = read_json(found / "test_summary.json")["classes"]["sick"]["metrics"]
    for name in expected:
        assert metrics[name]["value"] == pytest.approx(expected[name]["value"], abs=1e-9)


def test_one_file_with_a_split_column_is_val_and_test(plain_run: Path, judged: Judge) -> None:
    tables = {split: draw(split) for split in ("test", "val")}
    rows = [{**row, "split": split} for split, rows in tables.items() for row in rows]
    rows.append({**rows[0], "image_id": "train_1.png", "patient": "other", "split": "train"})
    found = judged(rows)
    names = ("test_summary.json", "val_summary.json", "predictions_test.csv", "thresholds.json")
    for name in names:
        assert (found / name).read_bytes() == (plain_run / name).read_bytes(), name


def test_a_patient_in_val_and_test_is_refused_with_what_can_be_done_here(judged: Judge) -> None:
    test, val = draw("test"), draw("val")
    val[0]["patient"] = test[0]["patient"]
    with pytest.raises(LeakageError, match="or leave their rows out of VAL or out of TEST:") as it:
        judged(test, val)
    assert "--on-leak" not in str(it.value) and "medimg check" not in str(it.value)


def test_without_val_nothing_has_a_threshold_and_everything_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(num_resamples=50, output_dir=tmp_path)
    run = judge(write_table(tmp_path / "test.csv", draw("test")), config=config).run_dir
    shown = capsys.readouterr().out
    assert "thresholds from VAL" not in shown
    row = next(line for line in shown.splitlines() if line.startswith("TEST"))
    auroc = read_json(run / "test_summary.json")["classes"]["sick"]["metrics"]["auroc"]["value"]
    assert row.split()[1:4] == ["60", "0.500", f"{auroc:.3f}"]
    drawn = {path.name for path in (run / "figures").glob("*.png")}
    assert "roc.png" in drawn and "confusion.png" not in drawn
    texts = [p for p in run.rglob("*") if p.suffix in (".html", ".md", ".tex")]
    assert len(texts) > 3
    for path in texts:
        text = path.read_text(encoding="utf-8")
        for absent in ("operating points are marked", "re-selected", "Network, data"):
            assert absent not in text, (path, absent)
    names = {path.name for path in run.iterdir()}
    assert not names & {"thresholds.json", "val_summary.json", "recalibration.json"}
    summary = read_json(run / "test_summary.json")
    assert summary["classes"]["sick"]["operating_points"] == {}
    assert "accuracy" not in summary["overall"] and summary["confusion_matrix"] is None
    assert read_json(run / "eval_summary.json")["warnings"][0].startswith("There is no VAL")
    assert read_table(run / "mistakes.csv") == []
    for name in ("report.html", "model_card.md"):
        text = (run / name).read_text(encoding="utf-8")
        assert "There is no VAL" in text, name
        assert "chosen on VAL" not in text, name
    with pytest.raises(RunError, match="judged without VAL"):
        compare([run, run])


def test_swapped_classes_are_an_alarm(
    tmp_path: Path,
    undrawn: Undrawn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("val", "test"):
        write_table(tmp_path / f"{split}.csv", draw(split, shift=-2.5))
    flags = ["--val", "val.csv", "--test", "test.csv", "--num-resamples", "50"]
    with undrawn():
        assert main(["judge", *flags]) == 3
    shown = capsys.readouterr()
    assert "ALARM: on TEST, the AUROC of sick is 0." in shown.out + shown.err
    run = next((tmp_path / "outputs" / "runs").glob("medimg_*"))
    assert read_json(run / "eval_summary.json")["warnings"][0].startswith("ALARM")
    assert "ALARM" in (run / "report.html").read_text(encoding="utf-8")


def test_the_order_of_rows_does_not_matter(plain_run: Path, judged: Judge) -> None:
    val, test = draw("val"), draw("test")
    found = judged(test[::-1], [*val[1:], val[0]])
    for name in ("test_summary.json", "predictions_test.csv", "calibration.json"):
        assert (found / name).read_bytes() == (plain_run / name).read_bytes(), name


def test_subgroups_and_patients_are_measured(judged: Judge) -> None:
    tables = {split: draw(split, num=80) for split in ("val", "test")}
    for rows in tables.values():
        for number, row in enumerate(rows):
            row["site"], row["age"] = "AB"[number % 4 > 1], 20 + number
    config = {"subgroup_columns": ("site", "age")}
    run = judged(tables["test"], tables["val"], config=config)
    columns = read_json(run / "subgroups.json")["columns"]
    assert [list(column["subgroups"]) for column in columns] == [
        ["A", "B"],
        ["< 39.75", "39.75 to < 59.5", "59.5 to < 79.25", "≥ 79.25"],  # quartiles of VAL
    ]
    assert read_json(run / "patients" / "test_summary.json")["num_images"] == 40


@pytest.mark.parametrize("command", [evaluate, explain, resume_run])
def test_commands_that_need_a_network_refuse_in_one_sentence(
    plain_run: Path, command: Callable[..., Any]
) -> None:
    before = {path: path.read_bytes() for path in plain_run.rglob("*") if path.is_file()}
    with pytest.raises(MedimgError, match="made by medimg judge from predictions"):
        command(plain_run)
    with pytest.raises(RunError, match="made by medimg judge"):
        predict(plain_run, ["image.png"])
    assert before == {path: path.read_bytes() for path in before}


def test_the_report_can_be_written_again_and_names_no_gap(
    plain_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(plain_run, tmp_path / plain_run.name))
    capsys.readouterr()
    (run / "report.html").unlink()
    report(run)
    assert "missing" not in capsys.readouterr().out
    page = (run / "report.html").read_text(encoding="utf-8")
    for absent in (
        'id="training"',
        "Grad-CAM",
        "Initial weights",
        "Every file could be read",
        "TRAIN",
    ):
        assert absent not in page, absent
    assert 'id="mistakes"' in page and "test_0" in page
    card = (run / "model_card.md").read_text(encoding="utf-8")
    assert "Only predictions were judged" in card and "resnet" not in card


def test_the_run_keeps_the_settings_that_were_used_alone(plain_run: Path) -> None:
    config = read_json(plain_run / "config.json")
    assert set(field_facts()) >= JUDGE_SETTINGS
    assert set(config) == JUDGE_SETTINGS | {"provenance"}
    assert config["provenance"]["judged"]["test"]["file"] == "test.csv"


def test_a_positive_class_that_names_do_not_tell_is_asked_for(judged: Judge) -> None:
    tables = {split: draw(split) for split in ("test", "val")}
    for rows in tables.values():
        for row in rows:
            row["label"] = {"sick": "melanoma", "healthy": "nevus"}[row["label"]]
    with pytest.raises(ConfigError, match="--positive-class"):
        judged(tables["test"], tables["val"])
    run = judged(tables["test"], tables["val"], config={"positive_class": "melanoma"})
    assert list(read_json(run / "test_summary.json")["classes"]) == ["melanoma"]


def test_a_flag_of_training_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "--test", "test.csv", "--head-epochs", "3"]) == 2
    assert "judge has no flag --head-epochs" in capsys.readouterr().err
    assert main(["judge"]) == 2
    assert "pass --test FILE" in capsys.readouterr().err


def draw_classes(split: str, *, num: int = 90) -> Rows:
    """Draw a fair classifier's softmax of three grades."""
    random = np.random.default_rng([5, split == "val"])
    truth = np.arange(num) % 3
    logits = random.normal(size=(num, 3)) + 1.5 * np.eye(3)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return [
        {
            "id": f"{split}_{i}",
            "label": int(truth[i]),
            **{f"prob_{k}": float(scores[i, k]) for k in range(3)},
        }
        for i in range(num)
    ]


@pytest.mark.parametrize("task", ["auto", "ordinal"])
def test_the_most_probable_class_needs_no_threshold(judged: Judge, task: str) -> None:
    test = draw_classes("test")
    run = judged(test, config={"task": task})
    summary = read_json(run / "test_summary.json")
    truth = np.array([row["label"] for row in test])
    decided = np.array([[row[f"prob_{k}"] for k in range(3)] for row in test]).argmax(axis=1)
    assert summary["overall"]["accuracy"]["value"] == pytest.approx((truth == decided).mean())
    matrix = np.zeros((3, 3), dtype=int)
    np.add.at(matrix, (truth, decided), 1)
    assert summary["confusion_matrix"] == matrix.tolist()
    assert ("quadratic_weighted_kappa" in summary["overall"]) == (task == "ordinal")
    for name in ("0", "1", "2"):
        block = summary["classes"][name]
        scores = [row[f"prob_{name}"] for row in test]
        expected = roc_auc_score(truth == int(name), scores)
        assert block["metrics"]["auroc"]["value"] == pytest.approx(expected, abs=1e-12)
        assert block["operating_points"] == {}


def test_findings_without_val_have_no_match_at_one_half(judged: Judge) -> None:
    random = np.random.default_rng(6)
    rows: Rows = [
        {
            "id": f"i{i}",
            "Mass": int(random.random() < 0.4),
            "Nodule": ("", 0, 1)[int(random.integers(3))],
            "prob_Mass": float(random.random()),
            "prob_Nodule": float(random.random()),
        }
        for i in range(60)
    ]
    run = judged(rows)
    summary = read_json(run / "test_summary.json")
    assert set(summary["overall"]) == {"log_loss", "num_known_pairs"}
    known = [row for row in rows if row["Nodule"] != ""]
    expected = roc_auc_score([r["Nodule"] for r in known], [r["prob_Nodule"] for r in known])
    nodule = summary["classes"]["Nodule"]
    assert nodule["metrics"]["auroc"]["value"] == pytest.approx(expected, abs=1e-12)
    assert nodule["num_unknown"] == len(rows) - len(known)


def test_the_log_of_test_and_the_thresholds_are_those_of_a_run(plain_run: Path) -> None:
    (entry,) = read_table(plain_run / "test_log.csv")
    assert entry["reason"] == "predictions of another program"
    assert (entry["checkpoint_sha256"], entry["accepted"]) == ("", "")
    stored = read_json(plain_run / "thresholds.json")
    digest = hashlib.sha256((plain_run / "predictions_val.csv").read_bytes()).hexdigest()
    assert stored["predictions_val_sha256"] == digest
    val = draw("val")
    truth = np.array([row["label"] == "sick" for row in val])
    scores = np.array([row["score"] for row in val])
    reached = [s for s in scores if (scores[truth] >= s).mean() >= 0.95]
    point = stored["classes"]["sick"]["target_sensitivity"]
    assert point["threshold"] == max(reached)


def test_a_judged_model_is_compared_with_another_one(
    plain_run: Path, judged: Judge, tmp_path: Path
) -> None:
    test = draw("test")
    better = [{**row, "score": float(row["label"] == "sick") * 0.5 + 0.2} for row in test]
    second = judged(better, draw("val"))
    found = compare([plain_run, second], output_dir=tmp_path).summary
    gap = found["differences"][0]["classes"]["sick"]["metrics"]["auroc"]["value"]
    own = roc_auc_score([row["label"] == "sick" for row in test], [row["score"] for row in test])
    assert gap == pytest.approx(1 - own, abs=1e-12)
    other = judged(draw("test", seed=3)[:-2], draw("val"))
    with pytest.raises(RunError, match="cannot be compared"):
        compare([plain_run, other], output_dir=tmp_path)


def test_labels_are_mapped_to_the_classes_of_another_run(
    plain_run: Path, judged: Judge, tmp_path: Path
) -> None:
    numbers = {"healthy": "0", "sick": "1"}
    parts = [draw(split) for split in ("test", "val")]
    rows = [[{**row, "label": numbers[row["label"]]} for row in part] for part in parts]
    with pytest.raises(RunError, match="judge .* again with, for example, --map 0=healthy"):
        compare([plain_run, judged(*rows)], output_dir=tmp_path)
    run = judged(*rows, maps=["0=healthy", "1=sick"])
    assert compare([plain_run, run], output_dir=tmp_path).summary["differences"][0]["is_identical"]
    judgment = read_json(run / "config.json")["provenance"]["judged"]
    assert judgment["maps"] == {"0": "healthy", "1": "sick"}
    assert "maps" not in read_json(plain_run / "config.json")["provenance"]["judged"]


def test_a_judged_run_is_never_the_one_to_resume(judged: Judge, tmp_path: Path) -> None:
    run = judged(draw("test"))
    (run / "eval_summary.json").unlink()
    with pytest.raises(RunError, match="no unfinished run"):
        resume_run(output_dir=tmp_path / "out")
    report(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "Judging was stopped before its end" in text
    assert "run --resume" not in text


def test_a_table_that_is_refused_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    val, test = draw("val"), draw("test")
    write_table(tmp_path / "val.csv", val)
    test[3]["patient"] = val[0]["patient"]
    write_table(tmp_path / "test.csv", test)
    assert main(["judge", "--val", "val.csv", "--test", "test.csv"]) == 2
    assert "val-p0" in capsys.readouterr().err
    for change, message in (({"score": 1.5}, "--logits"), ({"label": "other"}, "other")):
        write_table(tmp_path / "test.csv", [{**row, **change} for row in draw("test")])
        assert main(["judge", "--test", "test.csv"]) == 2
        assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"val.csv", "test.csv"}


@pytest.mark.parametrize("step", ["write_metrics", "write_images", "settle_points"])
def test_a_run_that_fails_before_its_end_is_removed(
    judged: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConfigError("the metric is broken.")

    with monkeypatch.context() as patch:
        patch.setattr(f"medimg_baseline_cls.pipeline.commands.judge.{step}", fail)
        with pytest.raises(ConfigError, match="the metric is broken"):
            judged(draw("test"), draw("val"))
    assert not list((tmp_path / "out" / "runs").iterdir())
    run = judged(draw("test"), draw("val"))
    assert {path.name for path in run.parent.iterdir()} == {run.name, "latest"}


def test_a_run_whose_report_fails_keeps_its_evaluation(
    judged: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise ConfigError("no page.")

    monkeypatch.setattr("medimg_baseline_cls.pipeline.commands.judge.report", fail)
    with pytest.raises(ConfigError, match="no page"):
        judged(draw("test"), draw("val"))
    report(tmp_path / "out" / "runs" / "latest")


def test_names_can_be_hidden(
    judged: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    run = judged(draw("test"), draw("val"), config={"anonymous_ids": True})
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "test_0" not in page and 'id="mistakes"' in page
