"""A report says which files of a run are missing or cannot be read."""

import html
import shutil
from pathlib import Path

import pytest

from medimg_baseline_cls import report
from medimg_baseline_cls.pipeline.steps.run_gaps import describe_state, find_gaps
from medimg_baseline_cls.utils.runs import write_status

NAMES = (
    *("split.csv", "rejected.csv", "history.csv", "test_log.csv", "mistakes.csv"),
    *("predictions_val.csv", "predictions_test.csv", "thresholds.json", "calibration.json"),
    *("recalibration.json", "prevalence.json"),
    *("val_summary.json", "test_summary.json", "eval_summary.json", "env_report.json"),
)


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "runs" / "copy")


def test_a_whole_run_has_no_gap(run: Path) -> None:
    assert find_gaps(run) == {} and describe_state(run) is None


def test_a_trial_that_was_given_up_says_so(run: Path) -> None:
    write_status(run, "pruned")
    said = describe_state(run)
    assert said is not None
    assert "its sweep stopped the training, as other trials were better" in said
    assert said.endswith(f"medimg run --resume {run}")


def test_external_results_do_not_lack_what_their_run_has(run: Path) -> None:
    for name in ("env_report.json", "best.pt", "test_log.csv"):
        (run / name).unlink()
    assert len(find_gaps(run)) == 3
    (run / "external.json").write_text("{}", encoding="utf-8")
    assert find_gaps(run) == {}
    (run / "prevalence.json").unlink()
    (run / "split.csv").unlink()
    for name, warning in find_gaps(run).items():
        assert warning == f"{name} is missing: run `medimg external RUN DATA` again"


@pytest.mark.parametrize("name", NAMES)
def test_each_lost_or_damaged_file_is_named_with_what_to_do(run: Path, name: str) -> None:
    whole = (run / name).read_bytes()
    (run / name).unlink()
    warnings = find_gaps(run)
    assert list(warnings) == [name] and f"{name} is missing: " in warnings[name]
    assert f"medimg run --resume {run}" in warnings[name] or "restore it" in warnings[name]
    texts = [b"", whole[: len(whole) // 2] + b'\n"', b"\x00\xff\n"]
    if name.endswith(".json"):
        texts += [b"{}", b"[]", b"[1]"]
    else:
        texts += [b"a,b\n1,2\n"]
        texts += [whole.splitlines()[0]] if name not in ("rejected.csv", "mistakes.csv") else []
    for text in texts:
        (run / name).write_bytes(text)
        assert list(find_gaps(run)) == [name], text


def test_the_report_is_written_without_them_and_says_so(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("split.csv", "thresholds.json", "test_log.csv"):
        (run / name).unlink()
    for name in ("test_summary.json", "eval_summary.json"):
        (run / name).write_text("{}")
    (run / "predictions_test.csv").write_text('image_id,label\n"a')
    expected = {
        "split.csv is missing: restore it",
        "thresholds.json is missing: medimg run --resume",
        "test_log.csv is missing: restore it",
        "test_summary.json is empty: delete it; medimg run --resume",
        "eval_summary.json is empty: delete it; medimg run --resume",
        "predictions_test.csv cannot be read: delete it; medimg run --resume",
    }
    report(run)
    said = " ".join(capsys.readouterr().out.split())
    page = html.unescape((run / "report.html").read_text(encoding="utf-8"))
    for words in expected:
        assert f"warning: {words}" in said and words in page


def test_a_run_that_was_stopped_is_shown_as_unfinished(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in run.iterdir():
        if path.is_file() and ("summary" in path.name or path.name in ("test_log.csv", "last.pt")):
            path.unlink()
    head, first, second, _ = (run / "history.csv").read_text().splitlines(keepends=True)
    assert second.startswith("finetune,1,")
    (run / "history.csv").write_text(head + first + second)
    (run / "results.sha256").unlink()  # training writes it at its end
    write_status(run, "interrupted")
    report(run)
    said = " ".join(capsys.readouterr().out.split())
    assert (
        f"this run is unfinished: training was stopped before its end; the rest is done by: "
        f"medimg run --resume {run}" in said
    )
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "1 head only, 1 of 2 fine-tuning" in page.lower()
    assert "medimg run --resume copy completes the run" in page
