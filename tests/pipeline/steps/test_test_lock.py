"""TEST is scored by what VAL settled, each time is logged, and what changed after it is named."""

import csv
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch

from medimg_baseline_cls import evaluate, explain, report, resume
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, LeakageError, RunError
from medimg_baseline_cls.pipeline.commands import evaluate as command
from medimg_baseline_cls.pipeline.commands.resume_run import resume_run
from medimg_baseline_cls.pipeline.steps import evaluation
from medimg_baseline_cls.pipeline.steps import test_lock as lock
from medimg_baseline_cls.utils.files import sha256_file, write_json
from medimg_baseline_cls.utils.runs import hold_run, read_status, write_status

ConfigMaker = Callable[..., Config]
RESULTS = ("thresholds.json", "predictions_val.csv", "predictions_test.csv", "test_summary.json")


@pytest.fixture(autouse=True, scope="module")
def _judge_alone(
    finished_run: Path, undrawn: Callable[[], AbstractContextManager[None]]
) -> Generator[None, None, None]:
    """Leave figures and the dossier of mistakes as they are, once the run has them."""
    with undrawn(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "compile_dossier", do_nothing)
        yield


@pytest.fixture
def copy(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "runs" / "copy")


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def change_settings(run_dir: Path, **changes: object) -> None:
    path = run_dir / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_checkpoint(run_dir: Path) -> None:
    content = torch.load(run_dir / "best.pt", weights_only=True)
    content["model"]["fc.weight"][1] += 0.05
    torch.save(content, run_dir / "best.pt")


def change_split(run_dir: Path) -> None:
    path = run_dir / "split.csv"
    lines = path.read_text().splitlines(keepends=True)
    del lines[next(i for i, line in enumerate(lines) if ",train," in line)]
    path.write_text("".join(lines))


def edit_thresholds(run_dir: Path) -> None:
    path = run_dir / "thresholds.json"
    content = json.loads(path.read_text())
    content["classes"]["PNEUMONIA"]["max_f1"]["threshold"] += 0.01
    path.write_text(json.dumps(content))


def do_nothing(*_: object, **__: object) -> None:
    pass


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "checkpoint": (
        change_checkpoint,
        r"the checkpoint \(best\.pt\): its sha256 was [0-9a-f]{12}, is",
    ),
    "split": (change_split, r"the split \(split\.csv\): its sha256 was [0-9a-f]{12}, is"),
    "target": (
        lambda run_dir: change_settings(run_dir, target_sensitivity=0.5),
        r"the operating points: Target sensitivity of PNEUMONIA was 0\.\d+ \(for a sensitivity of "
        r"0\.95\), is 0\.\d+ \(for a sensitivity of 0\.5\)",
    ),
    "edited": (
        edit_thresholds,
        r"since: thresholds\.json was edited: Max-F1 of PNEUMONIA was \S+, is \S+ \(delete it",
    ),
}


def test_the_first_evaluation_is_logged_with_what_it_used(finished_run: Path) -> None:
    row = read_rows(finished_run / "test_log.csv")[0]
    assert (row["number"], row["reason"], row["accepted"]) == ("1", "first evaluation", "")
    for column, name in (
        ("checkpoint_sha256", "best.pt"),
        ("split_sha256", "split.csv"),
        ("predictions_test_sha256", "predictions_test.csv"),
    ):
        assert row[column] == sha256_file(finished_run / name)
    assert row["class_order"] == "NORMAL | PNEUMONIA"


def test_an_unchanged_run_may_be_scored_again_and_is_counted(copy: Path) -> None:
    before = {name: (copy / name).read_bytes() for name in RESULTS}
    num_before = len(read_rows(copy / "test_log.csv"))
    summary = evaluate(copy, reason="for the revision").summary
    assert "Out of date" in (copy / "report.html").read_text()
    rows = read_rows(copy / "test_log.csv")
    assert {name: (copy / name).read_bytes() for name in RESULTS} == before
    assert summary["test_evaluations"] == len(rows) == num_before + 1
    assert rows[-1]["reason"] == "for the revision"
    assert not [text for text in summary["warnings"] if "after a change" in text]
    report(copy)
    page = (copy / "report.html").read_text()
    assert "Out of date" not in page
    assert "for the revision" in page and f"{len(rows)} times" in page


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_after_test_is_named_before_anything_is_written(copy: Path, name: str) -> None:
    change, pattern = CHANGES[name]
    change(copy)
    before = {path: path.read_bytes() for path in copy.rglob("*.*") if path.name != "log.txt"}
    with pytest.raises(RunError, match=pattern) as refusal:
        evaluate(copy)
    # Whoever compares a hash does so by `sha256sum`.
    hashes = re.findall(r"is ([0-9a-f]{12})\b", str(refusal.value))
    files = [sha256_file(copy / f)[:12] for f in ("best.pt", "split.csv", "thresholds.json")]
    assert set(hashes) <= set(files) and len(hashes) == (name in ("checkpoint", "split"))
    after = {path: path.read_bytes() for path in copy.rglob("*.*") if path.name != "log.txt"}
    assert after == before


