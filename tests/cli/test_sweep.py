"""`medimg sweep`: which flags it has, and what they become."""

import json
from pathlib import Path
from typing import Any

import pytest

import medimg_baseline_cls
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.pipeline.steps.session import RunResult


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple, dict]]:
    """What is called, and with what, instead of a sweep."""
    found: list[tuple[str, tuple, dict]] = []

    def noting(name: str) -> Any:
        def note(*arguments: Any, **keywords: Any) -> RunResult:
            found.append((name, arguments, keywords))
            return RunResult(Path("folder"), {"num_trials": 3})

        return note

    for name in ("sweep", "resume_sweep"):
        monkeypatch.setattr(medimg_baseline_cls, name, noting(name), raising=False)
    return found


def test_the_flags_become_arguments(calls: list, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--space", "space.yaml", "--trials", "7", "--time-limit", "1.5", "--evaluate"]
    assert main(["sweep", *argv, "--data-dir", "films", "--preset", "baseline"]) == 0
    ((name, arguments, keywords),) = calls
    assert name == "sweep"
    assert arguments[0].data_dir == Path("films")
    assert arguments[0].finetune_epochs == 3
    assert arguments[1] == Path("space.yaml")
    assert keywords == {"trials": 7, "time_limit": 1.5, "evaluate": True}


def test_without_flags_there_are_20_trials_and_no_look_at_test(calls: list) -> None:
    assert main(["sweep", "--space", "space.yaml"]) == 0
    ((_, arguments, keywords),) = calls
    assert arguments[0] == Config()
    assert keywords == {"trials": 20, "time_limit": None, "evaluate": False}


@pytest.mark.parametrize("named", [["folder"], []])
def test_a_sweep_is_resumed_with_another_limit(calls: list, named: list[str]) -> None:
    argv = ["sweep", "--resume", *named, "--time-limit", "2", "--evaluate", "--output-dir", "out"]
    assert main(argv) == 0
    ((name, arguments, keywords),) = calls
    assert name == "resume_sweep"
    assert arguments == (named[0] if named else None,)
    keywords.pop("callbacks")  # a run that was tracked is tracked again
    assert keywords == {"output_dir": Path("out"), "time_limit": 2.0, "evaluate": True}


def test_a_sweep_is_tracked_by_a_callback(calls: list, tmp_path: Path) -> None:
    argv = ["--space", "space.yaml", "--track", "tensorboard", "--output-dir", str(tmp_path)]
    assert main(["sweep", *argv]) == 0
    ((_, _, keywords),) = calls
    (callback,) = keywords["callbacks"]
    assert isinstance(callback, medimg_baseline_cls.Callback)


def test_an_address_of_a_tracker_alone_is_refused(calls: list) -> None:
    assert main(["sweep", "--space", "a.yaml", "--tracking-uri", "http://localhost:1"]) == 2
    assert calls == []


@pytest.mark.parametrize("flags", [["--trials", "3"], ["--space", "a.yaml"], ["--seed", "1"]])
def test_what_a_sweep_remembers_is_not_passed_again(
    calls: list, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--resume", "folder", *flags]) == 2
    said = capsys.readouterr().err
    assert f"--resume uses the settings of the run: leave out {flags[0]}" in said
    assert calls == []


def test_the_result_is_printed_for_machines(
    calls: list, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--space", "space.yaml", "--json"]) == 0
    end = json.loads(capsys.readouterr().out)
    assert (end["command"], end["exit_code"]) == ("sweep", 0)
    assert end["summary"] == {"num_trials": 3}


def test_settings_are_printed_instead(calls: list, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--print-config", "--lr", "0.002"]) == 0
    assert "finetune_lr: 0.002" in capsys.readouterr().out
    assert calls == []


def test_nothing_of_optuna_is_loaded_for_the_help() -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from medimg_baseline_cls.cli import main\n"
        "main(['sweep', '--help'])\n"
        "print('optuna' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"
    assert "--space FILE" in done.stdout


def test_a_missing_extra_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    for name in [*sys.modules]:
        if name.split(".")[0] == "optuna" or name.endswith(("steps.study", "commands.sweep")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in ("sweep", "resume_sweep"):
        medimg_baseline_cls.__dict__.pop(name, None)
    space = tmp_path / "space.yaml"
    space.write_text("batch_size: [8, 16]\n")
    assert main(["sweep", "--space", str(space), "--data-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "medimg: a sweep needs Optuna: pip install 'medimg-baseline-cls[sweep]'\n"
    )
