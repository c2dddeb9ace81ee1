"""What commands print for people in a hurry (--quiet) and for programs (--json)."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Calls

from medimg_baseline_cls.cli import main
from medimg_baseline_cls.errors import DataError, RunInterrupted
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.screen import Screen, printing_on

Capture = pytest.CaptureFixture[str]


def test_quiet_leaves_warnings_on_the_screen_and_every_line_in_the_file(
    tmp_path: Path, capsys: Capture
):
    path = tmp_path / "log.txt"
    with printing_on(Screen(is_quiet=True)):
        log = open_log(path)
        log.info("a fact")
        log.hint("a hint")
        log.table("a table", header=["x"], rows=[["y"]])
        log.growing_table(["z"]).row([1])
        log.warn("a danger")
    assert capsys.readouterr().out == "warning: a danger\n"
    assert [line.strip() for line in path.read_text().splitlines()] == [
        *("a fact", "hint: a hint", "a table", "x", "-", "y", "z", "1", "warning: a danger")
    ]


def test_lines_for_people_go_to_standard_error_next_to_json(capsys: Capture):
    with printing_on(Screen(is_for_machines=True)):
        open_log(None).info("a fact")
    open_log(None).info("afterwards")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("afterwards\n", "a fact\n")


@pytest.mark.parametrize(
    "line", ["evaluate --json RUN", "--json evaluate RUN", "evaluate RUN --json"]
)
def test_json_has_the_end_of_a_command(calls: Calls, capsys: Capture, line: str):
    assert main(line.split()) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "command": "evaluate",
        "exit_code": 0,
        "run_dir": "run",
        "outdated": [],
        "summary": {"alarms": []},
    }
    assert said.err.startswith("next: medimg explain run")
    assert [name for name, *_ in calls] == ["evaluate"]


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (DataError("no images", "look there"), 2, ["no images", "look there"]),
        (RunInterrupted("stopped: resume it"), 130, ["stopped: resume it"]),
        (KeyboardInterrupt(), 130, ["interrupted: start the command again."]),
    ],
)
def test_json_has_the_reason_of_a_failure(
    calls: Calls, capsys: Capture, error: BaseException, code: int, lines: list[str]
):
    calls.error = error
    assert main(["report", "RUN", "--json", "--quiet"]) == code
    said = capsys.readouterr()
    assert json.loads(said.out) == {"command": "report", "exit_code": code, "error": lines}
    assert said.err == "medimg: " + "\n  ".join(lines) + "\n"


def test_json_has_an_unknown_flag_or_command_too(capsys: Capture):
    assert main(["rport", "RUN", "--json"]) == 2
    assert "did you mean report" in json.loads(capsys.readouterr().out)["error"][0]
    assert main(["report", "RUN", "--out", "x", "--json"]) == 2
    assert "no flag --out" in json.loads(capsys.readouterr().out)["error"][0]


@pytest.mark.parametrize("line", ["train --time-limit abc", "evaluate", "run --seeds x"])
def test_json_is_there_where_the_parser_refuses(calls: Calls, capsys: Capture, line: str):
    assert main([*line.split(), "--json"]) == 2
    said = capsys.readouterr()
    end = json.loads(said.out)
    assert (end["exit_code"], len(end["error"])) == (2, 1)
    assert said.err
    assert calls == []


def test_json_has_the_settings_instead_of_yaml(capsys: Capture):
    assert main(["train", "--seed", "3", "--print-config", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["settings"]["seed"], shown["sources"]["seed"]) == (3, "flag")
    assert shown["sources"]["arch"] == "default"


def print_in_terminal(*words: str, **environment: str) -> str:
    """Return what `medimg WORDS` prints in a terminal."""
    main_end, own_end = pty.openpty()
    command = [sys.executable, "-m", "medimg_baseline_cls", *words]
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    shown = kept | {"TERM": "xterm", "COLUMNS": "100"} | environment
    subprocess.run(command, stdout=own_end, stderr=own_end, env=shown, check=False)
    os.close(own_end)
    parts: list[bytes] = []
    try:
        while part := os.read(main_end, 65536):
            parts.append(part)
    except OSError:  # Linux: everything was read, and the other end is closed
        pass
    os.close(main_end)
    return b"".join(parts).decode()


@pytest.mark.parametrize(
    ("line", "said"),
    [("report --help", "usage: medimg report"), ("check nowhere", "nowhere does not exist")],
)
def test_no_color_is_respected(line: str, said: str):
    colored = re.compile(r"\x1b\[(?:\d+;)*3\d")
    plain = print_in_terminal(*line.split(), NO_COLOR="1")
    assert said in plain
    assert not colored.search(plain)
    assert colored.search(print_in_terminal("report", "--help"))
