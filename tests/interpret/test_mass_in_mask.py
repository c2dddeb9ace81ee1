"""The share of a map that lies in a mask: uniform maps as the unit, hand-counted shares."""

import torch
from scipy import ndimage

from medimg_baseline_cls.interpret.mass_in_mask import dilate_masks, measure_mass_in_mask


def random_masks(seed: int) -> torch.Tensor:
    return torch.rand(4, 24, 20, generator=torch.Generator().manual_seed(seed)) > 0.97


def test_dilation_equals_scipy() -> None:
    masks = random_masks(0)
    for radius in (0, 1, 3):
        distances = [ndimage.distance_transform_edt(~m.numpy()) for m in masks]
        expected = [d <= radius for d in distances]
        grown = dilate_masks(masks, radius)
        assert all((g.numpy() == e).all() for g, e in zip(grown, expected, strict=True))


def test_uniform_map_holds_the_area_of_the_mask() -> None:
    masks = random_masks(1)
    inside, area = measure_mass_in_mask(torch.full((4, 24, 20), 0.3), masks)
    assert abs(inside - area) < 1e-6
    assert abs(area - float(masks.float().mean())) < 1e-6


def test_map_inside_the_mask_holds_all_its_mass() -> None:
    masks = random_masks(2)
    inside, _ = measure_mass_in_mask(masks.float() * 0.7, masks)
    assert abs(inside - 1.0) < 1e-6


def test_empty_map_counts_as_nothing() -> None:
    masks = random_masks(3)
    maps = masks.float()
    maps[0] = 0.0
    inside, _ = measure_mass_in_mask(maps, masks)
    assert abs(inside - 0.75) < 1e-6
