"""Random geometric and intensity augmentation of a batch: pose, exposure, grain, focus.

Works on whole batches on their device. `draw_changes` draws random numbers, `apply_changes` applies
them. The changes of an image depend on (seed, stage, epoch, row) alone, never on other images or a
global generator. Refuses unknown policies.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.utils.plugins import PREFIX, load_plugin
from medimg_baseline_cls.utils.seed import derive_key, generator, uniform_table

Augmenter = Callable[[Tensor, NDArray[np.int64], str, int], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The strength of each change; 0 disables it."""

    rotation: float = 0.0  # degrees, either way
    shift: float = 0.0  # share of the image side, either way
    zoom: float = 0.0  # 0.1: from 1/1.1 to 1.1 times
    brightness: float = 0.0  # added gray level, either way
    contrast: float = 0.0  # about mid-gray; 0.2: from 1/1.2 to 1.2 times
    gamma: float = 0.0  # 0.25: from 1/1.25 to 1.25
    noise: float = 0.0  # largest standard deviation; half of the images get none
    blur: float = 0.0  # largest share of a 3 x 3 binomial blur; half of the images get none
    flip: bool = False  # left and right, every other image


POLICIES: dict[str, Policy] = {
    "none": Policy(),
    "light": Policy(rotation=5, shift=0.03, zoom=0.05, brightness=0.05, contrast=0.10, gamma=0.10),
    "standard": Policy(
        rotation=10,
        shift=0.05,
        zoom=0.10,
        brightness=0.08,
        contrast=0.20,
        gamma=0.25,
        noise=0.025,
        blur=0.8,
    ),
}

_DARKEST = 1e-6  # the logarithm of black must stay finite
_COLUMNS = (
    "rotation", "shift_x", "shift_y", "zoom", "brightness", "contrast", "gamma",
    "noise", "grain_x", "grain_y", "blur", "flip",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Changes:
    """What was drawn for each image of a batch; every array has shape (B,)."""

    rotation: NDArray[np.float64]  # radians
    shift_x: NDArray[np.float64]  # share of the image side
    shift_y: NDArray[np.float64]
    zoom: NDArray[np.float64]  # 1 leaves the size
    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]  # 1 leaves it
    gamma: NDArray[np.float64]  # 1 leaves it
    noise: NDArray[np.float64]  # standard deviation
    grain_x: NDArray[np.float64]  # where in the tile of grain, in [0, 1)
    grain_y: NDArray[np.float64]
    blur: NDArray[np.float64]  # share of the blurred image
    flip: NDArray[np.bool_]


class RandomTransform(Protocol):
    """The part of a MONAI Compose (or any Randomizable transform) that is used here."""

    def __call__(self, data: Any) -> Any:
        """Return the transformed image."""
        ...

    def set_random_state(self, seed: int | None = None) -> Any:
        """Seed the transform and all of its parts."""
        ...