def test_a_change_may_be_accepted_and_stays_in_sight(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_checkpoint(copy)
    assert main(["evaluate", str(copy)]) == 2
    assert "the checkpoint (best.pt)" in capsys.readouterr().err
    assert main(["evaluate", str(copy), "--accept", "trained longer"]) == 0
    assert "trained longer" in read_rows(copy / "test_log.csv")[-1]["accepted"]
    evaluate(copy)
    warnings = json.loads((copy / "eval_summary.json").read_text())["warnings"]
    (warning,) = [text for text in warnings if "after a change" in text]
    assert "the checkpoint (best.pt)" in warning and "trained longer" in warning
    report(copy)
    assert "trained longer" in (copy / "report.html").read_text()


def test_accepting_where_nothing_has_changed_is_refused(copy: Path) -> None:
    with pytest.raises(ConfigError, match="does nothing"):
        evaluate(copy, accept="just in case")


def test_deleted_thresholds_are_chosen_again_on_val(copy: Path) -> None:
    before = (copy / "thresholds.json").read_bytes()
    (copy / "thresholds.json").unlink()
    evaluate(copy)
    assert (copy / "thresholds.json").read_bytes() == before


def test_test_cannot_be_scored_before_thresholds_are_written(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "thresholds.json").unlink()
    monkeypatch.setattr(command, "write_points", do_nothing)
    num_before = len(read_rows(copy / "test_log.csv"))
    with pytest.raises(RunError, match="cannot be scored yet"):
        evaluate(copy)
    assert len(read_rows(copy / "test_log.csv")) == num_before


def test_swapped_class_order_is_refused(copy: Path) -> None:
    provenance = json.loads((copy / "config.json").read_text())["provenance"]
    change_settings(copy, provenance=provenance | {"class_names": ["PNEUMONIA", "NORMAL"]})
    with pytest.raises(RunError, match="class_names = NORMAL, PNEUMONIA, but"):
        evaluate(copy)


def test_a_patient_moved_into_val_by_hand_is_refused(copy: Path) -> None:
    rows = read_rows(copy / "split.csv")
    groups = [row["group"] for row in rows if row["split"] == "test"]
    moved = next(row for row in rows if groups.count(row["group"]) > 1 and row["split"] == "test")
    moved["split"] = "val"
    with (copy / "split.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(LeakageError, match=moved["group"]):
        evaluate(copy)


def stop_at(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Let the next evaluation end as a kill would end it, right after a step."""
    genuine = getattr(module, name)

    def stop(*args: Any, **options: Any) -> None:
        genuine(*args, **options)
        monkeypatch.setattr(module, name, genuine)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, stop)


STOPS = {
    "logged, not yet readable": (lock, "append_entry"),
    "readable": (command, "write_test"),
    "all but the last": (evaluation, "count_evaluations"),
}


@pytest.mark.parametrize("where", ["logged, not yet readable", "all but the last"])
def test_a_score_that_was_interrupted_is_logged_and_completed(
    copy: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = {name: (copy / name).read_bytes() for name in RESULTS}
    num_before = len(read_rows(copy / "test_log.csv"))
    stop_at(monkeypatch, *STOPS[where])
    with pytest.raises(KeyboardInterrupt):
        evaluate(copy, reason="for the revision")
    *_, stopped = read_rows(copy / "test_log.csv")
    assert stopped["number"] == str(num_before + 1) and "interrupted" not in stopped["reason"]

    summary = evaluate(copy).summary
    rows = read_rows(copy / "test_log.csv")
    assert summary["test_evaluations"] == len(rows) == num_before + 1
    assert rows[-1]["reason"].startswith("for the revision; interrupted, and completed with")
    assert rows[-1] | {"reason": ""} == stopped | {"reason": ""}
    assert {name: (copy / name).read_bytes() for name in RESULTS} == before


def test_a_first_score_that_was_killed_before_its_summary_is_no_second_look(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("test_log.csv", "eval_summary.json"):
        (copy / name).unlink()
    write_status(copy, "trained")

    def stop(path: Path, content: Any) -> None:
        if path.name == "eval_summary.json":
            raise KeyboardInterrupt
        write_json(path, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evaluation, "write_json", stop)
        evaluate(copy)
    assert resume_run(copy).summary["test_evaluations"] == 1
    (row,) = read_rows(copy / "test_log.csv")
    assert "interrupted, and completed" in row["reason"]


def test_an_interrupted_score_is_not_completed_by_another_network(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, *STOPS["readable"])
    with pytest.raises(KeyboardInterrupt):
        evaluate(copy)
    num_before = len(read_rows(copy / "test_log.csv"))
    change_checkpoint(copy)
    with pytest.raises(RunError, match=r"the checkpoint \(best\.pt\)"):
        evaluate(copy)
    assert len(read_rows(copy / "test_log.csv")) == num_before


def test_an_interrupted_score_is_not_completed_by_other_predictions(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another machine may round them."""
    stop_at(monkeypatch, *STOPS["readable"])
    with pytest.raises(KeyboardInterrupt):
        evaluate(copy)
    path = copy / "test_log.csv"
    *_, last = read_rows(path)
    path.write_text(path.read_text().replace(last["predictions_test_sha256"], "0" * 64))
    evaluate(copy)
    *_, stopped, repeated = read_rows(path)
    assert stopped["number"] == last["number"] and "interrupted" not in stopped["reason"]
    assert repeated["reason"] == "repeated"


def test_an_accepted_score_that_was_interrupted_is_completed_by_the_same_command(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_checkpoint(copy)
    stop_at(monkeypatch, *STOPS["readable"])
    with pytest.raises(KeyboardInterrupt):
        evaluate(copy, accept="trained longer")
    num_before = len(read_rows(copy / "test_log.csv"))
    with pytest.raises(ConfigError, match="does nothing here"):
        evaluate(copy, accept="something else")
    evaluate(copy, accept="trained longer")
    *_, last = read_rows(copy / "test_log.csv")
    assert last["number"] == str(num_before)
    assert "trained longer" in last["accepted"] and "interrupted" in last["reason"]


def test_points_of_an_interrupted_change_are_not_taken_for_an_edit(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_settings(copy, target_sensitivity=0.5)
    stop_at(monkeypatch, command, "write_points")
    with pytest.raises(KeyboardInterrupt):
        evaluate(copy, accept="the target of the protocol")
    with pytest.raises(RunError, match="the operating points") as refusal:
        evaluate(copy)
    assert "edited" not in str(refusal.value)


def test_a_run_that_another_process_writes_is_not_scored(copy: Path) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*.*") if path.name != "log.txt"}
    refusals: list[str] = []

    def try_each() -> None:
        for write in (evaluate, explain, report, resume):
            try:
                write(copy)
            except RunError as refusal:
                refusals.append(str(refusal))

    with hold_run(copy, command="train"):
        thread = threading.Thread(target=try_each)
        thread.start()
        thread.join()
    assert len(refusals) == 4
    for text in refusals:
        assert f"process {os.getpid()} (medimg train)" in text
        assert f"medimg run --resume {copy}" in text
    after = {path: path.read_bytes() for path in copy.rglob("*.*") if path.name != "log.txt"}
    assert after == before


def test_a_run_that_was_stopped_in_training_is_not_scored(copy: Path) -> None:
    write_status(copy, "interrupted")
    (copy / "test_log.csv").unlink()
    for name in RESULTS:
        (copy / name).unlink()
    with pytest.raises(RunError, match=r"stopped before its end.*run --resume .*copy`"):
        evaluate(copy)
    assert not any((copy / name).exists() for name in ("test_log.csv", *RESULTS))
    evaluate(copy, accept="the budget is spent")
    (row,) = read_rows(copy / "test_log.csv")
    assert row["accepted"] == "training was stopped before its end. Why: the budget is spent"
    assert read_status(copy) == "interrupted"  # so that it can still be gone on with
    report(copy)
    assert "before training was over: training was stopped" in (copy / "report.html").read_text()
    with pytest.raises(RunError, match="stopped before its end"):  # again, and not "has changed"
        evaluate(copy)


def test_a_run_scored_before_there_was_a_log_says_so(copy: Path) -> None:
    (copy / "test_log.csv").unlink()
    evaluate(copy)
    (row,) = read_rows(copy / "test_log.csv")
    assert "test_log.csv was missing" in row["reason"]


def test_a_threshold_edited_by_hand_is_told_with_both_values(copy: Path) -> None:
    stored = json.loads((copy / "thresholds.json").read_text())["classes"]["PNEUMONIA"]
    before = stored["max_f1"]["threshold"]
    edit_thresholds(copy)
    with pytest.raises(RunError) as refusal:
        evaluate(copy)
    told = re.search(r"Max-F1 of PNEUMONIA was (\S+), is (\S+)", str(refusal.value))
    assert told is not None
    assert [float(t) for t in told.groups()] == pytest.approx([before, before + 0.01], abs=6e-4)


def test_values_that_are_lost_are_not_invented(copy: Path) -> None:
    change_settings(copy, target_sensitivity=0.5)
    (copy / "thresholds.json").unlink()
    with pytest.raises(RunError, match="their earlier values are not on disk"):
        evaluate(copy)


def test_explain_and_predict_say_that_the_checkpoint_was_not_evaluated(
    copy: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = min((phantoms / "test").rglob("*.png"))
    table = ["--output", str(tmp_path / "new.csv")]
    words = "best.pt is no longer the checkpoint that was evaluated: "
    for change in (do_nothing, change_checkpoint):
        change(copy)
        assert main(["predict", str(copy), str(image), *table]) == 0
        assert main(["explain", str(copy)]) == 0
        said = "".join(capsys.readouterr())
        said = " ".join(said.split())
        assert said.count(words) == (2 if change is change_checkpoint else 0)
    assert "the thresholds were chosen for the one before" in said
    assert "the maps are of the new network, the mistakes of the one before" in said
