"""Turn a MedMNIST .npz file into a listing of its images or volumes, and each into bytes.

Each array is unpacked once into the cache folder, verified by its checksum in the .npz file, and
mapped into memory: a large file needs no memory of its size. Missing or invalid arrays are refused.
"""

import hashlib
import io
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.folders.image_files import (
    ListedFile,
    Listing,
    limit_images,
    path_of,
    require_images,
)
from medimg_baseline_cls.data.pixels.cache_builds import being_built, building_folder
from medimg_baseline_cls.errors import BadImageError, DataError
from medimg_baseline_cls.schema import SPLIT_NAMES, Task, format_findings
from medimg_baseline_cls.utils.own_output import mark_own
from medimg_baseline_cls.utils.parsing import parsing
from medimg_baseline_cls.utils.quantities import say_count

_FOLDER = "npz"
_CHUNK_BYTES = 1 << 20


def is_npz(data_dir: Path) -> bool:
    """Return whether a data "folder" is an .npz file."""
    return data_dir.suffix.lower() == ".npz" and not data_dir.is_dir()


class NpzSource:
    """Reads images of an .npz file, named split/number, as .npy bytes."""

    def __init__(self, file: Path, cache_dir: Path) -> None:
        self._arrays = {
            split: _open_array(file, f"{split}_images", cache_dir=cache_dir)
            for split in SPLIT_NAMES
        }

    def read(self, path: str) -> bytes:
        """Return one image as the bytes of an .npy file."""
        split, _, number = path.partition("/")
        array = self._arrays.get(split)
        if array is None or not number.isdecimal() or int(number) >= len(array):
            raise BadImageError("the .npz file contains no such image")
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array[int(number)]), allow_pickle=False)
        return buffer.getvalue()


def list_npz(
    file: Path,
    *,
    cache_dir: Path,
    task: str = "auto",
    class_names: Sequence[str] | None = None,
    limit: int | None = None,
    has_volumes: bool = False,
) -> Listing:
    """List the images of a MedMNIST .npz file: {train,val,test}_{images,labels}.

    One label per image is its class; several, 1 or 0 each, are findings.

    Args:
        file: the .npz file.
        cache_dir: where its arrays are unpacked.
        task: "ordinal" gives the classes an order; "auto" takes what the labels show.
        class_names: names of the labels 0, 1, 2 ...; None: their numbers.
        limit: keep about this many images; None keeps all.
        has_volumes: whether volumes are expected, (n, Z, H, W), instead of images.

    Raises:
        DataError: An array is missing or invalid.
    """
    labels = {s: _read_labels(file, s, cache_dir=cache_dir) for s in SPLIT_NAMES}
    widths = {table.shape[1] for table in labels.values()}
    if len(widths) > 1:
        raise DataError(f"{file}: the labels of its splits have different widths.")
    found: Task = "multilabel" if max(widths) > 1 else "multiclass"
    if task == "ordinal" and found == "multiclass":
        found = "ordinal"
    if task not in ("auto", found):
        raise DataError(f"task = {task}, but the labels of {file} are of the task {found}.")
    names = _name_classes(file, labels, class_names=class_names)
    files: list[ListedFile] = []
    for split, table in labels.items():
        images = _open_array(file, f"{split}_images", cache_dir=cache_dir)
        _check_images(file, f"{split}_images", array=images, has_volumes=has_volumes)
        count = len(images)
        if count != len(table):
            raise DataError(f"{file}: {split} has {count} images but {len(table)} labels.")
        digits = len(str(max(1, count - 1)))
        texts = [
            format_findings(row, names) if found == "multilabel" else names[row[0]]
            for row in table.tolist()
        ]
        files += [
            ListedFile(f"{split}/{number:0{digits}d}", text, split)
            for number, text in enumerate(texts)
        ]
    require_images(files, names, task=found)
    notes = [f"{say_count(len(files), 'images')} in {file.name}"]
    files, limited = limit_images(files, limit, task=found)
    files.sort(key=path_of)
    return Listing(
        tuple(files), names, 0, tuple(notes), task=found, kind="npz", inferences=tuple(limited)
    )


