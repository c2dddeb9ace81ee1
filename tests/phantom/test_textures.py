"""Textures: noise of the stated spectrum, vessels that branch from the hilum, no user's seed."""

import numpy as np
import pytest

from medimg_baseline_cls.phantom.textures import (
    HILUM,
    NUM_TREES,
    TREE_HEIGHT,
    TREE_TOP,
    TREE_WIDTH,
    load_textures,
)

SIZE = 96


def trees(size: int = SIZE) -> np.ndarray:
    textures = load_textures(size)
    return textures.trees.reshape(NUM_TREES, *textures.tree_shape)


def correlation(texture: np.ndarray, down: int, right: int) -> float:
    """The correlation of a periodic texture with itself, moved."""
    moved = np.roll(texture, (down, right), (0, 1))
    return float(np.corrcoef(texture.ravel(), moved.ravel())[0, 1])


@pytest.mark.parametrize("size", [32, 33, SIZE])
def test_textures_have_their_stated_shapes_and_ranges(size: int) -> None:
    textures = load_textures(size)
    for noise in (textures.mottle, textures.grain, textures.mesh):
        assert noise.shape == (2 * size, 2 * size) and noise.dtype == np.float32
    rows, columns = textures.tree_shape
    assert abs(rows - TREE_HEIGHT * size) <= 0.5 and abs(columns - TREE_WIDTH * size) <= 0.5
    assert textures.trees.shape == (NUM_TREES * rows * columns,)
    for share in (textures.mesh, textures.trees):
        assert share.min() >= 0 and share.max() <= 1
    for noise in (textures.mottle, textures.grain):
        assert noise.std() == pytest.approx(1, abs=1e-3)
        assert abs(noise.mean()) < 4 / len(noise)  # the error of so many independent pixels


def test_textures_are_built_once_and_owe_nothing_to_global_generators() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()
    first = load_textures(40)
    assert load_textures(40) is first
    load_textures.cache_clear()
    np.random.seed(6)
    again = load_textures(40)
    assert again is not first
    for name in ("trees", "mottle", "mesh", "grain"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    np.random.seed(5)
    assert np.random.get_state()[1].tolist() == before


def test_grain_is_correlated_with_its_neighbors_as_a_detector_is() -> None:
    # g + 0.35 (g from the left + g from above): by hand, lag one is 0.35 / (1 + 2 * 0.35**2),
    # the diagonal through both neighbors 0.35**2 / (1 + 2 * 0.35**2), and no other.
    grain = load_textures(SIZE).grain
    variance = 1 + 2 * 0.35**2
    assert correlation(grain, 1, 0) == pytest.approx(0.35 / variance, abs=0.02)
    assert correlation(grain, 0, 1) == pytest.approx(0.35 / variance, abs=0.02)
    assert correlation(grain, 1, -1) == pytest.approx(0.35**2 / variance, abs=0.02)
    for down, right in ((1, 1), (2, 0), (0, 2), (5, 3)):
        assert abs(correlation(grain, down, right)) < 0.02


def test_mottle_is_a_smooth_band_of_wavelengths_that_tiles() -> None:
    mottle = load_textures(SIZE).mottle.astype(float)
    power = np.abs(np.fft.fft2(mottle)) ** 2
    side = np.fft.fftfreq(2 * SIZE) * SIZE  # cycles per image width
    frequency = np.hypot(side[:, None], side[None, :])
    assert power[frequency > 3 / 0.035].sum() < 1e-3 * power.sum()
    assert power[frequency == 0] < 1e-6 * power.sum()
    assert power[(frequency > 1 / 0.4) & (frequency < 1 / 0.035)].sum() > 0.6 * power.sum()
    # Periodic: the step across the seam is like any other step.
    seam = np.abs(mottle[0] - mottle[-1]).mean()
    assert seam == pytest.approx(np.abs(np.diff(mottle, axis=0)).mean(), rel=0.35)


def test_mottle_has_the_same_features_at_any_size() -> None:
    # Correlation at a distance of a twentieth of the image, whatever the pixels.
    near = [correlation(load_textures(size).mottle, size // 20, 0) for size in (80, 160)]
    assert near[0] == pytest.approx(near[1], abs=0.08) and near[0] > 0.3


def test_mesh_is_finer_than_mottle_and_mostly_lines() -> None:
    textures = load_textures(SIZE)
    step = SIZE // 24
    assert correlation(textures.mesh, step, 0) < correlation(textures.mottle, step, 0) - 0.3
    # exp(-(z / 0.7)**2) of a normal z has the mean 1 / sqrt(1 + 2 / 0.49).
    assert textures.mesh.mean() == pytest.approx((1 + 2 / 0.49) ** -0.5, abs=0.03)


def test_every_tree_is_another_and_starts_at_the_hilum() -> None:
    drawn = trees()
    flat = drawn.reshape(NUM_TREES, -1)
    assert len({tree.tobytes() for tree in drawn}) == NUM_TREES
    assert np.corrcoef(flat)[~np.eye(NUM_TREES, dtype=bool)].max() < 0.9
    rows, columns = np.mgrid[0 : drawn.shape[1], 0 : drawn.shape[2]]
    x, y = (columns + 0.5) / SIZE, (rows + 0.5) / SIZE + TREE_TOP
    distance = np.hypot(x - HILUM[0], y - HILUM[1])
    rings = [drawn[:, (distance > low) & (distance <= low + 0.08)].mean() for low in (0, 0.1, 0.2)]
    assert rings[0] > rings[1] > rings[2] > 0
    for tree in drawn:  # vessels reach up, down and to the side
        assert (tree[y < 0.25] > 0.1).any() and (tree[y > 0.60] > 0.1).any()
        assert (tree[x > 0.30] > 0.1).any()


def test_a_tree_is_the_same_at_any_size() -> None:
    small, large = trees(48), trees(192)
    rows, columns = small.shape[1:]
    for one, other in zip(small, large, strict=True):
        blocks = other[: 4 * rows, : 4 * columns].reshape(rows, 4, -1, 4).mean(axis=(1, 3))
        assert np.corrcoef(one.ravel(), blocks[:, :columns].ravel())[0, 1] > 0.75
