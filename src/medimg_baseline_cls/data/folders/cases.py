"""Find the cases of a folder where a case is a volume: series of DICOM files, images of slices.

A NIfTI file or an array is a case, and then nothing else in its folder is. Otherwise the
DICOM files of a folder are a case per series, and without any the images are the slices of one
case. The path of a case is that of its folder, or FOLDER/SERIES_INSTANCE_UID where a folder has
several series, which is not a file. Everything that opens a case asks `list_case_files`.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median

from medimg_baseline_cls.data.folders.masks import find_companions
from medimg_baseline_cls.data.folders.split_folders import is_system_name, shorten_list
from medimg_baseline_cls.data.read import FileSorter, Remark, SeriesFacts, sniff_file
from medimg_baseline_cls.errors import BadImageError
from medimg_baseline_cls.schema import Inference
from medimg_baseline_cls.utils.quantities import say_count

CaseRemarks = tuple[str, Sequence[Remark]]
"""The path of a case and what was found in it."""

_ONE_FILE = ("NIfTI", ".npy")
_ONE_FILE_SUFFIXES = (".nii", ".nii.gz", ".npy", ".npz")
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_SLICES = "slices"  # the name of a case of images
_FEWEST_SLICES = 8  # images of a folder that are probably one volume


@dataclass(frozen=True, slots=True)
class FolderCases:
    """The cases of a folder.

    Attributes:
        files: names of files that are a case each.
        series: names of the files of each other case, by its SeriesInstanceUID; or of all images.
        remarks: what was left out.
    """

    files: tuple[str, ...]
    series: Mapping[str, tuple[str, ...]]
    remarks: tuple[Remark, ...]

    def name_cases(self, place: str, *, is_class: bool) -> list[str]:
        """Return the path of each case.

        Args:
            place: the path of the folder.
            is_class: whether it is that of a class, in which each image is its own file.
        """
        if len(self.series) == 1 and not is_class:
            return [place]
        names = self.files or self.series.get(_SLICES, self.series)
        return [f"{place}/{name}" for name in names]


def find_cases(folder: Path) -> FolderCases:
    """Return the cases of a folder; headers of DICOM files are read once while it stays.

    Raises:
        OSError: it cannot be listed.
    """
    return _find_cases(folder, folder.stat().st_mtime_ns)


def list_case_files(path: Path) -> list[Path]:
    """Return the files of a case in the order of their names; none if it is not there.

    Raises:
        BadImageError: it is a folder of no case, or of several.
        OSError: a folder cannot be listed.
    """
    if path.is_dir():
        series = find_cases(path).series
        if len(series) == 1:
            return [path / name for files in series.values() for name in files]
        named = f", as in {path.name}/{min(series)}" if series else ""
        raise BadImageError(f"the folder has {len(series)} series of slices, expected one{named}")
    is_uid = path.name.replace(".", "").isdigit()
    if is_uid and not os.path.lexists(path) and path.parent.is_dir():
        files = find_cases(path.parent).series.get(path.name, ())
        return [path.parent / name for name in files]
    return [path] if os.path.lexists(path) else []


def expand_folder(
    root: Path, place: str, *, is_class: bool = False
) -> tuple[list[str], CaseRemarks]:
    """Return the paths of the cases of a folder, and what was left out with the first of them.

    Args:
        root: what paths are relative to.
        place: the path of the folder.
        is_class: whether it is that of a class.
    """
    cases = find_cases(root / place)
    paths = cases.name_cases(place, is_class=is_class)
    return paths, ((paths or [place])[0], cases.remarks)


def describe_remarks(found: Iterable[CaseRemarks]) -> list[Inference]:
    """Return what was found in the slices of cases, one inference for each kind.

    Args:
        found: path and remarks of each case.
    """
    kinds: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, remarks in found:
        for kind, details in remarks:
            kinds[kind].append((path, details))
    return [_describe_kind(kind, cases) for kind, cases in sorted(kinds.items())]


def suspect_slices(paths: Iterable[str], *, depth: int) -> list[Inference]:
    """Return that the images of a folder may be the slices of a volume, where each is a case.

    Args:
        paths: of all images, relative to the data folder.
        depth: the number of folders in the path of a class.

    >>> paths = [f"train/NORMAL/case{i // 10}/{i % 10}.png" for i in range(40)]
    >>> [item.found for item in suspect_slices(paths, depth=2)]
    ['each of 40 images is a case of its own']
    >>> suspect_slices([path.replace("/case", "/") for path in paths], depth=3)
    []
    """
    counts = Counter(path.rpartition("/")[0] for path in paths)
    inner = [number for folder, number in counts.items() if folder.count("/") >= depth]
    if len(inner) < 2 or sum(inner) < 0.9 * counts.total() or median(inner) < _FEWEST_SLICES:
        return []
    found = f"each of {counts.total():,} images is a case of its own"
    return [
        Inference(
            topic="slices",
            found=found,
            reason=f"slices = 0, though {len(inner):,} folders have {median(inner):g} images each "
            "(median)",
            certainty="guess",
            flag="--slices K",
            warning=f"{found}, though {len(inner):,} folders in those of the classes have "
            f"{median(inner):g} images each (median): if these are the slices of a volume, pass "
            "--slices K, such as 32",
        )
    ]


def find_thin(depths: Sequence[int], *, slices: int) -> tuple[Inference, ...]:
    """Return how many volumes have far fewer slices than they are resampled to; nothing if none.

    >>> [item.found for item in find_thin([8, 30, 12], slices=32)]
    ['2 of 3 volumes have 8 to 12 slices']
    """
    few = [depth for depth in depths if 1.5 * depth < slices]
    if not few:
        return ()
    ends = " to ".join(map(str, sorted({min(few), max(few)})))
    found = f"{len(few):,} of {say_count(len(depths), 'volumes')} have {ends} slices"
    return (
        Inference(
            topic="slices",
            found=found,
            reason="headers of the files",
            flag="--slices K",
            warning=f"{found}, and --slices {slices} makes more of them, which are blends of their "
            f"neighbors: a K such as {min(few)} has the same content and computes faster",
        ),
    )


def _describe_kind(kind: str, cases: Sequence[tuple[str, str]]) -> Inference:
    num_cases = say_count(len(cases), "cases")
    if kind == "order":
        how = sorted({details for _, details in cases})
        found = f"of {num_cases} {'; '.join(how)}"
        return Inference(
            topic="slices", found=found, reason="no positions in the files", certainty="guess"
        )
    named = shorten_list([f"{path} ({details})" for path, details in cases])
    return Inference(
        topic=kind,
        found=f"in {num_cases}",
        reason="headers of the slices",
        warning=f"{kind} in {num_cases}: {named}",
    )


@lru_cache(maxsize=4096)
def _find_cases(folder: Path, _time: int) -> FolderCases:
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    sorter = FileSorter(has_volumes=True)
    for path in sorted(folder.iterdir(), key=_natural_key):
        if path.is_file() and not is_system_name(path.name) and sorter.is_image(path):
            kinds[_sort_file(path)].append(path.name)
    images, volumes = _without_masks(kinds["image"]), _without_masks(kinds["volume"])
    if volumes:
        remarks = _remark("files next to volumes", [*kinds["DICOM"], *images])
        return FolderCases(tuple(volumes), {}, remarks)
    if not kinds["DICOM"]:
        return FolderCases((), {_SLICES: tuple(images)} if images else {}, ())
    series, remarks = _find_series(folder, kinds["DICOM"])
    return FolderCases((), series, (*remarks, *_remark("images next to DICOM files", images)))


def _sort_file(path: Path) -> str:
    """Return whether a file is a volume, DICOM or an image, by its content or else its name."""
    kind, name = sniff_file(path), path.name.lower()
    is_unknown = kind in ("", "unreadable")
    if kind in _ONE_FILE or (is_unknown and name.endswith(_ONE_FILE_SUFFIXES)):
        return "volume"
    if kind == "DICOM" or (is_unknown and name.endswith(_DICOM_SUFFIXES)):
        return "DICOM"
    return "none" if kind == "DICOMDIR" else "image"


def _find_series(
    folder: Path, names: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], tuple[Remark, ...]]:
    """Return the files of each series of slices, and what was left out."""
    from medimg_baseline_cls.data.read.dicom_series import read_series_facts  # imports pydicom

    series: defaultdict[str, dict[str, SeriesFacts]] = defaultdict(dict)
    for name in names:
        facts = read_series_facts(folder / name)
        series[facts.uid if facts.num_frames or not facts.uid else "no image"][name] = facts
    damaged, others = series.pop("", {}), series.pop("no image", {})
    whole = {uid: held for uid, held in series.items() if _is_whole(held.values())}
    flat = [name for uid in series.keys() - whole.keys() for name in series[uid]] if whole else []
    kept = {uid: tuple(held) for uid, held in (whole or series).items()}
    if len(kept) <= 1 and damaged:  # the case is refused with the fault of the file
        uid, held = next(iter(kept.items()), ("0", ()))
        kept, damaged = {uid: (*held, *damaged)}, {}
    return dict(sorted(kept.items())), (
        *_remark("DICOM files without an image", others),
        *_remark("series of localizers or a single image", flat),
        *_remark("damaged files of unknown series", damaged),
    )


def _is_whole(files: Iterable[SeriesFacts]) -> bool:
    """Return whether a series has slices: more than one that is not a localizer."""
    return sum(item.num_frames for item in files if not item.is_localizer) > 1


def _remark(kind: str, names: Iterable[str]) -> tuple[Remark, ...]:
    held = list(names)
    return ((kind, f"{len(held)} left out, such as {min(held)}"),) if held else ()


def _without_masks(names: Sequence[str]) -> list[str]:
    masks = find_companions([f"x/{name}" for name in names], depth=1).paths
    return [name for name in names if f"x/{name}" not in masks]


def _natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return what sorts 2 before 10."""
    parts = re.findall(r"\d+|\D+", path.name.casefold())
    key = [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]
    return key, path.name
