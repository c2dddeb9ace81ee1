"""The commands as functions: the only room that sees the Config and all other rooms.

check     data folder -> audit              check.py
train     prepare -> build -> fit            training.py, prepare.py
evaluate  VAL -> thresholds -> TEST          evaluation.py
explain   mistakes -> maps -> panels         explanation.py
report    run folder -> page                 commands.py
predict   new files -> probabilities         prediction.py
run       the first four in a row            commands.py
resume_run  what is missing of these four    resuming.py
cv        folds as runs -> joined, spread    cv.py
compare   runs on the same TEST images       compare.py
run_seeds the same run from several seeds     seeds.py
demo      phantoms -> run -> check of maps   demo.py

Each command's file is imported when the command is first asked for: `predict` needs neither
plots nor statistics.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medimg_baseline_cls.data.phantom import write_phantoms
    from medimg_baseline_cls.pipeline.check import CheckResult, check
    from medimg_baseline_cls.pipeline.commands import report, run
    from medimg_baseline_cls.pipeline.compare import compare
    from medimg_baseline_cls.pipeline.cv import cross_validate, resume_cross_validation
    from medimg_baseline_cls.pipeline.demo import demo
    from medimg_baseline_cls.pipeline.evaluation import evaluate
    from medimg_baseline_cls.pipeline.explanation import explain
    from medimg_baseline_cls.pipeline.prediction import predict
    from medimg_baseline_cls.pipeline.resuming import resume_run
    from medimg_baseline_cls.pipeline.seeds import resume_seeds, run_seeds
    from medimg_baseline_cls.pipeline.session import RunResult
    from medimg_baseline_cls.pipeline.training import resume, train

__all__ = [
    "CheckResult",
    "RunResult",
    "check",
    "compare",
    "cross_validate",
    "demo",
    "evaluate",
    "explain",
    "predict",
    "report",
    "resume",
    "resume_cross_validation",
    "resume_run",
    "resume_seeds",
    "run",
    "run_seeds",
    "train",
    "write_phantoms",
]

_HOMES = {
    "CheckResult": "pipeline.check",
    "RunResult": "pipeline.session",
    "check": "pipeline.check",
    "compare": "pipeline.compare",
    "cross_validate": "pipeline.cv",
    "demo": "pipeline.demo",
    "evaluate": "pipeline.evaluation",
    "explain": "pipeline.explanation",
    "predict": "pipeline.prediction",
    "report": "pipeline.commands",
    "resume": "pipeline.training",
    "resume_cross_validation": "pipeline.cv",
    "resume_run": "pipeline.resuming",
    "resume_seeds": "pipeline.seeds",
    "run": "pipeline.commands",
    "run_seeds": "pipeline.seeds",
    "train": "pipeline.training",
    "write_phantoms": "data.phantom",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"medimg_baseline_cls.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Room(ModuleType):
    """The room, whose `check` and `compare` are the commands, not the files they are in.

    Python would bind a file to its name here once it is imported.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Room
