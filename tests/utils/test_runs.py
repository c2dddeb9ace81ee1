import json
import os
import re
import socket
from pathlib import Path

import pytest

from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.utils.own_output import mark_own
from medimg_baseline_cls.utils.runs import (
    RunState,
    create_run_folder,
    find_run,
    hold_run,
    is_of_sweep,
    is_trained,
    list_runs,
    mark_latest,
    name_fold,
    name_seed,
    name_trial,
    newest_interrupted,
    read_status,
    write_status,
)


def make_run(output_dir: Path, name: str, state: RunState = "finished", age: int = 0) -> Path:
    run = output_dir / "runs" / name
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    write_status(run, state)
    os.utime(run / "status.json", (2_000_000_000 - age, 2_000_000_000 - age))
    return run


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    runs = [create_run_folder(tmp_path / "out", "chest-xray") for _ in range(4)]
    assert len(set(runs)) == 4
    for run in runs:
        assert run.is_dir()
        assert re.fullmatch(r"chest-xray_\d{8}-\d{6}(-\d+)?", run.name)
        assert run.parent == tmp_path / "out" / "runs"


@pytest.mark.parametrize("project", ["", "../x", "a/b", ".hidden", "a b", "a\n", "-x", "x."])
def test_project_that_cannot_name_a_folder_is_refused(tmp_path: Path, project: str) -> None:
    with pytest.raises(ConfigError, match="use letters"):
        create_run_folder(tmp_path, project)
    assert list(tmp_path.iterdir()) == []


def test_place_where_no_folder_can_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("a,b\n")
    with pytest.raises(ConfigError, match=r"labels\.csv \(Not a directory\).*--output-dir"):
        create_run_folder(tmp_path / "labels.csv", "films")
    assert (tmp_path / "labels.csv").read_text() == "a,b\n"


@pytest.mark.parametrize("name", ["seeds.json", "cv.json", "sweep.json"])
def test_folder_of_several_runs_is_named_as_such(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(RunError, match="a folder of several runs"):
        find_run(tmp_path, tmp_path)


def test_of_a_finished_sweep_the_best_trial_is_named(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{}")
    best = {"best": {"run": "outputs/runs/films_sweep20260101-120000_t7"}}
    (tmp_path / "sweep_summary.json").write_text(json.dumps(best))
    with pytest.raises(RunError) as caught:
        find_run(tmp_path, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is a folder of several runs, of which this command takes one: its best trial "
        "is outputs/runs/films_sweep20260101-120000_t7."
    )


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("training", False),
        ("interrupted", False),
        ("pruned", False),
        ("trained", True),
        ("finished", True),
    ],
)
def test_training_is_over_where_the_status_says_so(
    tmp_path: Path, state: RunState, expected: bool
) -> None:
    assert is_trained(make_run(tmp_path, "a", state)) == expected


def test_latest_names_the_run_that_was_marked_last(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, "a_1"), make_run(tmp_path, "b_2", age=9)
    for run in (first, second):
        mark_latest(run)
        assert find_run("latest", tmp_path) == run
        assert find_run(tmp_path / "runs" / "latest", Path("elsewhere")) == run
    assert (tmp_path / "runs" / "latest" / "status.json").is_file()
    assert set(list_runs(tmp_path)) == {first, second}


def test_latest_is_never_a_fold_of_a_cross_validation(tmp_path: Path) -> None:
    project = name_fold("films", stamp="20260101-120000-2", repeat=1, fold=10)
    fold = create_run_folder(tmp_path, project)
    assert fold.name == "films_cv20260101-120000-2_r1f10"
    (fold / "config.json").write_text("{}")
    mark_latest(fold)
    assert not (tmp_path / "runs" / "latest").exists()
    own = make_run(tmp_path, "films_cv_1")
    for run in (own, fold):
        mark_latest(run)
    assert find_run("latest", tmp_path) == own


