"""What is read of a locked run, what is copied next to the results, and which images are joined."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medimg_baseline_cls.data.splitting.split import read_split
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.evaluation_log import read_log
from medimg_baseline_cls.pipeline.steps.external_results import join_train
from medimg_baseline_cls.pipeline.steps.locked_run import (
    LockedRun,
    copy_locked,
    open_patients,
    read_locked,
)
from medimg_baseline_cls.pipeline.steps.session import reopen_session
from medimg_baseline_cls.schema import ImageRecord, Split
from medimg_baseline_cls.utils.own_output import MARKER

CLASSES = ("NORMAL", "PNEUMONIA")
Locker = Callable[[Path], LockedRun]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "runs" / finished_run.name))


@pytest.fixture
def lock(tmp_path: Path) -> Locker:
    def read(folder: Path) -> LockedRun:
        return read_locked(reopen_session(folder, log_dir=tmp_path))

    return read


def other_split(*names: str, columns: tuple[str, ...] = ()) -> Split:
    records = tuple(
        ImageRecord(
            image_id=name,
            path=name,
            label="NORMAL",
            group=name,
            split="test",
            sha256=name,
            width=64,
            height=64,
            subgroups=tuple("F" for _ in columns),
        )
        for name in names
    )
    return Split(records, CLASSES, subgroup_names=columns)


def test_a_locked_run_is_what_test_was_scored_with(run: Path, lock: Locker) -> None:
    found = lock(run)
    stored = json.loads((run / "thresholds.json").read_text(encoding="utf-8"))
    points = {point.rule: point.value for point in found.thresholds["PNEUMONIA"]}
    assert points == {
        rule: entry["threshold"] for rule, entry in stored["classes"]["PNEUMONIA"].items()
    }
    assert [part.split for part in found.parts] == ["val", "test"]
    assert found.positive_class == "PNEUMONIA"
    assert found.checkpoint["sha256"] == stored["checkpoint_sha256"]
    last = read_log(run)[-1]
    assert found.checkpoint_sha256 == last.checkpoint_sha256 == stored["checkpoint_sha256"]
    assert found.thresholds_sha256 == last.thresholds_sha256
    assert found.run_dir == run


@pytest.mark.parametrize(
    "name",
    ["best.pt", "thresholds.json", "predictions_test.csv", "eval_summary.json", "split.csv"],
)
def test_a_run_that_is_not_finished_is_refused(run: Path, lock: Locker, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(RunError, match=f"has no {name}, so it is not a finished run"):
        lock(run)


def test_nothing_of_the_run_is_written_by_reading_it(
    run: Path, lock: Locker, finished_run: Path
) -> None:
    lock(run)
    for path in finished_run.rglob("*"):
        if path.is_file():
            copied = run / path.relative_to(finished_run)
            assert copied.read_bytes() == path.read_bytes()
    assert {p.name for p in run.iterdir()} == {p.name for p in finished_run.iterdir()}


def test_what_decides_is_copied_and_earlier_results_are_set_aside(
    run: Path, lock: Locker, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    (place / "gradcam" / "FP").mkdir(parents=True)
    for name in ("log.txt", MARKER, "predictions_test.csv", "gradcam/FP/1.png"):
        (place / name).write_text("earlier", encoding="utf-8")
    copy_locked(lock(run), place)
    found = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    copies = {"thresholds.json", "predictions_val.csv", "history.csv"}
    of_patients = {f"patients/{name}" for name in copies - {"history.csv"} | {"val_summary.json"}}
    assert found == {"log.txt", MARKER, *copies, *of_patients}
    for name in copies | of_patients:
        assert (place / name).read_bytes() == (run / name).read_bytes()


def test_patients_are_scored_at_the_thresholds_of_the_run(
    run: Path, lock: Locker, tmp_path: Path
) -> None:
    locked = lock(run)
    level = open_patients(locked, tmp_path)
    assert level is not None
    stored = json.loads((run / "patients" / "thresholds.json").read_text(encoding="utf-8"))
    points = {point.rule: point.value for point in level.thresholds["PNEUMONIA"]}
    assert points == {
        rule: entry["threshold"] for rule, entry in stored["classes"]["PNEUMONIA"].items()
    }
    assert level.folder == tmp_path / "patients"
    assert open_patients(replace(locked, patient_thresholds=None), tmp_path) is None


def test_train_and_val_are_joined_with_the_other_images_as_test(run: Path, lock: Locker) -> None:
    own = read_split(run / "split.csv", CLASSES)
    joined = join_train(lock(run), other_split("x.png", "y.png"))
    for name in ("train", "val"):
        kept = [own.records[row].path for row in own.rows(name)]
        assert [joined.records[row].path for row in joined.rows(name)] == kept
    assert [joined.records[row].path for row in joined.rows("test")] == ["x.png", "y.png"]


def test_subgroups_that_the_run_does_not_have_are_blank_in_train(run: Path, lock: Locker) -> None:
    joined = join_train(lock(run), other_split("x.png", columns=("sex", "site")))
    assert joined.subgroup_names == ("sex", "site")
    assert {joined.records[row].subgroups for row in joined.rows("train")} == {("", "")}
    assert joined.records[-1].subgroups == ("F", "F")
