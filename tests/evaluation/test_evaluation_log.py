"""The log of TEST: whole lines on disk, every change named, only rounding forgiven."""

import csv
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from medimg_baseline_cls.errors import ConfigError, ResourceError, RunError
from medimg_baseline_cls.evaluation.evaluation_log import (
    TOLERANCE,
    LogEntry,
    append_entry,
    clean_reason,
    compare_points,
    describe_log,
    digest_thresholds,
    is_completed,
    keep_stored,
    list_changes,
    note_completion,
    read_log,
    require_settled,
    settle_change,
)
from medimg_baseline_cls.schema import Threshold


def entry_of(number: int = 1, **changes: str) -> LogEntry:
    entry = LogEntry(
        number=number,
        when="2026-01-02T03:04:05+00:00",
        code="0123456789ab+changes",
        version="0.1.0",
        checkpoint_sha256="c" * 64,
        thresholds_sha256="7" * 64,
        split_sha256="5" * 64,
        class_order="NORMAL | PNEUMONIA",
        predictions_test_sha256="9" * 64,
        reason='first, "really"',
        accepted="",
    )
    return replace(entry, **changes)  # type: ignore[arg-type]


def points_of(value: float, *, rule: str = "max_f1") -> dict[str, tuple[Threshold, ...]]:
    point = Threshold(rule=rule, value=value, description="", class_name="PNEUMONIA")
    return {"PNEUMONIA": (point,)}


def test_lines_are_added_and_read_back_by_any_csv_reader(tmp_path: Path) -> None:
    entries = (entry_of(), entry_of(2, reason="after review, once more", accepted="split"))
    for number, entry in enumerate(entries):
        assert read_log(tmp_path) == entries[:number]
        append_entry(tmp_path, entry)
    assert read_log(tmp_path) == entries
    with (tmp_path / "test_log.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["reason"] for row in rows] == ['first, "really"', "after review, once more"]


def test_earlier_lines_are_never_rewritten(tmp_path: Path) -> None:
    append_entry(tmp_path, entry_of())
    before = (tmp_path / "test_log.csv").read_bytes()
    append_entry(tmp_path, entry_of(2))
    assert (tmp_path / "test_log.csv").read_bytes().startswith(before)


@pytest.mark.parametrize("damage", ["removed", "cut", "renumbered", "garbled", "first"])
def test_a_log_that_was_edited_is_refused(tmp_path: Path, damage: str) -> None:
    for number in (1, 2, 3):
        append_entry(tmp_path, entry_of(number))
    path = tmp_path / "test_log.csv"
    lines = path.read_text().splitlines(keepends=True)
    if damage == "removed":
        del lines[1]
    elif damage == "cut":
        lines[-1] = lines[-1][:40]
    elif damage == "garbled":
        lines[2] = lines[2].replace("2,", "two,", 1)
    elif damage == "first":
        del lines[1:3]
    else:
        lines[2] = lines[2].replace("2,", "7,", 1)
    path.write_text("".join(lines))
    with pytest.raises(RunError, match="restore it"):
        read_log(tmp_path)


@pytest.mark.parametrize("numbers", [(1, 1), (1, 1, 1, 1), (1, 2, 2, 4)])
def test_a_number_that_two_processes_took_at_once_does_not_close_the_log(
    tmp_path: Path, numbers: tuple[int, ...]
) -> None:
    """As an earlier version wrote it, or one on a file system whose locks end at the host."""
    for number in numbers:
        append_entry(tmp_path, entry_of(number))
    assert [entry.number for entry in read_log(tmp_path)] == list(range(1, len(numbers) + 1))


def test_a_row_that_the_disk_had_no_room_for_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_entry(tmp_path, entry_of())
    before, write = (tmp_path / "test_log.csv").read_bytes(), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: write(handle, data[:40]))
        with pytest.raises(ResourceError, match="the disk is full"):
            append_entry(tmp_path, entry_of(2))
    assert (tmp_path / "test_log.csv").read_bytes() == before


def test_completion_is_noted_in_the_last_row_once(tmp_path: Path) -> None:
    for number in (1, 2):
        append_entry(tmp_path, entry_of(number))
    assert not is_completed(tmp_path, read_log(tmp_path))
    note_completion(tmp_path, when="2026-01-03", reason="as asked")
    note_completion(tmp_path, when="2026-01-04")
    first, last = read_log(tmp_path)
    assert first == entry_of()
    assert last.reason.startswith(entry_of().reason)
    assert last.reason.count("interrupted") == 1 and "2026-01-04" in last.reason
    assert replace(last, reason="") == replace(entry_of(2), reason="")
    for count, expected in ((1, False), (2, True)):
        (tmp_path / "eval_summary.json").write_text(json.dumps({"test_evaluations": count}))
        assert is_completed(tmp_path, read_log(tmp_path)) == expected


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("checkpoint_sha256", "the checkpoint"),
        ("thresholds_sha256", "the operating points"),
        ("split_sha256", "the split"),
        ("class_order", "the class order"),
    ],
)
def test_each_change_is_named_alone_with_both_values(name: str, words: str) -> None:
    now = entry_of(2, **{name: "e" * 64})
    (change,) = list_changes(entry_of(), now)
    assert change.startswith(words)
    is_told = name != "thresholds_sha256"  # by a hash: that one is of no file
    assert (getattr(entry_of(), name)[:12] in change and "e" * 12 in change) == is_told
    with pytest.raises(RunError, match=r"start a new run.*--accept") as refusal:
        settle_change([change], last=entry_of(), accept=None)
    assert change in str(refusal.value)