def test_latest_is_never_a_trial_of_a_sweep(tmp_path: Path) -> None:
    project = name_trial("films", stamp="20260101-120000", number=12)
    trial = create_run_folder(tmp_path, project)
    assert trial.name == "films_sweep20260101-120000_t12"
    assert is_of_sweep(trial.name)
    (trial / "config.json").write_text("{}")
    mark_latest(trial)
    assert not (tmp_path / "runs" / "latest").exists()


def test_runs_of_a_sweep_are_dated_once(tmp_path: Path) -> None:
    project = name_seed("films", stamp="20260101-120000", seed=3)
    names = [create_run_folder(tmp_path, project).name for _ in range(2)]
    assert names == ["films_seeds20260101-120000_s3", "films_seeds20260101-120000_s3-2"]
    for name in (*names, f"{names[0]}_20260101-120005", "a_cv20260101-120000_r0f1"):
        assert is_of_sweep(name), name  # also as an earlier version named them
    for name in ("films_20260101-120000", "films_seeds", "films_seeds20260101-120000_s3x"):
        assert not is_of_sweep(name), name


def test_latest_is_a_text_file_where_links_are_not_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("links need a privilege")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    run = make_run(tmp_path, "a_1")
    mark_latest(run)
    assert (tmp_path / "runs" / "latest").is_file()
    assert find_run("latest", tmp_path) == run
    assert list_runs(tmp_path) == [run]


