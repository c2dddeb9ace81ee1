"""Lends the tests a tiny classifier and synthetic images on which an epoch takes milliseconds."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

TOY = Path(__file__).with_name("toy.py")
SOURCES = Path(__file__).resolve().parents[2] / "src"

# Scripts that start processes; --doctest-modules would import them.
collect_ignore = ["killed_runs.py", "lost_processes.py", "process_groups.py"]


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_toy", TOY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_toy"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def accelerator(toy):
    return toy.open_accelerator()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def run_script(tmp_path_factory):
    """Run a script of this folder once per session; returns the folder it filled."""

    def run(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name.removesuffix(".py"))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCES)}
        command = [sys.executable, str(TOY.with_name(name)), str(folder)]
        subprocess.run(command, check=True, env=environment, timeout=300)
        return folder

    return run


@pytest.fixture(scope="session")
def groups_folder(run_script):
    """What the processes of process_groups.py have written, run once for all tests."""
    return run_script("process_groups.py")
