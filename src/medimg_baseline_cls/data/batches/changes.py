"""Apply drawn changes to a batch of images or volumes: pose, focus, exposure, grain, frame.

An image gets the same bits in any batch: nothing here is computed across images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_DARKEST = 1e-6  # the logarithm of black must stay finite
_GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 are spread evenly


@dataclass(frozen=True, slots=True)
class Changes:
    """What was drawn for each image of a batch; arrays have shape (B,) or (B, n)."""

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
    tone: NDArray[np.float64]  # slopes of the pieces of a tone curve, shape (B, n); all 1 leave it
    focus_width: NDArray[np.float64]  # standard deviation of a Gaussian, share of the image side
    focus: NDArray[np.float64]  # share of the blurred image; below 0 sharpens, 0 leaves it
    frame: NDArray[np.float64]  # share of the side covered at left, right, top, bottom; (B, 4)
    frame_level: NDArray[np.float64]  # gray level of what is covered
    depth: "DepthChanges | None" = None  # of volumes: what happens along their slices


@dataclass(frozen=True, slots=True)
class DepthChanges:
    """What was drawn for each volume of a batch besides; arrays have shape (B,).

    Angles are those in a volume whose depth is as long as its side.
    """

    nod: NDArray[np.float64]  # radians, about the axis from right to left
    sway: NDArray[np.float64]  # radians, about the axis from front to back
    shift: NDArray[np.float64]  # share of the depth, upward


def apply_changes(pixels: Tensor, changes: Changes, *, grain: Tensor) -> Tensor:
    """Apply drawn changes to a batch; pixels outside a moved image are black.

    Volumes are moved in three directions, and the grain of each slice is another one. Exposure,
    focus and frame are the same in all slices.

    Args:
        pixels: shape (B, C, S, S), float in [0, 1]; volumes (B, K, S, S) if `changes` has a depth.
        changes: what was drawn for each image.
        grain: a tile of noise of deviation 1, at least (S + 1, S + 1), on the same device.

    Returns:
        Pixels of the same shape, in [0, 1].
    """
    exposed = _move(pixels, changes) if changes.depth is None else _move_volumes(pixels, changes)
    # Half of the images get no blur and half no grain: work on the others only.
    soft = np.flatnonzero(changes.blur)
    if soft.size:
        exposed[soft] = _blur(exposed[soft], _per_image(changes.blur[soft], pixels))
    refocused = np.flatnonzero(changes.focus)
    if refocused.size:
        exposed[refocused] = _refocus(exposed[refocused], changes, images=refocused)
    exposed.clamp_min_(_DARKEST).log_().mul_(_per_image(changes.gamma, pixels)).exp_()
    exposed.mul_(_per_image(changes.contrast, pixels))
    exposed.add_(_per_image(changes.brightness + 0.5 * (1 - changes.contrast), pixels))
    bent = np.flatnonzero((changes.tone != 1).any(axis=1))
    if bent.size:
        exposed[bent] = _bend_tones(exposed[bent], changes.tone[bent])
    grainy = np.flatnonzero(changes.noise)
    if grainy.size:
        exposed[grainy] += _cut_grain(grain, changes, images=grainy, like=pixels)
    framed = np.flatnonzero(changes.frame.any(axis=1))
    if framed.size:
        exposed[framed] = _cover_frame(exposed[framed], changes, images=framed)
    return exposed.clamp_(0, 1)


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


def _move_volumes(pixels: Tensor, changes: Changes) -> Tensor:
    """Turn, zoom, shift and mirror each volume in three directions by one interpolation.

    The rotation in the plane of the slices comes last, so that without changes of depth each slice
    is where `_move` puts it.
    """
    depth = changes.depth
    assert depth is not None
    cos, sin = np.cos(changes.rotation), np.sin(changes.rotation)
    one, none = np.ones_like(cos), np.zeros_like(cos)
    in_plane = _stack_matrix([[cos, sin, none], [-sin, cos, none], [none, none, one]])
    cos, sin = np.cos(depth.nod), np.sin(depth.nod)
    nod = _stack_matrix([[one, none, none], [none, cos, -sin], [none, sin, cos]])
    cos, sin = np.cos(depth.sway), np.sin(depth.sway)
    sway = _stack_matrix([[cos, none, -sin], [none, one, none], [sin, none, cos]])
    turn = sway @ nod @ in_plane / changes.zoom[:, None, None]  # (B, 3, 3), of x, y and z
    turn[:, 0] *= np.where(changes.flip, -1.0, 1.0)[:, None]
    offset = -2 * np.stack([changes.shift_x, changes.shift_y, depth.shift], axis=1)
    slices, size = pixels.shape[1], pixels.shape[-1]
    z, xy = ((torch.arange(n, device=pixels.device) * 2 + 1) / n - 1 for n in (slices, size))
    slopes, starts = _to_tensor(turn, pixels), _to_tensor(offset, pixels)
    shape = len(pixels), slices, size, size, 3
    grid = torch.empty(shape, dtype=pixels.dtype, device=pixels.device)
    for axis in range(3):
        along_x, along_y, along_z = (
            slopes[:, axis, i, None] * c for i, c in enumerate((xy, xy, z))
        )
        plane = along_y[:, :, None] + along_x[:, None, :]  # (B, S, S)
        along_z = along_z + starts[:, axis, None]  # (B, K)
        torch.add(plane[:, None], along_z[:, :, None, None], out=grid[..., axis])
    moved = functional.grid_sample(pixels[:, None], grid, padding_mode="zeros", align_corners=False)
    return moved[:, 0]


def _stack_matrix(rows: list[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Return matrices (B, n, n) from their elements, each of shape (B,)."""
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def _blur(pixels: Tensor, share: Tensor) -> Tensor:
    """Mix each image with its 3 x 3 binomial blur."""
    padded = functional.pad(pixels, (1, 1, 1, 1), mode="replicate")
    rows = (padded[..., :-2, :] + padded[..., 2:, :]).mul_(0.5).add_(padded[..., 1:-1, :])
    both = (rows[..., :-2] + rows[..., 2:]).mul_(0.5).add_(rows[..., 1:-1])
    return both.mul_(share / 4).add_(pixels * (1 - share))