def test_operating_points_are_told_by_their_values() -> None:
    before = {"images": points_of(0.25), "patients": points_of(0.3)}
    after = {"images": points_of(0.75), "patients": points_of(0.3000021)}
    told = compare_points(before, after)
    assert told == (
        "Max-F1 of PNEUMONIA was 0.250, is 0.750",
        "Max-F1 of PNEUMONIA per patient was 0.3, is 0.3000021",
    )
    now = entry_of(2, thresholds_sha256="e" * 64)
    (change,) = list_changes(entry_of(), now, points=told)
    assert change == f"the operating points: {told[0]}, {told[1]}"
    assert compare_points(before, before) == ()
    assert compare_points({"images": points_of(0.25)}, before) == (
        "Max-F1 of PNEUMONIA per patient was absent, is 0.300",
    )


def test_many_operating_points_are_counted_not_listed() -> None:
    told = [f"point {i}" for i in range(20)]
    (change,) = list_changes(entry_of(), entry_of(2, thresholds_sha256="e" * 64), points=told)
    assert change.endswith("point 4, point 5 and 14 more")


def test_what_may_differ_between_evaluations_is_no_change() -> None:
    now = entry_of(2, when="later", code="", version="0.2.0", predictions_test_sha256="")
    assert list_changes(entry_of(), now) == ()
    assert settle_change((), last=entry_of(), accept=None) == ""


def test_an_accepted_change_keeps_what_and_why_and_is_warned_of() -> None:
    accepted = settle_change(["the split: was a, is b"], last=entry_of(), accept="scanner\nfixed")
    assert accepted == "the split: was a, is b. Why: scanner fixed"
    (warning,) = describe_log([entry_of(), entry_of(2, accepted=accepted), entry_of(3)])
    assert "evaluation 2 of 3" in warning and accepted in warning


def test_accepting_nothing_is_refused() -> None:
    for last in (None, entry_of()):
        with pytest.raises(ConfigError, match="does nothing"):
            settle_change((), last=last, accept="why not")


@pytest.mark.parametrize("text", ["", "  \n", "x" * 501])
def test_a_reason_says_something_and_is_short(text: str) -> None:
    with pytest.raises(ConfigError, match="--reason"):
        clean_reason(text, flag="--reason")


def test_the_digest_is_the_sha256_of_what_decides() -> None:
    content = {
        "levels": {"images": {"PNEUMONIA": {"max_f1": [0.25, "probability"]}}},
        "positive_class": "PNEUMONIA",
    }
    expected = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    levels = {"images": points_of(0.25)}
    assert digest_thresholds(levels, positive_class="PNEUMONIA") == expected
    described = replace(points_of(0.25)["PNEUMONIA"][0], description="in words", num_positive=9)
    same = {"images": {"PNEUMONIA": (described,)}}
    assert digest_thresholds(same, positive_class="PNEUMONIA") == expected
    others = [
        ({"images": points_of(0.25 + 1e-12)}, "PNEUMONIA"),
        ({"images": points_of(0.25, rule="default")}, "PNEUMONIA"),
        ({"patients": points_of(0.25)}, "PNEUMONIA"),
        ({**levels, "patients": points_of(0.25)}, "PNEUMONIA"),
        (levels, "NORMAL"),
    ]
    found = {digest_thresholds(each, positive_class=name) for each, name in others}
    assert len(found) == len(others) and expected not in found


def test_only_the_rounding_of_another_machine_is_forgiven() -> None:
    stored = {"images": points_of(0.25)}
    near = keep_stored({"images": points_of(0.25 + 0.9 * TOLERANCE)}, stored)
    assert near["images"]["PNEUMONIA"][0].value == 0.25
    far = keep_stored({"images": points_of(0.25 + 1.1 * TOLERANCE)}, stored)
    assert far["images"]["PNEUMONIA"][0].value == 0.25 + 1.1 * TOLERANCE
    assert keep_stored({"patients": points_of(0.3)}, stored)["patients"] == points_of(0.3)


def test_test_is_closed_without_thresholds(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be scored yet"):
        require_settled(tmp_path)
