"""Random geometric and intensity augmentation of a batch: pose, exposure, grain, focus.

Works on whole batches on their device. `draw_changes` draws random numbers, `apply_changes` applies
them. The changes of an image depend on (seed, stage, epoch, row) alone, never on other images or a
global generator. Refuses unknown policies.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medimg_baseline_cls.data.batches.changes import Changes, DepthChanges, apply_changes
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.utils.plugins import PREFIX, load_plugin
from medimg_baseline_cls.utils.seed import derive_key, generator, uniform_table

Draws = NDArray[np.float64]
Augmenter = Callable[[Tensor, NDArray[np.int64], str, int], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The strength of each change; 0 disables it."""

    rotation: float = 0.0  # degrees, either way; with depth about three axes
    shift: float = 0.0  # share of the image side, either way; with depth also of it
    zoom: float = 0.0  # 0.1: from 1/1.1 to 1.1 times
    brightness: float = 0.0  # added gray level, either way
    contrast: float = 0.0  # about mid-gray; 0.2: from 1/1.2 to 1.2 times
    gamma: float = 0.0  # 0.25: from 1/1.25 to 1.25
    noise: float = 0.0  # largest standard deviation; half of the images get none
    blur: float = 0.0  # largest share of a 3 x 3 binomial blur; half of the images get none
    flip: bool = False  # left and right, every other image
    tone: float = 0.0  # of a random tone curve; 1: slopes from 1/2 to 2 before scaling
    defocus: float = 0.0  # largest standard deviation of a blur, share of the image side
    sharpen: float = 0.0  # largest share of that blur that is taken away instead
    frame: float = 0.0  # largest share of the side covered at each edge
    often: float = 0.5  # share of the images with a tone curve, with another focus, with a frame


_STANDARD = Policy(
    rotation=10,
    shift=0.05,
    zoom=0.10,
    brightness=0.08,
    contrast=0.20,
    gamma=0.25,
    noise=0.025,
    blur=0.8,
)
POLICIES: dict[str, Policy] = {
    "none": Policy(),
    "light": Policy(rotation=5, shift=0.03, zoom=0.05, brightness=0.05, contrast=0.10, gamma=0.10),
    "standard": _STANDARD,
    "acquisition": replace(
        _STANDARD, noise=0.05, tone=1.0, defocus=0.01, sharpen=0.5, frame=0.125, often=0.25
    ),
}
_NUM_PIECES = 6  # of a tone curve

_COLUMNS = (
    "rotation", "shift_x", "shift_y", "zoom", "brightness", "contrast", "gamma",
    "noise", "grain_x", "grain_y", "blur", "flip",
    *(f"tone_{i}" for i in range(_NUM_PIECES)), "has_tone",
    "has_focus", "focus", "focus_width",
    "has_frame", "left", "right", "top", "bottom", "frame_level",
)  # fmt: skip


class RandomTransform(Protocol):
    """The part of a MONAI Compose (or any Randomizable transform) that is used here."""

    def __call__(self, data: Any) -> Any:
        """Return the transformed image."""
        ...

    def set_random_state(self, seed: int | None = None) -> Any:
        """Seed the transform and all of its parts."""
        ...


def make_augmenter(
    policy: str | Policy, *, horizontal_flip: bool, seed: int, moves_depth: bool = False
) -> Augmenter | None:
    """Build the augmentation of a named policy.

    Args:
        policy: "none", "light", "standard" or plugin:NAME of an installed package; or your own
            Policy.
        horizontal_flip: whether to flip every other image; avoid for chest radiographs, where it
            moves the heart to the right.
        seed: the run's seed.
        moves_depth: whether pixels are volumes (B, K, S, S) to be moved in three directions, each
            slice with grain of its own; else all channels change alike.

    Returns:
        A function of (pixels in [0, 1] (B, C, S, S), rows, stage, epoch) that returns
        pixels of the same shape in [0, 1]; None if nothing would change.

    Raises:
        ConfigError: when the policy is unknown.
    """
    if isinstance(policy, str) and policy.startswith(PREFIX):
        policy = load_plugin("augmentations", policy, expected=Policy)
    elif isinstance(policy, str):
        if policy not in POLICIES:
            raise ConfigError(f"augment is {policy!r}; choose one of {', '.join(POLICIES)}.")
        policy = POLICIES[policy]
    if horizontal_flip:
        policy = replace(policy, flip=True)
    return None if policy == Policy() else _PolicyAugmenter(policy, seed, moves_depth=moves_depth)


def from_compose(compose: RandomTransform, *, seed: int) -> Augmenter:
    """Wrap a MONAI Compose that maps one (C, S, S) image in [0, 1] to another.

    The object is copied, not modified. It runs image by image, slower than a Policy.

    Args:
        compose: a Compose or another transform with `set_random_state`.
        seed: the run's seed.

    Returns:
        An augmenter; it raises DataError when the transform changes an image's shape.
    """
    return _ComposeAugmenter(copy.deepcopy(compose), seed)


