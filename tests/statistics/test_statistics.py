"""The room can be imported alone: other projects shall need neither torch nor our files."""

import subprocess
import sys

import pytest

from medimg_baseline_cls import statistics

LIBRARIES = "import numpy, scipy.optimize, scipy.special, scipy.stats"
MODULES = """
import pkgutil
from importlib import import_module
import medimg_baseline_cls.statistics as room
for module in pkgutil.iter_modules(room.__path__):
    import_module(f"{room.__name__}.{module.name}")
"""


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that are there after some code, without those of Python."""
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) - set(sys.stdlib_module_names)


def test_statistics_load_numpy_and_scipy_only() -> None:
    assert loaded_by(MODULES) - loaded_by(LIBRARIES) == {"medimg_baseline_cls"}


def test_every_public_name_is_there_and_documented() -> None:
    for name in statistics.__all__:
        found = getattr(statistics, name)
        assert found.__module__.startswith("medimg_baseline_cls.statistics."), name
        assert found.__doc__, name
    assert set(statistics.__all__) <= set(dir(statistics))
    with pytest.raises(AttributeError, match="aurok"):
        statistics.aurok  # noqa: B018