def _refocus(pixels: Tensor, changes: Changes, *, images: NDArray[np.intp]) -> Tensor:
    """Mix each image with its Gaussian blur: toward it, or away from it."""
    deviation = changes.focus_width[images] * pixels.shape[-1]  # pixels
    reach = np.ceil(2 * deviation)  # of an image's own: the width of no other changes its bits
    radius = int(reach.max())
    steps = np.arange(radius + 1)
    away = steps / np.maximum(deviation, 1e-3)[:, None]  # (n, radius + 1)
    kernel = np.exp(-0.5 * away**2) * (steps <= reach[:, None])
    kernel /= kernel[:, :1] + 2 * kernel[:, 1:].sum(axis=1, keepdims=True)
    blurred = pixels
    for axis in (2, 3):
        sides = (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius)
        padded = functional.pad(blurred, sides, mode="replicate")
        total = torch.zeros_like(pixels)
        for step in range(2 * radius + 1):
            window = padded.narrow(axis, step, pixels.shape[axis])
            total.addcmul_(window, _per_image(kernel[:, abs(step - radius)], pixels))
        blurred = total
    return pixels + (blurred - pixels) * _per_image(changes.focus[images], pixels)


def _bend_tones(pixels: Tensor, slopes: NDArray[np.float64]) -> Tensor:
    """Map gray levels by a monotone curve of straight pieces from (0, 0) to (1, 1)."""
    num_pieces = slopes.shape[1]
    heights = np.cumsum(slopes, axis=1) / slopes.sum(axis=1, keepdims=True)
    starts = _to_tensor(np.hstack([np.zeros((len(slopes), 1)), heights[:, :-1]]), pixels)
    rises = _to_tensor(slopes / slopes.sum(axis=1, keepdims=True), pixels)
    place = pixels.clamp(0, 1).flatten(1) * num_pieces  # (n, C * S * S)
    piece = place.long().clamp_(max=num_pieces - 1)
    bent = starts.gather(1, piece) + (place - piece) * rises.gather(1, piece)
    return bent.view_as(pixels)


def _cover_frame(pixels: Tensor, changes: Changes, *, images: NDArray[np.intp]) -> Tensor:
    """Cover the edges of each image by one gray level."""
    size = pixels.shape[-1]
    middle = (np.arange(size) + 0.5) / size  # (S,)
    left, right, top, bottom = (changes.frame[images, side, None] for side in range(4))
    is_open = ((middle > top) & (middle < 1 - bottom))[:, :, None]
    is_open = is_open & ((middle > left) & (middle < 1 - right))[:, None, :]  # (n, S, S)
    level = _per_image(changes.frame_level[images], pixels)
    return torch.where(torch.from_numpy(is_open).to(pixels.device)[:, None], pixels, level)


def _cut_grain(
    grain: Tensor, changes: Changes, *, images: NDArray[np.intp], like: Tensor
) -> Tensor:
    """Cut the grain of some images out of the tile, as strong as drawn; shape (n, 1, S, S).

    Each slice of a volume has its own, shape (n, K, S, S).
    """
    size, num_cuts = like.shape[-1], 1 if changes.depth is None else like.shape[1]
    room = len(grain) - size
    jumps = np.arange(num_cuts) * _GOLDEN
    top, left = (
        torch.from_numpy(((start[images, None] + jumps) % 1 * room).astype(np.int64))
        for start in (changes.grain_y, changes.grain_x)
    )
    windows = grain.unfold(0, size, 1).unfold(1, size, 1)  # a view of all crops
    cuts = windows[top.to(grain.device), left.to(grain.device)]
    return cuts.mul_(_per_image(changes.noise[images], like))


def _per_image(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return _to_tensor(values, like)[:, None, None, None]


def _to_tensor(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, like.dtype)
