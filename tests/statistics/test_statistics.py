"""The room can be imported alone: other projects shall need neither torch nor our files."""

import subprocess
import sys


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
