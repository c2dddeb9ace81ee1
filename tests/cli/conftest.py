"""A pipeline that notes its calls instead of training anything."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import medimg_baseline_cls

COMMANDS = (
    *("check", "compare", "cross_validate", "demo", "evaluate", "explain", "predict", "report"),
    *("external", "external_sites"),
    *("resume", "resume_cross_validation", "resume_run", "resume_seeds"),
    *("run", "run_seeds", "train"),
)


@dataclass
class Result:
    run_dir: Path = Path("run")
    status: int = 0
    outdated: tuple[str, ...] = ()
    summary: dict[str, list[str]] = field(default_factory=lambda: {"alarms": []})


class Calls(list[tuple[str, tuple[Any, ...], dict[str, Any]]]):
    """What was called, and what it is to raise."""

    error: BaseException | None = None

    def note(self, name: str, /, *args: Any, **kwargs: Any) -> Result:
        self.append((name, args, kwargs))
        if self.error is not None:
            raise self.error
        return Result()


def _note(noted: Calls, name: str, /, *args: Any, **kwargs: Any) -> Result:
    return noted.note(name, *args, **kwargs)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    noted = Calls()
    for name in COMMANDS:
        called = partial(_note, noted, name)
        monkeypatch.setitem(vars(medimg_baseline_cls), name, called)
    monkeypatch.setenv("COLUMNS", "100")
    return noted