def _name_classes(
    file: Path, labels: dict[str, NDArray[np.int64]], *, class_names: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the names of the labels 0, 1, 2 ..., or of the findings."""
    width = labels["train"].shape[1]
    highest = max(int(table.max(initial=0)) for table in labels.values())
    count = width if width > 1 else highest + 1
    if min(int(table.min(initial=0)) for table in labels.values()) < 0:
        raise DataError(f"{file} contains a label below 0; expected 0, 1, 2 ...")
    num_images = sum(map(len, labels.values()))
    if width == 1 and highest >= num_images:
        raise DataError(
            f"{file} has the label {highest}, but only {num_images} images; expected classes "
            "numbered 0, 1, 2 ..."
        )
    if class_names is None:
        prefix = "finding_" if width > 1 else ""
        return tuple(f"{prefix}{number}" for number in range(count))
    if len(class_names) != count:
        raise DataError(
            f"{file} has {count} labels, but class_names names {len(class_names)}: name each, in "
            "the order of the numbers."
        )
    return tuple(class_names)


def _read_labels(file: Path, split: str, *, cache_dir: Path) -> NDArray[np.int64]:
    """Return the labels of a split, shape (n, 1), or (n, C) of 0 and 1."""
    table = np.asarray(_open_array(file, f"{split}_labels", cache_dir=cache_dir))
    table = table[:, None] if table.ndim == 1 else table
    is_whole = table.dtype.kind in "iub" and table.ndim == 2 and table.shape[1] > 0
    if not is_whole or (table.shape[1] > 1 and not np.isin(table, (0, 1)).all()):
        raise DataError(
            f"{file}: {split}_labels is {table.dtype} of shape {table.shape}; expected whole "
            "numbers (n, 1), or 0 and 1 for each finding (n, C)."
        )
    if int(table.max(initial=0)) > np.iinfo(np.int64).max:  # it would become a negative one
        raise DataError(f"{file} has the label {table.max()} in {split}; expected 0, 1, 2 ...")
    return table.astype(np.int64)


def _open_array(file: Path, name: str, *, cache_dir: Path) -> NDArray[Any]:
    """Return one array of an .npz file, mapped from the cache, where it is unpacked once."""
    folder = cache_dir / _FOLDER / _digest(file)
    target = folder / f"{name}.npy"
    with parsing(lambda found: DataError(f"{file} {found}."), explain=partial(_explain, name)):
        if not target.is_file() or not _is_as_packed(file, name, target=target):
            _unpack(file, name, target=target)
    try:
        array = np.lib.format.open_memmap(target, mode="r")
    except Exception as error:  # a header may make it raise anything, of memory too
        if isinstance(error, OSError):
            raise
        raise DataError(
            f"{file}: {name} is not an array of plain numbers, or its header is damaged; expected "
            "what numpy.savez writes of numbers."
        ) from error
    return array


def _explain(name: str, error: Exception) -> str:
    """Return what is wrong with a file of which an array could not be unpacked."""
    if isinstance(error, KeyError):
        return (
            f"has no array {name}; expected train_images, train_labels, and the same of val and "
            "test, as in a MedMNIST file"
        )
    if isinstance(error, NotImplementedError):
        return f"has {name} packed in a way that is not supported: save it by numpy.savez"
    if isinstance(error, RuntimeError) and "encrypted" in str(error):
        return f"has {name} encrypted: save it without a password"
    return f"is not a readable .npz file, or {name} in it is damaged: copy or download it again"


def _check_images(file: Path, name: str, *, array: NDArray[Any], has_volumes: bool) -> None:
    is_color = array.ndim == 4 and array.shape[3] == 3
    is_image = (array.ndim == 3 or is_color) and 0 not in array.shape[1:]
    is_image = is_image and array.dtype.name in ("uint8", "uint16")
    is_volume = array.ndim == 4 and not is_color and min(array.shape[1:]) > 1
    is_volume = is_volume and array.dtype.kind in "iuf"
    if is_volume if has_volumes else is_image:
        return
    advice = "expected images of 8 or 16 bits, (n, H, W) or (n, H, W, 3)"
    if has_volumes:
        advice = "expected volumes of numbers, (n, Z, H, W), or without --slices images"
    elif is_volume:
        advice = f"these are volumes: pass --slices {array.shape[1]}"
    raise DataError(f"{file}: {name} is {array.dtype} of shape {array.shape}; {advice}.")


def _unpack(file: Path, name: str, *, target: Path) -> None:
    """Copy one array out of the .npz file, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    mark_own(target.parent)
    with building_folder(target.parents[2]) as temporary:
        with (
            being_built(temporary),
            zipfile.ZipFile(file) as archive,
            archive.open(f"{name}.npy") as packed,
            (temporary / target.name).open("xb") as unpacked,
        ):
            shutil.copyfileobj(packed, unpacked, _CHUNK_BYTES)
        (temporary / target.name).replace(target)


def _is_as_packed(file: Path, name: str, *, target: Path) -> bool:
    """Return whether an unpacked array has the checksum that the .npz file has for it."""
    with zipfile.ZipFile(file) as archive:
        expected = archive.getinfo(f"{name}.npy").CRC
    status = target.stat()
    return _checksum(target, (status.st_size, status.st_mtime_ns)) == expected


@lru_cache(maxsize=16)
def _checksum(file: Path, _state: tuple[int, int]) -> int:
    """Return a file's CRC-32; computed once while its size and time stay."""
    checksum = 0
    with file.open("rb") as opened:
        while block := opened.read(_CHUNK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _digest(file: Path) -> str:
    try:
        status = file.stat()
    except OSError as error:
        raise DataError(f"the file {file} cannot be read: {error.strerror or error}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{file} is a pipe, socket or device; expected an .npz file.")
    return _hash_file(file, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=4)
def _hash_file(file: Path, _state: tuple[int, int]) -> str:
    """Return the start of a file's sha256; hashed once while its size and time stay."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:32]
