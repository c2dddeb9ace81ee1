"""Commands before and between runs: their flags are the arguments of the Python functions."""

from pathlib import Path

import pytest

import medimg_baseline_cls
from medimg_baseline_cls.cli import main

Called = list[tuple[str, tuple[object, ...], dict[str, object]]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    """The public functions that a command calls, with what it passes; none of them runs."""
    calls: Called = []

    def record(name: str) -> None:
        def take(*values: object, **flags: object) -> None:
            calls.append((name, values, flags))

        monkeypatch.setattr(medimg_baseline_cls, name, take, raising=False)

    for name in ("doctor", "init", "list_runs", "list_cache", "prune_cache"):
        record(name)
    return calls


def test_doctor_has_defaults(called: Called) -> None:
    assert main(["doctor"]) == 0
    usual = dict.fromkeys(("weights", "cache_dir", "arch", "image_size"))
    expected = {**usual, "output_dir": Path("outputs"), "seconds": 60.0}
    assert called == [("doctor", (None,), expected)]


def test_doctor_passes_its_flags(called: Called) -> None:
    flags = ["--weights", "w.pth", "--output-dir", "o", "--cache-dir", "c", "--seconds", "9"]
    flags += ["--arch", "densenet121", "--image-size", "96"]
    assert main(["doctor", "data", *flags]) == 0
    ((_, values, given),) = called
    assert values == ("data",)
    assert given == {
        "weights": Path("w.pth"),
        "output_dir": Path("o"),
        "cache_dir": Path("c"),
        "arch": "densenet121",
        "image_size": 96,
        "seconds": 9.0,
    }


def test_init_passes_its_flags(called: Called) -> None:
    assert main(["init", "data", "--output", "s.yaml"]) == 0
    assert main(["init", "data"]) == 0
    assert called == [
        ("init", ("data",), {"output": Path("s.yaml")}),
        ("init", ("data",), {"output": None}),
    ]


@pytest.mark.parametrize(
    ("argv", "usage"),
    [
        (["cache"], "medimg cache list|prune"),
        (["cache", "--all"], "medimg cache list|prune"),
        (["evaluate", "--reason", "first"], "medimg evaluate RUN"),
        (["predict"], "medimg predict RUN PATH..."),
        (["completion"], "medimg completion bash|zsh"),
    ],
)
def test_what_is_missing_is_one_sentence(
    called: Called, capsys: pytest.CaptureFixture[str], argv: list[str], usage: str
) -> None:
    assert main(argv) == 2
    assert called == []
    expected = f"medimg: {argv[0]} needs more: {usage} (medimg {argv[0]} --help).\n"
    assert capsys.readouterr().err == expected


def test_init_needs_data(called: Called, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 2
    assert called == []
    assert "DATA" in capsys.readouterr().err


def test_runs_passes_its_flags(called: Called) -> None:
    assert main(["runs"]) == 0
    assert main(["runs", "--csv", "-", "--output-dir", "o"]) == 0
    assert called == [
        ("list_runs", (Path("outputs"),), {"csv": None}),
        ("list_runs", (Path("o"),), {"csv": "-"}),
    ]


def test_cache_passes_its_flags(called: Called) -> None:
    assert main(["cache", "list", "--cache-dir", "c"]) == 0
    flags = ["--unused-days", "30", "--max-gb", "1.5", "--all", "--dry-run"]
    assert main(["cache", "prune", *flags]) == 0
    assert called == [
        ("list_cache", (Path("outputs"),), {"cache_dir": Path("c")}),
        (
            "prune_cache",
            (Path("outputs"),),
            {
                "cache_dir": None,
                "unused_days": 30.0,
                "max_gb": 1.5,
                "remove_all": True,
                "dry_run": True,
            },
        ),
    ]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["cache", "wipe"], "use cache list or cache prune"),
        (["cache", "list", "--dry-run"], "removes nothing"),
        (["cache", "prune", "--unsed-days", "3"], "--unused-days"),
        (["doctor", "--weihgts", "x"], "--weights"),
        (["runs", "--cvs", "x"], "--csv"),
    ],
)
def test_a_mistake_is_one_sentence(
    called: Called, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main(argv) == 2
    assert called == []
    text = capsys.readouterr().err
    assert said in text
    assert len(text.splitlines()) == 1
