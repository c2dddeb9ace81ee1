"""Copies are found however they were made, phantoms are not taken for each other."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from medimg_baseline_cls.audit.check_results import Check
from medimg_baseline_cls.audit.duplicates import (
    MAX_DISTANCE,
    check_duplicates,
    find_near_pairs,
    hamming_distances,
)
from medimg_baseline_cls.audit.images import AuditImages
from medimg_baseline_cls.audit.pixel_measures import measure_pixels
from medimg_baseline_cls.phantom.image_folder import make_phantom
from medimg_baseline_cls.schema import ImageRecord

ImagesMaker = Callable[..., AuditImages]
RecordMaker = Callable[..., ImageRecord]
SIDE = 64


def phantom(index: int, *, size: int = SIDE) -> NDArray[np.uint8]:
    return make_phantom(5, index, is_positive=index % 2 == 0, image_size=size).pixels


def compress(pixels: NDArray[np.uint8], quality: int = 40) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def scale(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    small = Image.fromarray(pixels).resize((side, side + 6), Image.Resampling.LANCZOS)
    return np.asarray(small.resize(pixels.shape[::-1], Image.Resampling.BILINEAR))


def check(images: AuditImages) -> Check:
    return check_duplicates(images, measure_pixels(images.pixels))


def verdicts(found: Check) -> dict[str, tuple[str, int]]:
    return {finding.name: (finding.verdict, finding.count) for finding in found.findings}


@pytest.fixture(scope="module")
def thousand() -> NDArray[np.uint8]:
    """1,000 different phantoms, half of them ill."""
    return np.stack([phantom(i)[None] for i in range(1000)])


def test_of_1000_phantoms_none_is_taken_for_another(
    make_images: ImagesMaker, thousand: NDArray[np.uint8]
) -> None:
    records = [f"{'train' if i % 3 else 'test'}/{'AB'[i % 2]}/p{i}_1.png" for i in range(1000)]
    found = check(make_images(records, pixels=thousand))
    assert found.findings == ()
    assert found.summary.startswith("1000 images")


def test_hamming_distance_counts_different_bits() -> None:
    rng = np.random.default_rng(3)
    one, other = (rng.integers(0, 2**63, (n, 4)).astype(np.uint64) for n in (7, 11))
    bits = [np.unpackbits(h.view(np.uint8), axis=1) for h in (one, other)]
    expected = (bits[0][:, None] != bits[1][None]).sum(axis=2)
    np.testing.assert_array_equal(hamming_distances(one, other), expected)


def test_pairs_are_those_of_a_plain_double_loop() -> None:
    pixels = np.stack([phantom(i)[None] for i in range(30)])
    copies = np.stack([compress(image[0])[None] for image in pixels[:10]])
    measures = measure_pixels(np.concatenate([pixels, copies]))
    rows = np.arange(40)
    small = measures.small.reshape(40, -1).astype(float)
    expected = [
        (a, b)
        for a in range(40)
        for b in range(a + 1, 40)
        if hamming_distances(measures.hashes[[a]], measures.hashes[[b]])[0, 0] <= MAX_DISTANCE
        and np.corrcoef(small[a], small[b])[0, 1] >= 0.99
    ]
    found = find_near_pairs(measures, rows)
    assert sorted(map(tuple, found.tolist())) == expected
    assert expected == [(i, 30 + i) for i in range(10)]


def test_blocks_do_not_change_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.stack([phantom(i % 12)[None] for i in range(30)])
    measures = measure_pixels(pixels)
    whole = find_near_pairs(measures, np.arange(30))
    monkeypatch.setattr("medimg_baseline_cls.audit.duplicates._BLOCK", 7)
    monkeypatch.setattr("medimg_baseline_cls.audit.duplicates._PAIRS_AT_ONCE", 3)
    parts = find_near_pairs(measures, np.arange(30))
    assert sorted(map(tuple, parts.tolist())) == sorted(map(tuple, whole.tolist()))
    assert len(whole) == sum(i % 12 == j % 12 for i in range(30) for j in range(i))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(compress, id="compressed"),
        pytest.param(lambda p: scale(p, 40), id="scaled"),
        pytest.param(lambda p: np.clip(p * 0.9 + 12, 0, 255).astype(np.uint8), id="brighter"),
    ],
)
def test_changed_copy_across_the_split_is_an_error(
    make_images: ImagesMaker, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    films = [phantom(i) for i in range(6)]
    pixels = np.stack([image[None] for image in [*films, change(films[2])]])
    records = [f"train/A/p{i}_1.png" for i in range(6)] + ["test/A/other_1.png"]
    found = check(make_images(records, pixels=pixels))
    assert verdicts(found) == {"near_across_splits": ("error", 1)}
    assert set(found.findings[0].examples[0].paths) == {"train/A/p2_1.png", "test/A/other_1.png"}


@pytest.mark.parametrize(
    ("copy", "names", "verdict"),
    [
        ("test/A/p9_1.png", ["across_splits"], "error"),
        ("test/B/p9_1.png", ["across_splits", "across_classes"], "error"),
        ("train/B/p9_1.png", ["across_classes"], "error"),
        ("train/B/p1_2.png", ["across_classes"], "error"),
        ("train/A/p9_1.png", ["across_groups"], "warning"),
        ("train/A/p1_2.png", ["within_group"], "note"),
    ],
)
@pytest.mark.parametrize("kind", ["identical", "same_pixels", "near"])
def test_place_of_a_copy_decides_the_verdict(
    make_images: ImagesMaker,
    record: RecordMaker,
    kind: str,
    copy: str,
    names: list[str],
    verdict: str,
) -> None:
    first = phantom(1)
    second = compress(first) if kind == "near" else first
    pixels = np.stack([first[None], phantom(2)[None], second[None]])
    sha256 = "same" if kind == "identical" else "another"
    records = [
        record("train/A/p1_1.png", sha256="same"),
        record("train/B/p2_1.png"),
        record(copy, sha256=sha256),
    ]
    found = check(make_images(records, pixels=pixels))
    assert verdicts(found) == {f"{kind}_{name}": (verdict, 1) for name in names}
    texts = {finding.examples[0].text for finding in found.findings}
    assert texts == {"labeled A and B" if copy.split("/")[1] == "B" else ""}


def test_identical_files_are_not_told_again_as_same_pixels(
    make_images: ImagesMaker, record: RecordMaker
) -> None:
    pixels = np.repeat(phantom(1)[None, None], 3, axis=0)
    records = [record(f"train/A/p{i}_1.png", sha256="same" if i < 2 else "x") for i in range(3)]
    found = check(make_images(records, pixels=pixels))
    assert verdicts(found) == {
        "identical_across_groups": ("warning", 1),
        "same_pixels_across_groups": ("warning", 2),
    }


def test_blank_images_are_not_copies_of_each_other(make_images: ImagesMaker) -> None:
    pixels = np.zeros((4, 1, 32, 32), np.uint8)
    records = ["train/A/1_1.png", "train/B/2_1.png", "test/A/3_1.png", "test/B/4_1.png"]
    assert check(make_images(records, pixels=pixels)).findings == ()


def test_without_pixels_only_equal_files_are_found(
    make_images: ImagesMaker, record: RecordMaker
) -> None:
    pixels = np.stack([phantom(1)[None], compress(phantom(1))[None], phantom(1)[None]])
    records = [
        record("train/A/p1_1.png", sha256="same"),
        record("test/A/p2_1.png"),
        record("test/A/p3_1.png", sha256="same"),
    ]
    found = check_duplicates(make_images(records, pixels=pixels), None)
    assert verdicts(found) == {"identical_across_splits": ("error", 1)}


def test_files_of_unknown_content_equal_nothing(
    make_images: ImagesMaker, record: RecordMaker
) -> None:
    records = [record(f"train/A/p{i}_1.png", sha256="") for i in range(3)]
    assert check_duplicates(make_images(records), None).findings == ()


def test_example_shows_one_image_of_each_side_first(
    make_images: ImagesMaker, record: RecordMaker
) -> None:
    paths = [f"train/A/p1_{i}.png" for i in range(6)] + ["test/B/p2_1.png"]
    images = make_images([record(path, sha256="same") for path in paths])
    finding, conflict = check_duplicates(images, None).findings
    assert conflict.name == "identical_across_classes"
    (example,) = finding.examples
    assert example.paths[:2] == ("train/A/p1_0.png", "test/B/p2_1.png")
    assert finding.count == 6
    assert example.num_more == 3


def test_volumes_are_compared_part_by_part_and_not_by_the_mean_of_their_slices() -> None:
    """The mean of all slices is the same for a volume and for one with its slices in disorder."""
    draw = np.random.default_rng(0)
    volumes = ndimage.gaussian_filter(draw.random((6, 12, 64, 64)), (0, 1, 4, 4))
    volumes = (volumes - volumes.min()) / (volumes.max() - volumes.min())
    copies = volumes[:1] * 0.9 + draw.normal(0, 0.01, volumes[:1].shape)
    turned = volumes[1:2, ::-1]  # the same slices, from above
    pixels = (np.concatenate([volumes, copies, turned]).clip(0, 1) * 255).astype(np.uint8)
    found = find_near_pairs(measure_pixels(pixels), np.arange(8))
    assert found.tolist() == [[0, 6]]
    other = pixels[:1].copy()
    other[0, 3:5, 30:42, 30:42] = 255  # a finding in two slices
    with_finding = measure_pixels(np.concatenate([pixels[:1], other]))
    assert find_near_pairs(with_finding, np.arange(2)).tolist() == []
    deep = pixels.astype(np.uint16) * 257
    assert find_near_pairs(measure_pixels(deep), np.arange(8)).tolist() == [[0, 6]]
    assert find_near_pairs(
        measure_pixels(pixels.mean(axis=1)[:, None].astype(np.uint8)), np.arange(8)
    ).tolist() == [[0, 6], [1, 7]]
