"""What the callback promises: training never waits, one warning, one run of the tracker."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from tests.tracking.conftest import Probe, list_warnings

from medimg_baseline_cls import Tracking, track
from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.tracking import session, trackers
from medimg_baseline_cls.tracking.memory import (
    Request,
    local_store,
    read_known,
    read_request,
    remember_request,
    write_known,
)
from medimg_baseline_cls.tracking.record import list_runs_of_sweep
from medimg_baseline_cls.tracking.worker import describe_failure
from medimg_baseline_cls.training.history import EpochRow
from medimg_baseline_cls.utils.files import write_json

ROW = EpochRow(
    stage="head", epoch=1, lr=0.1, train_loss=0.7, val_loss=0.6, val_ap=0.5, val_auroc=0.5
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs" / "runs" / "chest_20260101-120000"
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"project": "chest", "seed": 3, "data_dir": "/home/doe"})
    return folder


def add_epochs(folder: Path, number: int) -> None:
    rows = [f"head,{epoch},0.1,0.7,0.6,0.5,0.5" for epoch in range(1, number + 1)]
    header = "stage,epoch,lr,train_loss,val_loss,val_ap,val_auroc"
    (folder / "history.csv").write_text("\n".join([header, *rows]) + "\n")


def test_a_run_is_sent_with_what_it_has_by_then(probe: Probe, run_dir: Path) -> None:
    with Tracking("plugin:probe") as tracking:
        tracking.on_start(run_dir)
        add_epochs(run_dir, 1)
        tracking.on_epoch(ROW)
        add_epochs(run_dir, 2)
        tracking.on_epoch(ROW)
    assert probe.sent[-1]["name"] == run_dir.name
    assert probe.sent[-1]["steps"] == [1, 2]
    assert read_known(run_dir, "plugin:probe")["id"] == f"probe of {run_dir.name}"
    assert not (run_dir / "log.txt").exists()


def test_what_has_not_changed_is_not_sent_again(probe: Probe, run_dir: Path) -> None:
    with Tracking("plugin:probe") as tracking:
        for _ in range(20):
            tracking.on_start(run_dir)
    assert len(probe.sent) == 1


def test_a_run_that_is_sent_again_has_the_name_that_it_has_there(
    probe: Probe, run_dir: Path
) -> None:
    track([run_dir], "plugin:probe")
    add_epochs(run_dir, 1)
    track([run_dir])
    first, second = (line["known"] for line in probe.sent)
    assert "id" not in first
    assert second["id"] == f"probe of {run_dir.name}"
    assert second["uri"] == local_store(run_dir)


def test_a_resumed_run_is_tracked_as_before(probe: Probe, run_dir: Path) -> None:
    with Tracking("plugin:probe", uri="http://place:1", names=True) as tracking:
        tracking.on_start(run_dir)
        tracking.on_end(None)
    add_epochs(run_dir, 1)
    with Tracking() as tracking:
        tracking.on_start(run_dir)
        tracking.on_epoch(ROW)
    last = probe.sent[-1]
    assert last["steps"] == [1]
    assert last["known"]["id"] == f"probe of {run_dir.name}"
    assert last["known"]["uri"] == "http://place:1"
    assert read_request(run_dir) == Request(
        trackers=("plugin:probe",), uri="http://place:1", names=True
    )


def test_a_run_that_was_not_tracked_stays_so(run_dir: Path) -> None:
    before = sorted(run_dir.iterdir())
    with Tracking() as tracking:
        tracking.on_start(run_dir)
        tracking.on_epoch(ROW)
        tracking.on_results(run_dir)
    assert sorted(run_dir.iterdir()) == before


def test_a_new_run_of_a_sweep_is_tracked_as_the_sweep(probe: Probe, run_dir: Path) -> None:
    sweep = run_dir.parents[1] / "seeds" / "chest_20260101-120000"
    sweep.mkdir(parents=True)
    write_json(sweep / "seeds.json", {"runs": [], "settings": {"project": "chest"}})
    child = run_dir.with_name("chest_seeds20260101-120000_s0")
    run_dir.rename(child)
    remember_request(sweep, Request(trackers=("plugin:probe",)))
    with Tracking() as tracking:
        tracking.on_start(child)
    parent, run = probe.sent
    assert parent["name"] == sweep.name
    assert run["known"]["parent"] == f"probe of {sweep.name}"


def test_an_error_is_one_warning_that_names_the_way_out(probe: Probe, run_dir: Path) -> None:
    probe.order("fail")
    with Tracking("plugin:probe") as tracking:
        tracking.on_start(run_dir)
        for number in (1, 2, 3):
            add_epochs(run_dir, number)
            tracking.on_epoch(ROW)
    (warning,) = list_warnings(run_dir)
    assert "not tracked (plugin:probe: no server); the results are the same" in warning
    assert f"medimg track {run_dir} sends what is missing" in warning


def test_what_was_missed_is_sent_later(probe: Probe, run_dir: Path) -> None:
    probe.order("fail")
    with Tracking("plugin:probe") as tracking:
        tracking.on_start(run_dir)
    probe.order("")
    add_epochs(run_dir, 2)
    track([run_dir])
    assert probe.sent[-1]["steps"] == [1, 2]
    assert len(list_warnings(run_dir)) == 1


def test_track_itself_refuses_to_end_well_where_nothing_was_sent(
    probe: Probe, run_dir: Path
) -> None:
    probe.order("fail")
    with pytest.raises(RunError, match=r"^plugin:probe has not taken .*: no server\.$"):
        track([run_dir], "plugin:probe")
    assert not (run_dir / "log.txt").exists()
    probe.order("die")
    with pytest.raises(RunError, match=r"has not taken .*: the tracker ended too early\.$"):
        track([run_dir], "plugin:probe")


def make_copies(run_dir: Path, number: int) -> list[Path]:
    folders = [run_dir.with_name(f"chest_20260102-{hour:06d}") for hour in range(number)]
    return [shutil.copytree(run_dir, folder) for folder in folders]


def test_many_runs_are_sent_by_one_process_and_counted(
    probe: Probe, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = make_copies(run_dir, 5)
    assert track([*folders, folders[0]], "plugin:probe").sent == tuple(folders)
    assert [line["name"] for line in probe.sent] == [folder.name for folder in folders]
    assert len({line["process"] for line in probe.sent}) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["tracked by plugin:probe: look here", "5 runs were sent"]


def test_of_many_runs_those_that_were_not_sent_are_listed(
    probe: Probe, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = make_copies(run_dir, 14)
    for folder in folders[2:]:
        (folder / "history.csv").write_text("")
    with pytest.raises(RunError) as caught:
        track(folders, "plugin:probe")
    first, *lines, last = caught.value.args
    assert first == "not all of the 14 runs were sent:"
    expected = [
        f"plugin:probe has not taken {folder}: {folder / 'history.csv'} is empty or has no header: "
        "restore it, or run the stage that writes it again."
        for folder in folders[2:12]
    ]
    assert lines == expected
    assert last == "... and 2 more"
    assert [line["name"] for line in probe.sent] == [folder.name for folder in folders[:2]]


def test_more_runs_than_a_pipe_has_room_for_are_sent(
    probe: Probe, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, refused = os.write, []

    def refuse_once(file: int, line: bytes) -> int:
        if line not in refused:
            refused.append(line)
            raise BlockingIOError
        return write(file, line)

    folders = make_copies(run_dir, 3)
    monkeypatch.setattr(session.os, "write", refuse_once)
    track(folders, "plugin:probe")
    assert [line["name"] for line in probe.sent] == [folder.name for folder in folders]


def chain(*errors: BaseException) -> BaseException:
    """Return the last of some errors, each raised while the one before was handled."""
    for cause, error in pairwise(errors):
        error.__context__ = cause
    return errors[-1]


LONG = "HTTPConnectionPool(host='a', port=1): Max retries exceeded with url: /api (Caused by x)"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            chain(ConnectionRefusedError(111, "Connection refused"), OSError(LONG), Exception("a")),
            "connection refused",
        ),
        (chain(TimeoutError("timed out"), ValueError(LONG)), "timed out"),
        (chain(KeyError("gopher"), ValueError("Unsupported URI; use x: [y]")), "unsupported URI"),
        (PermissionError(13, "Permission denied", "/a/b"), "permission denied: /a/b"),
        (ValueError("unable to open file\n[SQL: SELECT 1]\nTraceback"), "unable to open file"),
        (ValueError("It failed. Stack trace: " + "x " * 900), "it failed"),
        (KeyError("x"), "a library fails with KeyError"),
        (RunError("history.csv was edited: restore it."), "history.csv was edited: restore it"),
    ],
)
def test_a_failure_is_told_by_its_first_cause(error: BaseException, said: str) -> None:
    assert describe_failure(error) == said


def test_a_failure_is_told_in_a_few_words() -> None:
    said = describe_failure(ValueError("many words " * 100))
    assert len(said) < 160 and said.endswith(" ...")


def test_one_tracker_that_fails_does_not_keep_the_other_from_its_record(
    probe: Probe, run_dir: Path
) -> None:
    probe.order("fail")
    add_epochs(run_dir, 1)
    with Tracking("plugin:probe,tensorboard") as tracking:
        tracking.on_start(run_dir)
    assert list((run_dir.parents[1] / "tensorboard" / run_dir.name).iterdir())
    assert len(list_warnings(run_dir)) == 1


def test_a_process_that_dies_is_one_warning(probe: Probe, run_dir: Path) -> None:
    probe.order("die")
    with Tracking("plugin:probe") as tracking:
        tracking.on_start(run_dir)
        for number in (1, 2, 3):
            add_epochs(run_dir, number)
            tracking.on_epoch(ROW)
    assert len(list_warnings(run_dir)) == 1


def is_alive(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def test_a_tracker_that_hangs_is_left_behind_at_the_end(
    probe: Probe, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_LAST_WAIT", 4.0)
    probe.order("hang")
    with Tracking("plugin:probe") as tracking:
        tracking.on_start(run_dir)
        for _ in range(50):
            tracking.on_epoch(ROW)
    (warning,) = list_warnings(run_dir)
    assert "did not take everything in time" in warning
    assert not any(is_alive(line["process"]) for line in probe.sent)


def test_an_interrupted_training_does_not_wait_long(
    probe: Probe, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_LAST_WAIT", float("inf"))
    probe.order("hang")
    with pytest.raises(KeyboardInterrupt), Tracking("plugin:probe") as tracking:
        tracking.on_start(run_dir)
        tracking.on_end(None)
        raise KeyboardInterrupt
    assert len(list_warnings(run_dir)) == 1


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the process that sends be stopped, so that it never reads a line."""
    start = session._start_worker

    def start_stopped() -> "subprocess.Popen[bytes]":
        process = start()
        os.kill(process.pid, signal.SIGSTOP)
        return process

    monkeypatch.setattr(session, "_start_worker", start_stopped)
    monkeypatch.setattr(session, "_LAST_WAIT", 0.5)
    yield


