"""A reproducible baseline for 2D medical image classification.

Example:
    >>> from medimg_baseline_cls import Config
    >>> Config(arch="densenet121").image_size
    224

The public names are in `__init__.pyi`, each with the module it comes from, and are loaded when they
are first used: importing the package costs nothing, and settings can be read without torch.
"""

from pathlib import Path
from typing import Any

from medimg_baseline_cls.utils.public_names import load_public_name, read_public_names

__version__ = "0.1.0"

_HOMES = read_public_names(Path(__file__))
__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    return load_public_name(__name__, name, homes=_HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
