import getpass
import importlib.metadata
import json
import platform
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from medimg_baseline_cls.utils import env as env_room
from medimg_baseline_cls.utils.env import collect_environment, hide_names


def test_environment_is_plain_and_complete() -> None:
    report = collect_environment(["/usr/bin/medimg", "demo"])
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["command"] == "medimg demo"
    assert report["python"]["version"] == platform.python_version()
    assert report["packages"]["torch"] == importlib.metadata.version("torch")
    assert {"timm", "monai", "numpy", "pillow"} <= set(report["packages"])
    assert report["cpu"]["num_threads"] == torch.get_num_threads()
    assert report["cpu"]["num_cores"] >= 1


def test_environment_names_no_user_and_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "jane")
    monkeypatch.setenv("LOGNAME", "jane")
    monkeypatch.setattr(Path, "home", lambda: Path("/data/people/jane"))
    monkeypatch.setattr(socket, "gethostname", lambda: "ward-7")
    arguments = ["run", "--data-dir", "/data/people/jane/x", "--output-dir=/Users/jane/y"]
    arguments += ["--weights", "/mnt/ward-7/jane/w.pt", "jane@ward-7:/z"]
    text = json.dumps(collect_environment(["/home/jane/bin/medimg", *arguments]))
    assert "jane" not in text
    assert "ward-7" not in text
    assert "~/x" in text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("/home/jane/data", "~/data"),
        ("--data-dir=/home/jane/data", "--data-dir=~/data"),
        ("'/home/jane/my data'", "'~/my data'"),
        ("/home/jane", "~"),
        ("/home/meadow/x", "~/x"),
        ("/srv/data/home/x", "/srv/data/home/x"),
        ("--data-dir data --model-root x", "--data-dir data --model-root x"),
    ],
)
def test_names_are_hidden_and_words_left(
    monkeypatch: pytest.MonkeyPatch, text: str, hidden: str
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "data-")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    assert hide_names(text) == hidden


def test_user_named_like_a_flag_does_not_change_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    assert hide_names("medimg run --root-level=root --project root_x") == (
        "medimg run --root-level=root --project root_x"
    )


def test_user_without_a_name_or_home_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise KeyError("no entry for uid 12345")

    def fail_too() -> Path:
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr(getpass, "getuser", fail)
    monkeypatch.setattr(Path, "home", fail_too)
    assert hide_names("plain") == "plain"


def test_module_call_is_told_as_such() -> None:
    report = collect_environment(["/opt/lib/medimg_baseline_cls/__main__.py", "train", "a b"])
    assert report["command"] == "python -m medimg_baseline_cls train 'a b'"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_revision_is_that_of_this_source_not_of_a_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{variable}_NAME", "x")
        monkeypatch.setenv(f"GIT_{variable}_EMAIL", "x@example.org")

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "env.py").write_text("x = 1\n")
    assert env_room._git_state(tmp_path) is None
    git("add", "env.py")
    git("commit", "-m", "x")
    state = env_room._git_state(tmp_path)
    assert state is not None
    assert len(state["revision"]) == 40
    assert not state["is_modified"]
    (tmp_path / "env.py").write_text("x = 2\n")
    state = env_room._git_state(tmp_path)
    assert state is not None
    assert state["is_modified"]


def test_machine_without_git_has_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert env_room._git_state(Path(__file__).parent) is None


def test_package_that_is_missing_is_told_as_missing() -> None:
    assert env_room._version("no-such-distribution-at-all") is None
