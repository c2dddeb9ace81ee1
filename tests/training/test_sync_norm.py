"""Synced BatchNorm is torch's own BatchNorm in double precision, of all images at once."""

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from medimg_baseline_cls.training.sync_norm import batchnorm_over_processes

WORLDS = (1, 2, 3)


@pytest.fixture(scope="module")
def parts(groups_folder):
    """The layers and the batch of process_groups.py."""
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        import process_groups
    finally:
        sys.path.pop(0)
    return process_groups


@pytest.fixture(params=[(w, n) for w in WORLDS for n in ("torch", "timm", "bare")], ids=str)
def pair(request, parts, groups_folder):
    """What the processes found, and what one layer says of the whole batch."""
    world, name = request.param
    files = [groups_folder / f"found_{world}_{rank}.pt" for rank in range(world)]
    found = [torch.load(path, weights_only=False)["norm_share"][name] for path in files]
    layer = parts.build_norms()[name]
    x, target = parts.draw_norm_batch(sum(parts.SHARES[:world]))
    out = layer(x.requires_grad_())
    (out * target).sum().backward()
    return found, {"out": out.detach(), "grad": x.grad, "state": layer.state_dict()}


@pytest.mark.parametrize("part", ["out", "grad"])
def test_shares_of_4_3_and_no_images_are_one_batch(pair, part):
    found, expected = pair
    joined = torch.cat([member[part] for member in found]).double()
    torch.testing.assert_close(joined, expected[part], rtol=0, atol=1e-5)


def test_running_statistics_and_names_are_those_of_one_process(pair):
    found, expected = pair
    for member in found:
        assert list(member["state"]) == list(expected["state"])
        for name, tensor in expected["state"].items():
            kept = member["state"][name]
            torch.testing.assert_close(kept.double(), tensor.double(), rtol=1e-6, atol=1e-6)
            assert torch.equal(kept, found[0]["state"][name])


def test_one_process_has_ordinary_batchnorm(accelerator):
    assert isinstance(batchnorm_over_processes(accelerator), nullcontext)
