"""The room can be imported alone: other projects shall need neither torch nor our files."""

import subprocess
import sys

import pytest

from medimg_baseline_cls import statistics


def test_statistics_load_numpy_and_scipy_only() -> None:
    code = """
import pkgutil, sys
from importlib import import_module
import medimg_baseline_cls.statistics as room
for module in pkgutil.iter_modules(room.__path__):
    import_module(f"{room.__name__}.{module.name}")
print(*{name.split(".")[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split()) & {"torch", "sklearn", "pandas", "monai", "PIL", "matplotlib"}
    assert loaded == set()


def test_every_public_name_is_there_and_documented() -> None:
    for name in statistics.__all__:
        found = getattr(statistics, name)
        assert found.__module__.startswith("medimg_baseline_cls.statistics."), name
        assert found.__doc__, name
    assert set(statistics.__all__) <= set(dir(statistics))
    with pytest.raises(AttributeError, match="aurok"):
        statistics.aurok  # noqa: B018
