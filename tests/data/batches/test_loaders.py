"""Loaders: each image exactly once, the same order for the same seed, whatever the processes."""

import numpy as np
import pytest
import torch

from medimg_baseline_cls.data.batches.loaders import Batch, ImageSet, Loader, to_unit_range
from medimg_baseline_cls.errors import DataError


def make_set(num_images: int, *, num_classes: int = 2, dtype: type = np.uint8) -> ImageSet:
    rng = np.random.default_rng(num_images)
    pixels = np.zeros((num_images + 3, 1, 4, 4), dtype=dtype)
    cache_rows = rng.permutation(num_images + 3)[:num_images]
    rows = np.arange(num_images) * 2 + 7
    labels = rng.integers(0, num_classes, num_images)
    labels[:num_classes] = np.arange(num_classes)
    pixels[cache_rows, 0] = (np.arange(num_images) + 1)[:, None, None]
    return ImageSet(pixels, cache_rows, rows, labels)


def epoch_rows(loader: Loader, stage: str = "finetune", epoch: int = 0) -> list[list[int]]:
    return [batch.rows.tolist() for batch in loader.epoch(stage, epoch)]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize("num_images", [1, 2, 7, 8, 9, 33])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_an_epoch_holds_every_image_once(num_images: int, batch_size: int) -> None:
    images = make_set(num_images, num_classes=1)
    loader = Loader(images, batch_size=batch_size, seed=3)
    batches = epoch_rows(loader)
    assert sorted(flat(batches)) == images.rows.tolist()
    assert len(batches) == loader.num_batches


def test_pixels_labels_and_rows_belong_together() -> None:
    images = make_set(11)
    loader = Loader(images, batch_size=4, seed=0)
    for batch in [*loader.epoch("head", 2), *loader.ordered()]:
        position = (batch.rows - 7) // 2
        assert torch.equal(batch.labels, torch.from_numpy(images.labels[position]))
        expected = torch.from_numpy(position + 1).to(torch.uint8)
        assert torch.equal(batch.pixels, expected[:, None, None, None].expand(-1, 1, 4, 4))


def test_a_last_batch_of_one_image_joins_the_one_before() -> None:
    sizes = [len(rows) for rows in epoch_rows(Loader(make_set(9), batch_size=4, seed=0))]
    assert sizes == [4, 5]


def test_one_image_alone_is_still_trained_on() -> None:
    loader = Loader(make_set(1, num_classes=1), batch_size=4, seed=0)
    assert [len(rows) for rows in epoch_rows(loader)] == [1]


def test_order_is_a_function_of_seed_stage_and_epoch() -> None:
    images = make_set(40)
    base = epoch_rows(Loader(images, batch_size=8, seed=1))
    again = Loader(images, batch_size=8, seed=1)
    assert epoch_rows(again, epoch=5) != base
    assert epoch_rows(again) == base
    assert epoch_rows(again, stage="head") != base
    assert epoch_rows(Loader(images, batch_size=8, seed=2)) != base


