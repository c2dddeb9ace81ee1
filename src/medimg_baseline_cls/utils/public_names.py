"""Public names of a package, listed once: in the `__init__.pyi` that type checkers read.

They are loaded when they are first used, so that importing a package costs nothing.
"""

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

_LINE = re.compile(r"from (\S+) import \(?\s*(\w+) as")


def read_public_names(init: Path) -> dict[str, str]:
    """Return the module of each public name of a package.

    Args:
        init: its `__init__.py`; the names are in the `.pyi` next to it, one import each.
    """
    text = init.with_suffix(".pyi").read_text(encoding="utf-8")
    return {name: home for home, name in _LINE.findall(text)}


def load_public_name(package: str, name: str, *, homes: Mapping[str, str]) -> Any:
    """Return what a public name means; an AttributeError for other names."""
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(import_module(homes[name]), name)
