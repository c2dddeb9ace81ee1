"""A pipeline that notes its calls instead of training anything."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

COMMANDS = (
    *("check", "compare", "cross_validate", "demo", "evaluate", "explain", "predict", "report"),
    *("resume", "resume_cross_validation", "resume_run", "resume_seeds"),
    *("run", "run_seeds", "train"),
)


@dataclass
class Result:
    run_dir: Path = Path("run")
    status: int = 0
    outdated: tuple[str, ...] = ()


class Calls(list[tuple[str, tuple[Any, ...], dict[str, Any]]]):
    """What was called, and what it is to raise."""

    error: BaseException | None = None

    def note(self, name: str, *args: Any, **kwargs: Any) -> Result:
        self.append((name, args, kwargs))
        if self.error is not None:
            raise self.error
        return Result()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    noted = Calls()
    pipeline = ModuleType("medimg_baseline_cls.pipeline")
    for name in COMMANDS:
        setattr(pipeline, name, lambda *a, _name=name, **k: noted.note(_name, *a, **k))
    monkeypatch.setitem(sys.modules, pipeline.__name__, pipeline)
    monkeypatch.setenv("COLUMNS", "100")
    return noted
