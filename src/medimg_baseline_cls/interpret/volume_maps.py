"""The map of a volume, and how much each of its slices says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMap:
    """What a network says about a volume, place by place and slice by slice.

    Attributes:
        pixels: shape (K, S, S), in [0, 1].
        heats: of the same shape, in [0, 1]: 1 at the strongest evidence in the volume.
        curve: how much each slice says, shape (K,).
        measure: what `curve` is, in words.
    """

    pixels: NDArray[np.float32]
    heats: NDArray[np.float32]
    curve: NDArray[np.float32]
    measure: str

    @property
    def best(self) -> int:
        """Return the slice that says most; that in the middle of several."""
        return _find_middle(self.curve)

    @property
    def peak(self) -> tuple[int, int, int]:
        """Return where the evidence is strongest; the middle of the best slice if there is none."""
        if not self.heats.any():
            return self.best, self.heats.shape[1] // 2, self.heats.shape[2] // 2
        highest = _find_middle(self.heats.max(axis=(1, 2)))
        row, column = np.unravel_index(int(self.heats[highest].argmax()), self.heats.shape[1:])
        return highest, int(row), int(column)

    @property
    def view(self) -> str:
        """Return which slice is shown, in words, or that all say about as much."""
        place, mean = f"Slice {self.best + 1} of {len(self.curve)} from below", self.curve.mean()
        if self.curve.max() - mean <= _ALIKE * abs(mean):
            return f"{place}; all slices count alike"
        says = f", {self.measure} {self.curve[self.best]:.2f}"
        return place + says if self.measure == ATTENTION else place


ATTENTION = "attention"
_ALIKE = 0.05  # of the mean


def _find_middle(values: NDArray[np.float32]) -> int:
    """Return where values are highest; the middle one of such places."""
    places = np.flatnonzero(values == values.max())
    return int(places[len(places) // 2])


def spread_map(heat: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the map of a volume from one map for all of its slices: 1 in the slice that says most.

    Args:
        heat: shape (S, S), in [0, 1].
        weights: of the slices, shape (K,); below 0 is evidence against the class, and counts as 0.

    Returns:
        Shape (K, S, S); all 0 where no slice is evidence for the class.

    >>> spread_map(np.ones((1, 1), np.float32), np.array([-1, 2, 4], np.float32)).ravel()
    array([0. , 0.5, 1. ], dtype=float32)
    """
    shares = np.clip(weights, 0, None)
    top = shares.max()
    return (heat * (shares / top if top > 0 else shares)[:, None, None]).astype(np.float32)
