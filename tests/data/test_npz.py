"""A MedMNIST file lists as its arrays say, and each image comes back pixel for pixel."""

import io
import os
import random
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_baseline_cls.data.npz import NpzSource, is_npz, list_npz
from medimg_baseline_cls.data.read import decode_volume
from medimg_baseline_cls.errors import BadImageError, DataError
from medimg_baseline_cls.schema import parse_findings
from medimg_baseline_cls.utils.own_output import MARKER

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
        ({"train_images": np.zeros((12, 9, 9, 9, 1), np.uint8)}, "expected images of 8"),
        ({"train_images": np.zeros((12, 28, 28))}, "is float64 .* expected images of 8 or 16 bits"),
        ({"val_images": np.zeros((5, 9, 28, 28))}, "these are volumes: pass --slices 9"),
        ({"train_labels": np.full((12, 1), -1)}, "a label below 0"),
        ({"train_labels": np.full((12, 1), 2**63, np.uint64)}, "the label 9223372036854775808 in"),
        ({"train_labels": np.zeros((12, 0), np.uint8)}, "expected whole numbers"),
        ({"train_labels": np.array([["a"]] * 12, object)}, "not an array of plain numbers"),
        ({"train_images": np.zeros((12, 0, 28), np.uint8)}, "expected images of 8"),
        ({"train_labels": np.full((12, 1), 10**9)}, "label 1000000000, but only 23 images"),
    ],
)
def test_odd_arrays_are_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    write_npz(tmp_path / "m.npz", **changes)
    with pytest.raises(DataError, match=words):
        list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache")


def write_volumes(file: Path, *, dtype: str = "u1", **changes: object) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(5)
    images = {
        f"{split}_images": draw.integers(0, 200, (count, 6, 8, 7)).astype(dtype)
        for split, count in COUNTS.items()
    }
    return write_npz(file, **(images | changes))


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
def test_every_volume_comes_back_as_it_is(tmp_path: Path, dtype: str) -> None:
    arrays = write_volumes(tmp_path / "m.npz", dtype=dtype)
    listing = list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache", has_volumes=True)
    source = NpzSource(tmp_path / "m.npz", tmp_path / "cache")
    assert Counter(file.folder for file in listing.files) == COUNTS
    for file in listing.files:
        split, number = file.path.split("/")
        voxels = decode_volume(source.read(file.path)).voxels
        np.testing.assert_array_equal(voxels, arrays[f"{split}_images"][int(number)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, r"uint8 of shape \(12, 28, 28\); expected volumes .*, or without --slices images"),
        ({"shape": (12, 28, 28, 3)}, r"\(12, 28, 28, 3\); expected volumes"),
        ({"shape": (12, 6, 28, 28, 3)}, r"\(12, 6, 28, 28, 3\); expected volumes"),
        ({"shape": (12, 1, 28, 28)}, r"\(12, 1, 28, 28\); expected volumes"),
        ({"shape": (12, 6, 8, 7), "dtype": bool}, "is bool .* expected volumes of numbers"),
        ({"shape": (12, 6, 8, 7), "dtype": complex}, "is complex128 .* expected volumes"),
    ],
)
def test_what_are_no_volumes_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    images = np.zeros(changes.get("shape", (12, 28, 28)), changes.get("dtype", "u1"))
    write_npz(tmp_path / "m.npz", train_images=images)
    with pytest.raises(DataError, match=words):
        list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache", has_volumes=True)


def rewrite(source: Path, target: Path, *, name: str, data: bytes, **packing: int) -> None:
    """Copy an .npz file with other bytes for one array."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **packing) as new:
        for item in old.namelist():
            new.writestr(item, data if item == f"{name}.npy" else old.read(item))


def header(shape: str, *, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"no array", b"\x93NUMPY", b"\x93NUMPY\x09\x09" + b"\0" * 99, b"PK\x03\x04" * 9),
        *(header("(9999999999999, 28, 28)"), header(f"({2**63}, {2**63})"), header("(-1, 28, 28)")),
        *(header("(" * 3000), header("-" * 9000 + "1"), header("(12, 28"), header("(1e9,)")),
        *(header("(12, 28, 28)", descr="'O'"), header("(12,)", descr="[('a', 'b')]")),
        header("(12, 28, 28)"),
    ],
)
@pytest.mark.parametrize("name", ["train_images", "train_labels"])
def test_a_member_that_is_no_array_is_refused_in_words_of_ours(
    tmp_path: Path, name: str, data: bytes
) -> None:
    write_npz(tmp_path / "m.npz")
    rewrite(tmp_path / "m.npz", tmp_path / "n.npz", name=name, data=data)
    with pytest.raises(DataError, match=f"{name} is not an array of plain numbers") as caught:
        list_npz(tmp_path / "n.npz", cache_dir=tmp_path / "cache")
    assert "pickle" not in str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_npz_with_bytes_changed_anywhere_is_read_or_refused(tmp_path: Path, method: int) -> None:
    draw = random.Random(11)
    write_npz(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as arrays:
        labels = io.BytesIO()
        np.save(labels, arrays["train_labels"])
    whole = tmp_path / "w.npz"
    rewrite(
        tmp_path / "m.npz", whole, name="train_labels", data=labels.getvalue(), compression=method
    )
    data = whole.read_bytes()
    num_refused = 0
    for number in range(40):
        changed = bytearray(data)
        for _ in range(draw.randint(1, 6)):
            # The end of the file has the names, methods, flags and sizes.
            start = draw.choice([0, len(data) - 600])
            changed[draw.randrange(start, len(data))] = draw.randrange(256)
        file = tmp_path / f"{number}.npz"
        file.write_bytes(changed)
        try:
            list_npz(file, cache_dir=tmp_path / f"cache{number}")
        except DataError as error:
            num_refused += 1
            assert str(file) in str(error) or "no usable image" in str(error)
    assert num_refused > 10


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [(8, 1, "encrypted"), (10, 99, "packed in a way that is not supported")],
)
def test_an_encrypted_or_oddly_packed_array_is_named(
    tmp_path: Path, offset: int, value: int, words: str
) -> None:
    write_npz(tmp_path / "m.npz")
    data = bytearray((tmp_path / "m.npz").read_bytes())
    at = -1
    while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:  # the entries of the directory
        data[at + offset] = value
    at = -1
    while (at := data.find(b"PK\x03\x04", at + 1)) >= 0:
        data[at + offset - 2] = value
    (tmp_path / "m.npz").write_bytes(data)
    with pytest.raises(DataError, match=words):
        list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.npz")
    with pytest.raises(DataError, match="is a pipe"):
        list_npz(tmp_path / "m.npz", cache_dir=tmp_path / "cache")


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.npz").write_text("no")
    with pytest.raises(DataError, match="not a readable .npz"):
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