def test_run_is_found_by_path_or_by_name(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a_1")
    assert find_run(run, Path("elsewhere")) == run
    assert find_run("a_1", tmp_path) == run


def test_run_that_does_not_exist_is_refused_with_the_newest_ones(tmp_path: Path) -> None:
    for i in range(5):
        make_run(tmp_path, f"run_{i}", age=i)
    with pytest.raises(RunError, match=r"run_9 is not a run folder.*run_0, .*run_1, .*run_2:?\.$"):
        find_run("run_9", tmp_path)


@pytest.mark.parametrize(("typed", "meant"), [("latst", "latest"), ("film_1", "films_1")])
def test_a_misspelled_run_gets_the_nearest_name(tmp_path: Path, typed: str, meant: str) -> None:
    make_run(tmp_path, "films_1")
    with pytest.raises(RunError, match=rf"{typed} is not a run folder: did you mean {meant}\?"):
        find_run(typed, tmp_path)


def test_first_user_is_told_how_to_start_a_run(tmp_path: Path) -> None:
    with pytest.raises(
        RunError,
        match=r"latest is not a run folder: there are no runs in /.*runs; name .*--output-dir",
    ):
        find_run("latest", tmp_path)
    with pytest.raises(RunError, match=r"config\.json is missing"):
        find_run(tmp_path, tmp_path)


@pytest.mark.parametrize("state", ["training", "interrupted", "pruned", "trained", "finished"])
def test_status_reads_back(tmp_path: Path, state: RunState) -> None:
    with hold_run(tmp_path, command="train"):
        write_status(tmp_path, state)
        assert read_status(tmp_path) == state


def test_run_in_training_that_nobody_holds_counts_as_interrupted(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a_1", "training")
    with hold_run(run, command="train"):
        assert read_status(run) == "training"
        assert newest_interrupted(tmp_path) is None
    assert read_status(run) == "interrupted"
    assert newest_interrupted(tmp_path) == run
    # As a killed process leaves it: the number of the process was given again.
    host = socket.gethostname()
    mark = {"host": host, "process": f"{os.getpid()}:1", "command": "medimg train"}
    (run / ".lock").write_text(json.dumps(mark))
    assert read_status(run) == "interrupted"


@pytest.mark.parametrize(("name", "expected"), [("best.pt", True), ("last.pt", False)])
def test_run_that_lost_its_status_is_trained_where_it_has_a_network(
    tmp_path: Path, name: str, expected: bool
) -> None:
    (tmp_path / name).touch()
    assert is_trained(tmp_path) == expected


def test_writer_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a_1")
    litter = [".last.pt.0123456789abcdef.tmp", "figures/.roc.png.fedcba9876543210.tmp"]
    kept = [
        "notes.tmp", ".mine.tmp", "gradcam/.x.0123456789abcdef.tmp.png",
        ".predictions_new.csv.0123456789abcdef.tmp",  # predict may be writing it
        "predictions_new/.a.png.0123456789abcdef.tmp",
    ]  # fmt: skip
    for name in [*litter, *kept]:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    with hold_run(run, command="train"):
        assert [name for name in litter if (run / name).exists()] == []
    assert [name for name in kept if not (run / name).exists()] == []


def test_newest_interrupted_run_is_taken_and_others_passed_over(tmp_path: Path) -> None:
    make_run(tmp_path, "new_finished", "finished", age=0)
    wanted = make_run(tmp_path, "stopped", "interrupted", age=5)
    make_run(tmp_path, "older", "interrupted", age=50)
    make_run(tmp_path, "given up by its sweep", "pruned", age=1)
    (tmp_path / "runs" / "no_run").mkdir()
    for name, lost in (("foreign", "status.json"), ("killed at its start", "config.json")):
        (make_run(tmp_path, name, "interrupted") / lost).unlink()
    assert newest_interrupted(tmp_path) == wanted
    assert newest_interrupted(tmp_path / "nowhere") is None


@pytest.mark.parametrize("lost_of", ["best.pt", "last.pt", "history.csv", "eval_summary.json"])
def test_a_trained_run_without_settings_is_not_called_a_stopped_one(
    tmp_path: Path, lost_of: str
) -> None:
    run = make_run(tmp_path, "a")
    mark_own(run)
    (run / lost_of).touch()
    (run / "config.json").unlink()
    for name in (run, "a"):
        with pytest.raises(RunError, match=r"config\.json is missing in .*restore it"):
            find_run(name, tmp_path)


def test_a_foreign_folder_is_not_called_a_stopped_run(tmp_path: Path) -> None:
    for folder in (tmp_path / "runs" / "a", tmp_path / "b", tmp_path / "cache"):
        folder.mkdir(parents=True)
        (folder / "status.json").write_text('{"state": "training"}')
    mark_own(tmp_path / "cache")
    for folder in (tmp_path / "runs" / "a", tmp_path / "b", tmp_path / "cache", Path("/")):
        with pytest.raises(RunError, match=r"is not a run folder \(config") as refusal:
            find_run(folder, tmp_path)
        assert "stopped" not in str(refusal.value)


def test_an_interrupted_writer_is_told_how_to_complete_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a b")
    for words in (rf"medimg run --resume '{run}'$", "nothing was begun; start the command again"):
        outer, inner = (hold_run(run, command=name) for name in ("evaluate", "explain"))
        with pytest.raises(KeyboardInterrupt, match=words), outer, inner:
            raise KeyboardInterrupt
        (run / "config.json").unlink(missing_ok=True)


@pytest.mark.parametrize("text", ["[]", "{}", '{"state": "sleeping"}'])
def test_status_that_was_changed_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(RunError, match="was changed"):
        read_status(tmp_path)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"", b"\n", b"a\0b", b"x" * 100_000, b"../" * 1000, b"gone\n"]
)
def test_a_garbled_latest_leads_to_no_run_and_the_newest_is_named(
    tmp_path: Path, content: bytes
) -> None:
    run = make_run(tmp_path, "run_1")
    (tmp_path / "runs" / "latest").write_bytes(content)
    with pytest.raises(RunError, match=f"latest is not a run folder.* {re.escape(str(run))}"):
        find_run("latest", tmp_path)


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_an_empty_name_of_a_run_is_called_empty(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="the name of the run is empty"):
        find_run(name, tmp_path)