def draw_changes(
    policy: Policy, rows: NDArray[np.int64], *, seed: int, stage: str, epoch: int
) -> Changes:
    """Draw what happens to each image, a function of (seed, stage, epoch, row) alone.

    >>> changes = draw_changes(POLICIES["light"], np.arange(3), seed=0, stage="head", epoch=1)
    >>> bool((abs(changes.rotation) <= math.radians(5)).all())
    True
    """
    key = derive_key(seed, "augment", stage, epoch)
    table = uniform_table(key, rows, count=len(_COLUMNS))  # (B, columns)
    draw = {name: table[:, column] for column, name in enumerate(_COLUMNS)}
    either_way = {name: 2 * values - 1 for name, values in draw.items()}
    return Changes(
        rotation=math.radians(policy.rotation) * either_way["rotation"],
        shift_x=policy.shift * either_way["shift_x"],
        shift_y=policy.shift * either_way["shift_y"],
        zoom=(1 + policy.zoom) ** either_way["zoom"],
        brightness=policy.brightness * either_way["brightness"],
        contrast=(1 + policy.contrast) ** either_way["contrast"],
        gamma=(1 + policy.gamma) ** either_way["gamma"],
        noise=policy.noise * np.maximum(either_way["noise"], 0),
        grain_x=draw["grain_x"],
        grain_y=draw["grain_y"],
        blur=policy.blur * np.maximum(either_way["blur"], 0),
        flip=policy.flip & (draw["flip"] < 0.5),
        **_draw_acquisition(policy, draw),
    )


def _draw_acquisition(policy: Policy, draw: Mapping[str, Draws]) -> dict[str, Any]:
    """Draw what another device or archive does."""
    slopes = np.stack([draw[f"tone_{i}"] for i in range(_NUM_PIECES)], axis=1)
    has_tone = draw["has_tone"][:, None] < policy.often
    focus = np.where(
        draw["focus"] < 0.5, 2 * draw["focus"], -policy.sharpen * (2 * draw["focus"] - 1)
    )
    sides = np.stack([draw[side] for side in ("left", "right", "top", "bottom")], axis=1)
    return {
        "tone": (1 + policy.tone) ** ((2 * slopes - 1) * has_tone),
        "focus_width": policy.defocus * draw["focus_width"],
        "focus": focus * ((draw["has_focus"] < policy.often) & (policy.defocus > 0)),
        "frame": policy.frame * sides * (draw["has_frame"][:, None] < policy.often),
        "frame_level": np.maximum(2 * draw["frame_level"] - 1, 0),
    }


def draw_depth_changes(
    policy: Policy, rows: NDArray[np.int64], *, seed: int, stage: str, epoch: int
) -> DepthChanges:
    """Draw what happens to each volume along its slices, as `draw_changes` does."""
    table = uniform_table(derive_key(seed, "augment depth", stage, epoch), rows, count=3)
    nod, sway, shift = (2 * table - 1).T
    turn = math.radians(policy.rotation)
    return DepthChanges(nod=turn * nod, sway=turn * sway, shift=policy.shift * shift)


class _PolicyAugmenter:
    """Draws and applies one policy; keeps the tile of grain of each size and device."""

    def __init__(self, policy: Policy, seed: int, *, moves_depth: bool) -> None:
        self._policy, self._seed, self._moves_depth = policy, seed, moves_depth
        self._grain: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(self, pixels: Tensor, rows: NDArray[np.int64], stage: str, epoch: int) -> Tensor:
        drawn: dict[str, Any] = {"seed": self._seed, "stage": stage, "epoch": epoch}
        changes = draw_changes(self._policy, rows, **drawn)
        if self._moves_depth:
            changes = replace(changes, depth=draw_depth_changes(self._policy, rows, **drawn))
        return apply_changes(pixels, changes, grain=self._load_grain(pixels))

    def _load_grain(self, pixels: Tensor) -> Tensor:
        side, device = 2 * pixels.shape[-1], pixels.device
        if (side, device) not in self._grain:
            drawn = generator(self._seed, "augment", "grain").standard_normal((side, side))
            self._grain[side, device] = torch.from_numpy(drawn).to(device, torch.float32)
        return self._grain[side, device]


class _ComposeAugmenter:
    """Applies a random transform image by image, with a new seed for each."""

    def __init__(self, transform: RandomTransform, seed: int) -> None:
        self._transform = transform
        self._seed = seed

    def __call__(self, pixels: Tensor, rows: NDArray[np.int64], stage: str, epoch: int) -> Tensor:
        images: list[Tensor] = []
        for image, row in zip(pixels, rows.tolist(), strict=True):
            key = derive_key(self._seed, "augment", stage, epoch, row)
            self._transform.set_random_state(seed=key % 2**32)
            result = torch.as_tensor(self._transform(image.clone())).as_subclass(torch.Tensor)
            if result.shape != image.shape:
                raise DataError(
                    f"The given transforms turn an image of {tuple(image.shape)} into "
                    f"{tuple(result.shape)}; an augmentation must keep the shape."
                )
            images.append(result.to(pixels.device, pixels.dtype))
        return torch.stack(images).clamp_(0, 1)