def test_drawing_leaves_the_global_generators_alone() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    before = (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    list(Loader(make_set(9), batch_size=4, seed=0, sampling="balanced").epoch("head", 0))
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("num_images", [13, 17, 24])
@pytest.mark.parametrize("sampling", ["permute", "balanced"])
def test_processes_share_the_batches_of_one(num_images: int, world: int, sampling: str) -> None:
    images = make_set(num_images)
    options = {"batch_size": 8, "seed": 4, "sampling": sampling}
    ranks = [epoch_rows(Loader(images, shard=(rank, world), **options)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    together = [row for step in zip(*ranks, strict=True) for rows in step for row in rows]
    alone = epoch_rows(Loader(images, **options))
    assert sorted(together) == sorted(flat(alone))
    assert min(len(rows) for batches in ranks for rows in batches) >= 2


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("num_images", [3, 10, 13])
def test_ordered_shards_hold_every_image_exactly_once(num_images: int, world: int) -> None:
    images = make_set(num_images)
    rows: list[int] = []
    for rank in range(world):
        loader = Loader(images, batch_size=4, seed=0, shard=(rank, world))
        rows += [row for batch in loader.ordered() for row in batch.rows.tolist()]
    assert sorted(rows) == images.rows.tolist()
    if world == 1:
        assert rows == images.rows.tolist()


@pytest.mark.parametrize("num_classes", [2, 3])
def test_balanced_sampling_draws_each_class_equally_and_no_image_early(num_classes: int) -> None:
    labels = np.array([0] * 30 + [1] * 7 + [2] * 4 * (num_classes - 2))
    rows = np.arange(len(labels))
    images = ImageSet(np.zeros((len(labels), 1, 2, 2), np.uint8), rows, rows, labels)
    loader = Loader(images, batch_size=8, seed=0, sampling="balanced")
    drawn = np.array(flat(epoch_rows(loader)))
    assert len(drawn) == len(labels)
    per_class = np.bincount(labels[drawn])
    assert per_class.max() - per_class.min() <= 1
    for label in range(num_classes):
        times = np.bincount(drawn[labels[drawn] == label], minlength=len(labels))
        times = times[labels == label]
        assert times.max() - times.min() <= 1


def test_sixteen_bit_pixels_become_int32_and_keep_their_values() -> None:
    pixels = np.array([0, 1, 40000, 65535], dtype=np.uint16).reshape(4, 1, 1, 1)
    rows = np.arange(4)
    loader = Loader(ImageSet(pixels, rows, rows, np.zeros(4, np.int64)), batch_size=4, seed=0)
    batch = next(loader.ordered())
    assert isinstance(batch, Batch)
    assert batch.pixels.dtype == torch.int32
    assert batch.pixels.flatten().tolist() == [0, 1, 40000, 65535]
    assert to_unit_range(batch.pixels, "cpu").flatten()[-1] == 1.0


def test_a_memory_map_serves_as_pixels(tmp_path) -> None:
    stored = np.arange(2 * 4, dtype=np.uint8).reshape(2, 1, 2, 2)
    np.save(tmp_path / "pixels.npy", stored)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    images = ImageSet(mapped, np.array([1, 0]), np.array([0, 1]), np.array([0, 1]))
    batch = next(Loader(images, batch_size=2, seed=0).ordered())
    batch.pixels.add_(1)  # a copy: the stored array stays as it was
    assert np.array_equal(np.load(tmp_path / "pixels.npy"), stored)


def test_unit_range_covers_zero_to_one_exactly() -> None:
    values = to_unit_range(torch.arange(256, dtype=torch.uint8), "cpu")
    assert values.dtype == torch.float32
    assert torch.equal(values, torch.arange(256) / 255)


def test_unit_range_refuses_other_types() -> None:
    with pytest.raises(DataError, match="float32"):
        to_unit_range(torch.zeros(1), "cpu")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampling": "weighted"}, "permute"),
        ({"shard": (2, 2)}, "rank"),
        ({"batch_size": 1, "shard": (0, 2)}, "processes"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Loader(make_set(8), **{"batch_size": 4, "seed": 0, **options})


def test_an_empty_split_is_refused() -> None:
    empty = np.zeros(0, np.int64)
    images = ImageSet(np.zeros((1, 1, 2, 2), np.uint8), empty, empty, empty)
    with pytest.raises(DataError, match="no images"):
        Loader(images, batch_size=4, seed=0)


def test_parts_of_different_length_or_type_are_refused() -> None:
    rows = np.arange(2)
    with pytest.raises(DataError, match="one cache row"):
        ImageSet(np.zeros((2, 1, 2, 2), np.uint8), rows, rows, np.arange(3))
    with pytest.raises(DataError, match="uint8 or uint16"):
        ImageSet(np.zeros((2, 1, 2, 2), np.float32), rows, rows, rows)


def make_findings(num_images: int) -> ImageSet:
    images = make_set(num_images)
    labels = np.random.default_rng(2).integers(-1, 2, (num_images, 3))
    return ImageSet(images.pixels, images.cache_rows, images.rows, labels)


def test_several_findings_per_image_stay_with_their_image() -> None:
    images = make_findings(11)
    found = {
        row: label
        for batch in Loader(images, batch_size=4, seed=1).epoch("finetune", 1)
        for row, label in zip(batch.rows.tolist(), batch.labels.tolist(), strict=True)
    }
    assert found == dict(zip(images.rows.tolist(), images.labels.tolist(), strict=True))


def test_findings_cannot_be_balanced() -> None:
    with pytest.raises(DataError, match="several findings"):
        Loader(make_findings(11), batch_size=4, seed=1, sampling="balanced")
