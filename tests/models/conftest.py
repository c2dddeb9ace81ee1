import functools

import pytest
import torch

from medimg_baseline_cls.models.build import build_model


@functools.cache
def _built(arch, **settings):
    return build_model(arch, pretrained=False, image_size=64, **settings)


@pytest.fixture
def built():
    """Build a network once per session; tests must give it back as it was."""

    def get(arch, *, num_classes=3, seed=0):
        return _built(arch, num_classes=num_classes, seed=seed).eval()

    return get


@pytest.fixture
def pixels():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
