"""Lends the tests a tiny classifier and synthetic images on which an epoch takes milliseconds."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

TOY = Path(__file__).with_name("toy.py")


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
