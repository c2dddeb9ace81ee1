"""Over many epochs: every image its turn, every class its turn, no batch too small."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_baseline_cls.data.batches.loaders import ImageSet, Loader, to_unit_range


def make_set(labels: list[int]) -> ImageSet:
    rows = np.arange(len(labels), dtype=np.int64)
    pixels = np.zeros((len(labels), 1, 2, 2), np.uint8)
    return ImageSet(pixels, rows, rows, np.array(labels, dtype=np.int64))


def draw(loader: Loader, epoch: int, stage: str = "finetune") -> list[int]:
    return [int(row) for batch in loader.epoch(stage, epoch) for row in batch.rows]


@given(
    num_images=st.integers(1, 90),
    batch_size=st.integers(1, 40),
    world=st.integers(1, 4),
    sampling=st.sampled_from(["permute", "balanced"]),
    epoch=st.integers(0, 3),
)
@settings(deadline=None, max_examples=120)
def test_steps_are_the_same_in_every_process_and_none_is_starved(
    num_images: int, batch_size: int, world: int, sampling: str, epoch: int
) -> None:
    batch_size, num_images = max(batch_size, world), max(num_images, world)
    images = make_set([number % 3 for number in range(num_images)])
    loaders = [
        Loader(images, batch_size=batch_size, seed=1, sampling=sampling, shard=(rank, world))
        for rank in range(world)
    ]
    sizes = [[len(batch.rows) for batch in one.epoch("head", epoch)] for one in loaders]
    steps = [sum(step) for step in zip(*sizes, strict=True)]
    assert {len(one) for one in sizes} == {loaders[0].num_batches}
    assert sum(steps) == num_images
    assert all(size == batch_size for size in steps[:-1])
    assert steps[-1] < batch_size + 2 * world
    assert all(max(step) - min(step) <= 1 for step in zip(*sizes, strict=True))
    if num_images >= 2 * world and batch_size >= 2 * world:
        assert min(min(one) for one in sizes) >= 2  # BatchNorm cannot learn from one image


@given(st.lists(st.integers(1, 30), min_size=2, max_size=4), st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_balanced_classes_take_turns_so_that_none_is_ahead_for_long(
    sizes: list[int], seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    loader = Loader(make_set(labels.tolist()), batch_size=8, seed=seed, sampling="balanced")
    totals = np.zeros(len(sizes), int)
    for epoch in range(len(sizes)):
        totals += np.bincount(labels[draw(loader, epoch)], minlength=len(sizes))
    assert len(set(totals.tolist())) == 1  # after one round of epochs, to the image


def test_images_of_a_large_class_all_come_within_a_few_epochs() -> None:
    labels = [0] * 90 + [1] * 10
    loader = Loader(make_set(labels), batch_size=10, seed=0, sampling="balanced")
    seen: Counter[int] = Counter()
    for epoch in range(12):
        seen.update(row for row in draw(loader, epoch) if row < 90)
    assert len(seen) == 90
    # 50 of 90 each time: binomial, and no image is preferred.
    assert max(seen.values()) <= 12 and np.std(list(seen.values())) < 2.6


def test_permuted_epochs_are_independent_of_each_other_and_of_the_listing() -> None:
    loader = Loader(make_set([0, 1] * 60), batch_size=16, seed=0)
    orders = np.array([np.argsort(draw(loader, epoch)) for epoch in range(40)], float)
    places = np.vstack([orders, np.arange(120)])
    others = np.corrcoef(places)[~np.eye(41, dtype=bool)]
    assert abs(others.mean()) < 0.02 and abs(others).max() < 0.45
    assert others.std() < 1.3 / 120**0.5


def test_classes_are_mixed_within_a_balanced_epoch() -> None:
    loader = Loader(make_set([0] * 64 + [1] * 64), batch_size=16, seed=3, sampling="balanced")
    shares = [batch.labels.float().mean().item() for batch in loader.epoch("finetune", 0)]
    assert min(shares) > 0.1 and max(shares) < 0.9


def test_the_same_image_at_several_rows_is_served_at_each() -> None:
    # Byte-identical files share a row of the array.
    pixels = np.array([7, 9], np.uint8).reshape(2, 1, 1, 1)
    rows = np.arange(3, dtype=np.int64)
    images = ImageSet(pixels, np.array([1, 1, 0]), rows + 40, np.array([0, 1, 1]))
    (batch,) = Loader(images, batch_size=4, seed=0).ordered()
    assert batch.pixels.flatten().tolist() == [9, 9, 7]
    assert batch.rows.tolist() == [40, 41, 42] and batch.labels.tolist() == [0, 1, 1]


def test_batches_are_contiguous_even_from_a_strided_array() -> None:
    stored = np.asfortranarray(np.arange(4 * 3 * 5 * 5, dtype=np.uint8).reshape(4, 3, 5, 5))
    rows = np.arange(4, dtype=np.int64)
    (batch,) = Loader(ImageSet(stored, rows, rows, rows), batch_size=4, seed=0).ordered()
    assert batch.pixels.is_contiguous()
    assert torch.equal(batch.pixels, torch.from_numpy(np.ascontiguousarray(stored)))


def test_the_unit_range_of_both_depths_is_the_same_film() -> None:
    shallow = torch.arange(256, dtype=torch.uint8)
    deep = shallow.to(torch.int32) * 257
    assert torch.allclose(to_unit_range(shallow, "cpu"), to_unit_range(deep, "cpu"), atol=6e-8)
    kept = deep.clone()
    to_unit_range(deep, "cpu")
    assert torch.equal(deep, kept)  # in place on a copy only
