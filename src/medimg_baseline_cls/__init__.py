"""A reproducible baseline for 2D medical image classification.

Example:
    >>> from medimg_baseline_cls import Config
    >>> Config(arch="densenet121").image_size
    224

The public names stand in `__init__.pyi`, each with the module it comes from, and are loaded when
they are first used: importing the package costs nothing, and settings can be read without torch.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_LINE = re.compile(r"from (\S+) import \(?\s*(\w+) as \w+")
_HOMES = {
    name: home
    for home, name in _LINE.findall(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
}
__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
