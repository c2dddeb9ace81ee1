"""A MedMNIST file lists as its arrays say, and each image comes back pixel for pixel."""

from pathlib import Path

import numpy as np
import pytest

from medimg_baseline_cls.data.npz import NpzSource, is_npz, list_npz
from medimg_baseline_cls.errors import BadImageError, DataError
from medimg_baseline_cls.schema import parse_findings
from medimg_baseline_cls.utils.own import MARKER

COUNTS = {"train": 12, "val": 5, "test": 6}


def write_npz(
    file: Path, *, width: int = 1, color: bool = False, **changes: object
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    arrays: dict[str, np.ndarray] = {}
    for split, count in COUNTS.items():
        shape = (count, 28, 28, 3) if color else (count, 28, 28)
        arrays[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        labels = np.arange(count * width).reshape(count, width) % (2 if width > 1 else 3)
        arrays[f"{split}_labels"] = labels.astype(np.uint8)
    arrays |= {name: np.asarray(value) for name, value in changes.items()}
    np.savez_compressed(file, **arrays)
    return arrays


@pytest.mark.parametrize("color", [False, True])
def test_every_image_comes_back_as_it_is(tmp_path: Path, color: bool) -> None:
    arrays = write_npz(tmp_path / "m.npz", color=color)
    listing = list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache")
    source = NpzSource(tmp_path / "m.npz", tmp_path / "cache")
    assert len(listing.files) == sum(COUNTS.values())
    for file in listing.files:
        split, number = file.path.split("/")
        data = source.read(file.path)
        (tmp_path / "one.npy").write_bytes(data)
        image = np.load(tmp_path / "one.npy")
        np.testing.assert_array_equal(image, arrays[f"{split}_images"][int(number)])
        assert file.label == str(arrays[f"{split}_labels"][int(number), 0])
        assert file.folder == split
    assert listing.class_names == ("0", "1", "2")


def test_several_labels_are_findings_and_may_be_named(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "m.npz", width=3)
    listing = list_npz(
        tmp_path / "m.npz", cache_dir=tmp_path / "cache", class_names=("A", "B", "C")
    )
    assert listing.task == "multilabel"
    for file in listing.files:
        split, number = file.path.split("/")
        expected = arrays[f"{split}_labels"][int(number)].tolist()
        assert parse_findings(file.label, listing.class_names) == expected
    with pytest.raises(DataError, match="has 3 labels, but class_names names 2"):
        list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache", class_names=("A", "B"))


def test_an_array_is_unpacked_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    write_npz(tmp_path / "m.npz")
    for _ in range(2):
        list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "npz").iterdir()
    assert {path.name for path in folder.iterdir() if path.name != MARKER} == {
        f"{split}_{what}.npy" for split in COUNTS for what in ("images", "labels")
    }
    write_npz(tmp_path / "m.npz", color=True)
    list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "npz").iterdir())) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"val_labels": np.zeros((5, 2), np.uint8)}, "different widths"),
        ({"test_labels": np.zeros((4, 1), np.uint8)}, "test has 6 images but 4 labels"),
        ({"train_labels": np.full((12, 1), 0.5)}, "expected whole numbers"),
        ({"train_images": np.zeros((12, 28, 28, 28, 1), np.uint8)}, "volumes are not supported"),
        ({"train_images": np.zeros((12, 28, 28))}, "expected uint8 images"),
        ({"train_labels": np.full((12, 1), -1)}, "a label below 0"),
        ({"train_labels": np.full((12, 1), 10**9)}, "label 1000000000, but only 23 images"),
    ],
)
def test_odd_arrays_are_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    write_npz(tmp_path / "m.npz", **changes)
    with pytest.raises(DataError, match=words):
        list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache")


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.npz").write_text("no")
    with pytest.raises(DataError, match="no readable .npz"):
        list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache")
    np.savez(tmp_path / "n.npz", train_images=np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(DataError, match="has no array train_labels"):
        list_npz(tmp_path / "n.npz", cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match="cannot be read"):
        list_npz(tmp_path / "missing.npz", cache_dir=tmp_path / "cache")
    write_npz(tmp_path / "o.npz")
    with pytest.raises(DataError, match="task = multilabel, but"):
        list_npz(tmp_path / "o.npz", cache_dir=tmp_path / "cache", task="multilabel")
    source = NpzSource(tmp_path / "o.npz", tmp_path / "cache")
    for path in ("train/99", "other/0", "train/x"):
        with pytest.raises(BadImageError, match="no such image"):
            source.read(path)
    assert is_npz(tmp_path / "o.npz") and not is_npz(tmp_path)