def make_augmenter(policy: str | Policy, *, horizontal_flip: bool, seed: int) -> Augmenter | None:
    """Build the augmentation of a named policy.

    Args:
        policy: "none", "light", "standard" or plugin:NAME of an installed package; or your own
            Policy.
        horizontal_flip: whether to flip every other image; avoid for chest radiographs, where it
            moves the heart to the right.
        seed: the run's seed.

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
        values = {name: getattr(policy, name) for name in Policy.__slots__}
        policy = Policy(**{**values, "flip": True})
    return None if policy == Policy() else _PolicyAugmenter(policy, seed)


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
    )


def apply_changes(pixels: Tensor, changes: Changes, *, grain: Tensor) -> Tensor:
    """Apply drawn changes to a batch; pixels outside a moved image are black.

    Only sums, products, logarithms and exponentials of single pixels: an image gets the
    same bits in any batch.

    Args:
        pixels: shape (B, C, S, S), float in [0, 1].
        changes: what was drawn for each image.
        grain: a tile of noise of deviation 1, at least (S + 1, S + 1), on the same device.

    Returns:
        Pixels of the same shape, in [0, 1].
    """
    exposed = _move(pixels, changes)
    # Half of the images get no blur and half no grain: work on the others only.
    soft = np.flatnonzero(changes.blur)
    if soft.size:
        exposed[soft] = _blur(exposed[soft], _per_image(changes.blur[soft], pixels))
    exposed.clamp_min_(_DARKEST).log_().mul_(_per_image(changes.gamma, pixels)).exp_()
    exposed.mul_(_per_image(changes.contrast, pixels))
    exposed.add_(_per_image(changes.brightness + 0.5 * (1 - changes.contrast), pixels))
    grainy = np.flatnonzero(changes.noise)
    if grainy.size:
        exposed[grainy] += _cut_grain(grain, changes, images=grainy, like=pixels)
    return exposed.clamp_(0, 1)


class _PolicyAugmenter:
    """Draws and applies one policy; keeps the tile of grain of each size and device."""

    def __init__(self, policy: Policy, seed: int) -> None:
        self._policy = policy
        self._seed = seed
        self._grain: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(self, pixels: Tensor, rows: NDArray[np.int64], stage: str, epoch: int) -> Tensor:
        changes = draw_changes(self._policy, rows, seed=self._seed, stage=stage, epoch=epoch)
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


def _move(pixels: Tensor, changes: Changes) -> Tensor:
    """Turn, zoom, shift and mirror each image by one interpolation."""
    cos, sin = np.cos(changes.rotation) / changes.zoom, np.sin(changes.rotation) / changes.zoom
    none = np.zeros_like(cos)
    mirror = np.where(changes.flip, -1.0, 1.0)
    size = pixels.shape[-1]
    axis = (torch.arange(size, device=pixels.device) * 2 + 1) / size - 1  # (S,)

    def along(slope: NDArray[np.float64], offset: NDArray[np.float64]) -> Tensor:
        moved_axis = _to_tensor(slope, pixels)[:, None] * axis
        return moved_axis + _to_tensor(offset, pixels)[:, None]

    # Grid coordinates run from -1 to 1: a shift by the whole side is 2.
    grid = torch.empty((len(pixels), size, size, 2), dtype=pixels.dtype, device=pixels.device)
    x, y = along(mirror * sin, -2 * changes.shift_x), along(cos, -2 * changes.shift_y)
    torch.add(x[:, :, None], along(mirror * cos, none)[:, None, :], out=grid[..., 0])
    torch.add(y[:, :, None], along(-sin, none)[:, None, :], out=grid[..., 1])
    return functional.grid_sample(pixels, grid, padding_mode="zeros", align_corners=False)


def _blur(pixels: Tensor, share: Tensor) -> Tensor:
    """Mix each image with its 3 x 3 binomial blur."""
    padded = functional.pad(pixels, (1, 1, 1, 1), mode="replicate")
    rows = (padded[..., :-2, :] + padded[..., 2:, :]).mul_(0.5).add_(padded[..., 1:-1, :])
    both = (rows[..., :-2] + rows[..., 2:]).mul_(0.5).add_(rows[..., 1:-1])
    return both.mul_(share / 4).add_(pixels * (1 - share))


def _cut_grain(
    grain: Tensor, changes: Changes, *, images: NDArray[np.intp], like: Tensor
) -> Tensor:
    """Cut the grain of some images out of the tile, as strong as drawn; shape (n, 1, S, S)."""
    size = like.shape[-1]
    room = len(grain) - size
    top = torch.from_numpy((changes.grain_y[images] * room).astype(np.int64)).to(grain.device)
    left = torch.from_numpy((changes.grain_x[images] * room).astype(np.int64)).to(grain.device)
    windows = grain.unfold(0, size, 1).unfold(1, size, 1)  # a view of all crops
    return windows[top, left][:, None].mul_(_per_image(changes.noise[images], like))


def _per_image(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return _to_tensor(values, like)[:, None, None, None]


def _to_tensor(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, like.dtype)
