"""`medimg check DIR`: one call, and an exit code that a script can stop at."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls.cli import main
from medimg_baseline_cls.cli.request import read_request
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, DataError


def checked(calls: Any, line: str) -> tuple[Config, dict[str, Any]]:
    """Return what `medimg check LINE` calls its Python twin with."""
    assert main(["check", *shlex.split(line)]) == 0
    ((name, (config,), keywords),) = calls
    assert name == "check"
    return config, keywords


@pytest.mark.parametrize(
    ("line", "settings", "label_noise"),
    [
        ("films", {"data_dir": "films"}, False),
        ("--data-dir films", {"data_dir": "films"}, False),
        ("films --label-noise", {"data_dir": "films"}, True),
        ("--label-noise films", {"data_dir": "films"}, True),
        ("films --label_noise --arch vit", {"data_dir": "films", "arch": "vit"}, True),
        ("films --seed 3 --project x", {"data_dir": "films", "seed": 3, "project": "x"}, False),
        ("--img-size 96 films", {"data_dir": "films", "image_size": 96}, False),
        ("films --keep-aspect", {"data_dir": "films", "keep_aspect": True}, False),
        ("'a folder' --limit 9", {"data_dir": "a folder", "limit": 9}, False),
    ],
)
def test_folder_and_flags_become_settings(
    calls: Any, line: str, settings: dict[str, Any], label_noise: bool
) -> None:
    config, keywords = checked(calls, line)
    assert config == Config(**settings)
    assert keywords == {"label_noise": label_noise}


def test_folder_may_come_from_a_file(calls: Any, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("data_dir: films\nseed: 4\n", encoding="utf-8")
    config, _ = checked(calls, f"--config {file}")
    assert (config.data_dir, config.seed) == (Path("films"), 4)


def test_folder_named_wins_over_the_file(calls: Any, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("data_dir: films\n", encoding="utf-8")
    config, _ = checked(calls, f"others --config {file}")
    assert config.data_dir == Path("others")


@pytest.mark.parametrize("status", [0, 1, 3])
def test_exit_code_is_the_status_of_the_audit(
    calls: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    noted = calls.note

    def note(name: str, *args: Any, **keywords: Any) -> Any:
        return replace(noted(name, *args, **keywords), status=status)

    monkeypatch.setattr(calls, "note", note, raising=False)
    assert main(["check", "films"]) == status


def test_bad_folder_is_a_mistake_and_no_finding(
    calls: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.error = DataError("films does not exist.")
    assert main(["check", "films"]) == 2
    assert capsys.readouterr().err == "medimg: films does not exist.\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("one two", "one folder, but got one and two"),
        ("one --data-dir two", "pass the folder once"),
        ("films --labelnoise", "--label-noise"),
        ("films --resume", "no flag --resume"),
    ],
)
def test_mistakes_are_one_sentence(
    calls: Any, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    assert main(["check", *shlex.split(line)]) == 2
    assert words in capsys.readouterr().err
    assert calls == []


def test_settings_are_printed_instead(calls: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "films", "--print-config"]) == 0
    out = capsys.readouterr().out
    assert "data_dir: films" in out
    assert calls == []


def test_help_names_folder_flag_and_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--help"]) == 0
    shown = capsys.readouterr().out
    for word in (
        "DIR",
        "--label-noise",
        "--data-dir",
        "0 clean, 1 warnings, 3 errors",
        "2: nothing",
    ):
        assert word in shown
    assert "--resume" not in shown


def test_other_commands_know_no_label_noise() -> None:
    with pytest.raises(ConfigError, match="label-noise"):
        read_request(["--label-noise"], command="train", summary="")
