"""A reproducible baseline for 2D medical image classification.

Example:
    >>> from medimg_baseline_cls import Config
    >>> Config(arch="densenet121").image_size
    224

The public names below are loaded when they are first used: importing the package costs
nothing, and settings can be read without torch.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medimg_baseline_cls.config import Config
    from medimg_baseline_cls.pipeline import (
        check,
        compare,
        cross_validate,
        demo,
        evaluate,
        explain,
        predict,
        report,
        resume,
        resume_cross_validation,
        resume_run,
        resume_seeds,
        run,
        run_seeds,
        train,
        write_phantoms,
    )

__version__ = "0.1.0"
__all__ = [
    "Config",
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Config":
        from medimg_baseline_cls import config as home
    else:
        from medimg_baseline_cls import pipeline as home
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The package, whose `train` and `report` are the commands and not the rooms.

    Python would bind a room to its name here as soon as anything is imported from it, and
    `from medimg_baseline_cls import train` would give a module or a function depending on
    what ran before. `from medimg_baseline_cls.train.fit import fit` needs no such binding.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
