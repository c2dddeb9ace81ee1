"""The share of a map's mass inside a reference mask of the finding.

For phantoms, whose masks are known by construction. Divided by the area of the mask, the share
is 1 for a uniform map and 0 if no mass is inside.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d


def dilate_masks(masks: Tensor, radius_px: int) -> Tensor:
    """Dilate each mask by a disc: add all pixels within a distance of it.

    Args:
        masks: shape (B, H, W), bool.
        radius_px: the distance, in pixels, 0 or more.

    Returns:
        The same shape and type.

    >>> int(dilate_masks(torch.eye(5, dtype=torch.bool)[None, :1], 1).sum())
    2
    """
    offsets = torch.arange(-radius_px, radius_px + 1)
    disc = offsets[:, None] ** 2 + offsets[None] ** 2 <= radius_px**2  # (2r + 1, 2r + 1)
    hits = conv2d(masks[:, None].float(), disc[None, None].float(), padding=radius_px)
    return hits[:, 0] > 0.5


def measure_mass_in_mask(maps: Tensor, masks: Tensor) -> tuple[float, float]:
    """Return the mean share of the maps' mass inside the masks, and that of uniform maps.

    Args:
        maps: shape (B, H, W), not negative. A map of zeros has no mass and counts as 0.
        masks: shape (B, H, W), bool, each with at least one pixel.

    Returns:
        (mean share inside, mean area of the masks), both in [0, 1]; their ratio is 1 for
        uniform maps.

    >>> measure_mass_in_mask(torch.eye(2)[None], torch.tensor([[[True, False], [False, False]]]))
    (0.5, 0.25)
    """
    mass = maps.sum(dim=(1, 2))
    inside = (maps * masks).sum(dim=(1, 2)) / mass.clamp_min(torch.finfo(maps.dtype).tiny)
    area = masks.float().mean(dim=(1, 2))
    return float(inside.mean()), float(area.mean())