@pytest.mark.usefixtures("stopped", "probe")
def test_a_pipe_that_is_full_never_blocks(run_dir: Path) -> None:
    with Tracking("plugin:probe") as tracking:
        tracking.on_start(run_dir)
        for _ in range(5000):  # a pipe has room for about a tenth of these lines
            tracking.on_epoch(ROW)
    assert len(list_warnings(run_dir)) == 1


def test_the_process_that_sends_is_told_to_be_quiet_and_out_of_reach(
    probe: Probe, run_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bomb = tmp_path / "here"
    bomb.mkdir()
    (bomb / "json.py").write_text("raise SystemExit('a file of the user was imported')\n")
    monkeypatch.chdir(bomb)
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    before = dict(os.environ)
    with Tracking("plugin:probe") as tracking:
        tracking.on_start(run_dir)
    assert dict(os.environ) == before
    (sent,) = probe.sent
    assert sent["environment"]["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert sent["environment"]["DO_NOT_TRACK"] == "true"
    assert sent["environment"]["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert sent["environment"]["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"
    assert sent["group"] != os.getpgid(0)  # Ctrl-C of the terminal is for training
    # Linux shares time between sessions first: only within one does a lower priority count.
    assert sent["session"] == os.getsid(0)
    assert sent["priority"] > os.getpriority(os.PRIO_PROCESS, 0)


def test_the_end_of_a_program_without_a_with_block_waits_for_what_is_not_sent(
    probe: Probe, run_dir: Path
) -> None:
    code = f"""
from pathlib import Path
from medimg_baseline_cls import Tracking
tracking = Tracking("plugin:probe")
tracking.on_start(Path({str(run_dir)!r}))
"""
    paths = os.pathsep.join([str(probe.folder), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert [line["name"] for line in probe.sent] == [run_dir.name]


def test_nothing_of_a_tracker_is_imported_where_training_runs(run_dir: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from medimg_baseline_cls import Tracking
with Tracking("tensorboard,mlflow") as tracking:
    tracking.on_start(Path({str(run_dir)!r}))
    tracking.on_end(None)
print(sorted({{"mlflow", "tensorboard", "sqlalchemy", "torch"}} & set(sys.modules)))
"""
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("names", "uri", "sentence"),
    [
        ("mlfow", None, r"there is no tracker 'mlfow': use mlflow, tensorboard, or plugin:NAME"),
        ("plugin:none", None, r"plugin:none is not there"),
        ("plugin:wrong", None, r"plugin:wrong of medimg-probe 1.0 is a function"),
        ("tensorboard", "http://a:1", r"'http://a:1' has no effect: add --track mlflow"),
        ((), "http://a:1", r"has no effect: add --track mlflow"),
        ("mlflow", "https://me:secret@a:1/x", r"contains a user or password"),
        ("mlflow", "http://a:1/x?token=secret", r"contains a query"),
        ("mlflow", "sqlite:///", r"sqlite:/// names no file, so that nothing would be kept"),
    ],
)
@pytest.mark.usefixtures("probe")
def test_what_cannot_work_is_refused_before_anything_is_trained(
    names: str, uri: str | None, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        Tracking(names, uri=uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_a_missing_package_is_one_sentence_with_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"needs {name}.*'medimg-baseline-cls\[{name}\]'"):
        Tracking(name)


def test_the_address_of_the_environment_is_used(
    probe: Probe, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://of-the-hospital:5000")
    with Tracking("plugin:probe") as tracking:
        tracking.on_start(run_dir)
    assert probe.sent[0]["known"]["uri"] == "http://of-the-hospital:5000"


def test_another_address_is_another_run_there(run_dir: Path) -> None:
    remember_request(run_dir, Request(trackers=("mlflow",), uri="http://one"))
    write_known(run_dir, "mlflow", known={"id": "7", "see": "", "uri": "http://one"})
    remember_request(run_dir, Request(trackers=("mlflow",), uri="http://one"))
    assert read_known(run_dir, "mlflow")["id"] == "7"
    remember_request(run_dir, Request(trackers=("mlflow",), uri="http://two"))
    assert read_known(run_dir, "mlflow") == {"uri": "http://two"}


def test_a_moved_output_folder_has_its_own_store(run_dir: Path, tmp_path: Path) -> None:
    assert local_store(run_dir) == f"sqlite:///{tmp_path}/outputs/mlflow/mlflow.db"
    (tmp_path / "outputs").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "runs" / run_dir.name
    assert local_store(moved) == f"sqlite:///{tmp_path}/moved/mlflow/mlflow.db"


def test_what_is_remembered_has_no_name_of_the_data(probe: Probe, run_dir: Path) -> None:
    track([run_dir], "plugin:probe")
    content = json.loads((run_dir / "tracking.json").read_text())
    assert set(content) == {"trackers", "names", "checkpoints"}
    assert "doe" not in (run_dir / "tracking.json").read_text()
    assert "doe" not in json.dumps([{**line, "environment": {}} for line in probe.sent])


def test_a_sweep_that_is_sent_later_lets_its_runs_remember_their_names(
    probe: Probe, run_dir: Path
) -> None:
    sweep = run_dir.parents[1] / "seeds" / "chest_20260101-120000"
    sweep.mkdir(parents=True)
    child = run_dir.with_name("chest_seeds20260101-120000_s0")
    run_dir.rename(child)
    runs = [{"seed": 0, "run": str(child)}]
    write_json(sweep / "seeds.json", {"runs": runs, "settings": {"project": "chest"}})
    track([sweep], "plugin:probe")
    assert [line["name"] for line in probe.sent] == [sweep.name, child.name]
    assert read_known(child, "plugin:probe")["id"] == f"probe of {child.name}"
    track([sweep])
    assert probe.sent[-1]["known"]["id"] == f"probe of {child.name}"


@pytest.mark.parametrize("trackers", ["[1, 2]", '{"mlflow": 3}', '"mlflow"'])
def test_an_edited_file_is_one_sentence(tmp_path: Path, trackers: str) -> None:
    (tmp_path / "tracking.json").write_text(f'{{"trackers": {trackers}}}')
    with pytest.raises(RunError, match=r"tracking\.json was changed: trackers is not as written"):
        read_request(tmp_path)


def test_tracking_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="track got no run"):
        track([])


def test_a_damaged_run_of_a_sweep_does_not_keep_the_others_from_their_records(
    probe: Probe, swept: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(swept.parents[1], tmp_path / "moved")
    sweep = moved / swept.parent.name / swept.name
    first, second = list_runs_of_sweep(sweep)
    with (first / "thresholds.json").open("a") as file:
        file.write(" ")
    with pytest.raises(RunError, match="thresholds.json was edited"):
        track([sweep], "plugin:probe")
    assert [item["name"] for item in probe.sent] == [sweep.name, second.name]
