"""Turn the files of a data set into one memory-mapped pixel array, decoding each once.

Pass 1 reads every file: its sha256 and its header. Pass 2 decodes and preprocesses every
distinct content, in threads (Pillow and torch release the interpreter lock), into
`<cache_dir>/<key>/pixels.npy`. The key is made of the contents and the settings alone, so
a copy of the data elsewhere, renamed files, another split or another seed use the same array. It is
built in a temporary folder and renamed: two builders do not disturb each other, and a killed one
leaves nothing that looks complete. Each image of an array that is found is verified by its
checksum, and decoded again where that does not match. Files that cannot be decoded are accounted
for in the facts; the data folder is never written.
"""

import hashlib
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.file_headers import Scan, scan_image
from medimg_baseline_cls.data.image_bytes import ImageSource, open_source
from medimg_baseline_cls.data.pixels.array_file import (
    Result,
    StoredArray,
    list_contents,
    open_array,
    write_array,
)
from medimg_baseline_cls.data.pixels.cache_builds import (
    being_built,
    building_folder,
    name_building_folder,
    note_use,
    remove_abandoned,
    remove_path,
)
from medimg_baseline_cls.data.pixels.preprocess import (
    PixelSettings,
    fits,
    load_transforms,
    preprocess,
)
from medimg_baseline_cls.data.pixels.volumes import preprocess_volume
from medimg_baseline_cls.data.read import (
    Geometry,
    Header,
    Remark,
    decode_image,
    decode_volume,
    strict_decoding,
)
from medimg_baseline_cls.errors import BadImageError, DataError
from medimg_baseline_cls.utils.faults import explain_fault
from medimg_baseline_cls.utils.log import SILENT, ProgressBar, RunLog
from medimg_baseline_cls.utils.space import DiskNeed, require_space

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_FORMAT = 2  # raise when decoding or preprocessing changes: old arrays are then not found any more
_LIBRARIES = ("pillow", "pydicom", "torch", "monai")  # another version may give other pixels
_AHEAD = 32


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts about one file.

    `row` is its row in the pixel array (byte-identical files share one); -1 where the
    file gave no pixels; `error` is the reason. Sizes are of the upright image, 0 where
    unknown; `sha256` is empty where the file could not be read at all. `patient_id` is the
    PatientID of a DICOM file: it is never written anywhere. Volumes have a `geometry`, and
    `remarks` on their slices.
    """

    path: str
    sha256: str
    width: int
    height: int
    mode: str
    error: str | None
    row: int
    num_bytes: int = 0
    patient_id: str | None = None
    geometry: Geometry | None = None
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageCache:
    """The pixels of a data set: `pixels[facts[i].row]` belongs to `facts[i]`.

    Attributes:
        pixels: read-only memory map, shape (number of contents, C, S, S), uint8 or uint16.
        facts: one per path, in the order given.
        path: the folder of the array.
        was_reused: whether the array existed.
    """

    pixels: NDArray[Any]
    facts: tuple[FileFacts, ...]
    path: Path
    was_reused: bool


def build_cache(
    data_dir: Path,
    paths: Sequence[str],
    *,
    settings: PixelSettings,
    cache_dir: Path,
    num_workers: int = 0,
    log: RunLog = SILENT,
    needs: Sequence[DiskNeed] = (),
) -> ImageCache:
    """Return the pixel array of these files, built if it is missing or damaged.

    Args:
        data_dir: the data folder, or an .npz file; only read.
        paths: files relative to it, with forward slashes.
        settings: size, aspect, intensity, color.
        cache_dir: where arrays are kept, one folder each.
        num_workers: threads; 0 works in the calling thread. The bytes are the same.
        log: for progress bars, and a line where the array is damaged.
        needs: what else will be written; nothing starts without room for it.

    Raises:
        DataError: The cache cannot be written, or a file changed while it was read.
        ResourceError: There is no room for the array and for `needs`.
    """
    remove_abandoned(cache_dir)
    has_volumes = settings.slices > 0
    source = open_source(data_dir, cache_dir=cache_dir, has_volumes=has_volumes)
    # Set once per pass: toggling it per file costs more than reading a small file.
    with strict_decoding(), log.progress("reading files", len(paths)) as bar:
        scan = partial(scan_image, source=source, is_volume=has_volumes)
        scans = list(_map_in_threads(scan, paths, num_workers=num_workers, bar=bar))
    plan = _plan_array(scans, settings)
    folder = cache_dir / plan.name
    found = _open_array(folder, plan)
    was_reused = _is_whole(found)
    pixels = DiskNeed(cache_dir, 0 if was_reused else plan.num_bytes, "pixels")
    require_space((pixels, *needs), log=log if needs else SILENT)
    if was_reused:
        note_use(folder)
    else:
        _warn_of_damage(folder, found, log=log)
        if not all(_fits(scan.header, settings) for scan in plan.contents):
            load_transforms(settings)
        decode = partial(_decode_content, source=source, settings=settings, plan=plan)
        make = partial(_keep_or_decode, found=found, decode=decode)
        rows = list(enumerate(plan.contents))
        with strict_decoding(), log.progress("decoding images", len(rows)) as bar:
            results = _map_in_threads(make, rows, num_workers=num_workers, bar=bar)
            with closing(results):
                _build_array(folder, plan, results=results)
        found = _open_array(folder, plan)
    if not _is_whole(found):
        raise DataError(f"the pixel cache {folder} vanished while it was in use: start again.")
    facts = _join_facts(scans, plan, errors=found.errors)
    return ImageCache(pixels=found.pixels, facts=facts, path=folder, was_reused=was_reused)


def find_array(
    cache_dir: Path, sha256s: Sequence[str], *, settings: PixelSettings
) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
    """Return an array that has these contents, and the row of each; None where there is none.

    For images whose files are not there any more. Arrays that are damaged are not used.

    Args:
        cache_dir: where arrays are kept.
        sha256s: of the files, each of which must have pixels.
        settings: size, aspect, intensity, color.
    """
    for folder in sorted(cache_dir.glob(f"{settings.image_size}px-*")):
        contents = list_contents(folder)
        row_of = {sha256: row for row, sha256 in enumerate(contents)}
        if folder.name != _name_array(settings, contents) or not row_of.keys() >= set(sha256s):
            continue
        shape = (len(contents), settings.num_channels, *[settings.image_size] * 2)
        for dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
            found = open_array(folder, shape=shape, dtype=dtype, contents=contents)
            rows = np.array([row_of[sha256] for sha256 in sha256s], dtype=np.int64)
            if _is_whole(found) and found.errors.keys().isdisjoint(rows.tolist()):
                return found.pixels, rows
    return None


@dataclass(frozen=True, slots=True)
class _ArrayPlan:
    """The array to be: one row per distinct content, ordered by sha256."""

    name: str
    contents: tuple[Scan, ...]
    image_shape: tuple[int, int, int]
    is_deep: bool

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.contents), *self.image_shape)

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint16 if self.is_deep else np.uint8)


def _fits(header: Header | None, settings: PixelSettings) -> bool:
    return header is None or fits(settings, width=header.width, height=header.height)


def _plan_array(scans: Sequence[Scan], settings: PixelSettings) -> _ArrayPlan:
    by_sha = {scan.sha256: scan for scan in reversed(scans) if scan.header is not None}
    contents = tuple(by_sha[sha256] for sha256 in sorted(by_sha))
    side = settings.image_size
    return _ArrayPlan(
        name=_name_array(settings, sorted(by_sha)),
        contents=contents,
        image_shape=(settings.num_channels, side, side),
        is_deep=any(scan.header.is_deep for scan in contents if scan.header),
    )


def _name_array(settings: PixelSettings, sha256s: Sequence[str]) -> str:
    """Return the name of the folder with these contents, sorted."""
    parts = [str(_FORMAT), settings.key(), *map(version, _LIBRARIES), *sha256s]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return f"{settings.image_size}px-{key}"


def _decode_content(
    scan: Scan, *, source: ImageSource, settings: PixelSettings, plan: _ArrayPlan
) -> Result:
    """Return the array of one file, or the reason why there is none."""
    try:
        data = source.read(scan.path)
    except BadImageError as error:
        raise DataError(f"{scan.path} vanished while the data set was read: {error}") from error
    if hashlib.sha256(data).hexdigest() != scan.sha256:
        raise DataError(
            f"{scan.path} changed while the data set was read: wait until nothing writes "
            "to the data folder, then start again."
        )
    try:
        if settings.slices:
            volume, spacing = decode_volume(data), scan.header and scan.header.spacing_mm
            return preprocess_volume(volume, settings, deep=plan.is_deep, spacing=spacing), None
        decoded = decode_image(data, color=settings.color)
    except BadImageError as error:
        return None, str(error)
    return preprocess(decoded.pixels, settings, deep=plan.is_deep), None


def _keep_or_decode(
    row: tuple[int, Scan], *, found: StoredArray | None, decode: Callable[[Scan], Result]
) -> Result:
    """Return a row of the array that was found, or decode it where that is damaged."""
    number, scan = row
    return decode(scan) if found is None or number in found.damaged else found.result(number)


def _warn_of_damage(folder: Path, found: StoredArray | None, *, log: RunLog) -> None:
    if found is not None:
        log.warn(
            f"the pixel cache {folder} is damaged: the checksums of {len(found.damaged)} of "
            f"{len(found.pixels)} images do not match; they are decoded again"
        )
    elif folder.exists():
        log.warn(f"the pixel cache {folder} is damaged: all images are decoded again")


def _is_whole(found: StoredArray | None) -> TypeGuard[StoredArray]:
    return found is not None and not found.damaged


def _map_in_threads(
    work: Callable[[_In], _Out], items: Sequence[_In], *, num_workers: int, bar: ProgressBar
) -> Generator[_Out, None, None]:
    """Yield work(item) in the order of the items; a caller that stops early cancels the rest."""
    if num_workers == 0:
        for item in items:
            yield work(item)
            bar.advance()
        return
    with ThreadPoolExecutor(num_workers) as pool:
        try:
            submit = partial(pool.submit, work)
            for task in _hand_out(items, submit=submit, ahead=_AHEAD * num_workers):
                yield task.result()
                bar.advance()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _hand_out(
    items: Iterable[_In], *, submit: Callable[[_In], Future[_Out]], ahead: int
) -> Generator[Future[_Out], None, None]:
    """Yield the task of each item, in order; of a million all at once would fill a gigabyte."""
    waiting: deque[Future[_Out]] = deque()
    for item in items:
        waiting.append(submit(item))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def _build_array(folder: Path, plan: _ArrayPlan, *, results: Iterable[Result]) -> None:
    """Write the array next to its place and move it there in one step."""
    try:
        with building_folder(folder.parent) as temporary:
            with being_built(temporary):
                contents = (scan.sha256 for scan in plan.contents)
                write_array(
                    temporary,
                    shape=plan.shape,
                    dtype=plan.dtype,
                    contents=contents,
                    results=results,
                )
            _move_into_place(temporary, folder, plan=plan)
    except FileNotFoundError as error:
        raise DataError(
            f"the pixel cache in {folder.parent} was removed while it was written: start again."
        ) from error
    except OSError as error:
        reason = explain_fault(error, folder.parent) or error
        raise DataError(
            f"{reason}, or name another place for the pixel cache with --cache-dir."
        ) from error


def _move_into_place(temporary: Path, folder: Path, *, plan: _ArrayPlan) -> None:
    """Rename, unless another process was faster; a broken array in the way is removed."""
    while not _is_whole(_open_array(folder, plan)):
        if folder.exists():
            broken = name_building_folder(folder.parent)
            with suppress(FileNotFoundError):  # another builder was faster to move it away
                folder.rename(broken)
                remove_path(broken)
        try:
            temporary.rename(folder)
        except FileExistsError:
            continue
        except OSError:
            if not folder.exists():
                raise


def _open_array(folder: Path, plan: _ArrayPlan) -> StoredArray | None:
    if not plan.contents:
        return StoredArray(np.zeros(plan.shape, plan.dtype), {})  # nothing can be mapped
    contents = (scan.sha256 for scan in plan.contents)
    return open_array(folder, shape=plan.shape, dtype=plan.dtype, contents=contents)


def _join_facts(
    scans: Iterable[Scan], plan: _ArrayPlan, *, errors: Mapping[int, str]
) -> tuple[FileFacts, ...]:
    rows = {scan.sha256: row for row, scan in enumerate(plan.contents)}
    return tuple(_make_facts(scan, rows=rows, errors=errors) for scan in scans)


def _make_facts(scan: Scan, *, rows: dict[str, int], errors: Mapping[int, str]) -> FileFacts:
    header, row = scan.header, rows.get(scan.sha256, -1)
    error = scan.error or errors.get(row)
    return FileFacts(
        path=scan.path,
        sha256=scan.sha256,
        width=header.width if header else 0,
        height=header.height if header else 0,
        mode=header.mode if header else "",
        error=error,
        row=-1 if error else row,
        num_bytes=scan.num_bytes,
        patient_id=header.patient_id if header else None,
        geometry=header.geometry if header else None,
        remarks=header.remarks if header else (),
    )
