"""The fixed changes of validation images: what they are, and that nothing else has an effect."""

import numpy as np
import pytest
import torch

from medimg_baseline_cls.data.batches.stress import STRESSES, make_stresses

CHANGES = dict(zip(STRESSES, make_stresses(), strict=True))


def make_pixels(count: int = 5, size: int = 40) -> torch.Tensor:
    drawn = np.random.default_rng(3).uniform(0.1, 0.9, (count, 1, size, size))
    return torch.from_numpy(drawn).float()


@pytest.mark.parametrize("name", STRESSES)
def test_an_image_gets_the_same_bits_alone_and_again(name: str) -> None:
    pixels = make_pixels()
    before = pixels.clone()
    found = CHANGES[name](pixels)
    assert torch.equal(pixels, before) and found.shape == pixels.shape
    assert found.min() >= 0 and found.max() <= 1 and not torch.equal(found, pixels)
    assert torch.equal(CHANGES[name](pixels[2:3]), found[2:3])


def test_the_changes_are_what_their_names_say() -> None:
    pixels = make_pixels()
    plain = pixels.numpy()
    assert CHANGES["brighter"](pixels).numpy() == pytest.approx(plain**0.6, abs=1e-5)
    assert CHANGES["darker"](pixels).numpy() == pytest.approx(plain**1.6, abs=1e-5)
    flat = 0.5 + 0.6 * (plain - 0.5)
    assert CHANGES["low contrast"](pixels).numpy() == pytest.approx(flat, abs=1e-5)
    covered = CHANGES["covered frame"](pixels).numpy()
    assert (covered[..., :5, :] == 0).all() and (covered[..., -5:] == 0).all()
    assert covered[..., 5:-5, 5:-5] == pytest.approx(plain[..., 5:-5, 5:-5], abs=1e-5)
    noise = CHANGES["noisy"](torch.full((1, 1, 100, 100), 0.5)) - 0.5
    assert noise.std().item() == pytest.approx(0.05, rel=0.05)
    blurred = CHANGES["blurred"](make_pixels(1, 200)).numpy()
    assert blurred.std() < 0.3 * make_pixels(1, 200).numpy().std()  # two pixels wide
