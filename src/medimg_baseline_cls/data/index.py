"""Turn a folder of images into records: which file, which class, which patient.

`list_images` (in listing.py) walks the folder; `index_images` joins the listing with what
the cache found in each file. A file that cannot be decoded stops everything or is listed
as rejected, never silently dropped.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.data.folders.cases import describe_remarks
from medimg_baseline_cls.data.folders.image_files import (
    ListedFile,
    Listing,
    list_images,
    path_of,
    require_images,
)
from medimg_baseline_cls.data.folders.split_folders import shorten_list
from medimg_baseline_cls.data.image_bytes import MISSING
from medimg_baseline_cls.data.patients import (
    CLASS_DEPTH,
    DEFAULT_GROUP_REGEX,
    KAGGLE,
    PatientRule,
    infer_patients,
    name_group,
)
from medimg_baseline_cls.data.pixels.cache import FileFacts
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import ImageRecord, Inference
from medimg_baseline_cls.utils.garbage_collection import collector_paused
from medimg_baseline_cls.utils.quantities import say_count

__all__ = [
    "Index",
    "ListedFile",
    "Listing",
    "find_groups",
    "group_images",
    "index_images",
    "known_patients",
    "list_images",
]

_NUM_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Index:
    """The images that can be used.

    Attributes:
        records: sorted by path; `split` is still the folder that the user put them in.
        cache_rows: row of each record in the pixel array, shape (len(records),).
        rejected: (path, reason) of files that could not be decoded.
        notes: what a user should know, one sentence each.
        patients_by: how the patients were identified, in words.
        inferences: what was inferred from the images, such as the patients.
    """

    records: tuple[ImageRecord, ...]
    cache_rows: NDArray[np.int64]
    rejected: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    patients_by: str
    inferences: tuple[Inference, ...] = ()


@collector_paused()
def index_images(
    listing: Listing,
    facts: Iterable[FileFacts],
    *,
    rule: PatientRule = KAGGLE,
    on_bad_image: Literal["error", "skip"] = "error",
    hide: Callable[[str], str] | None = None,
) -> Index:
    """Join the listing with what the cache found into the records of a data set.

    Args:
        listing: from `list_images`.
        facts: from `build_cache`, one per listed file, in any order.
        rule: finds the patient in a file's path.
        on_bad_image: "error" stops at files that cannot be decoded; "skip" rejects them.
        hide: makes the group of a DICOM file from its PatientID, where the listing names no
            group and the rule was not set by the user; None leaves PatientIDs unused.

    Raises:
        DataError: A file cannot be decoded and `on_bad_image` is "error", or no image of
            a class is left.
    """
    pairs = list(zip(sorted(listing.files, key=path_of), sorted(facts, key=_path_of), strict=True))
    rejected = tuple(
        (file.path, file.locate(fact.error)) for file, fact in pairs if fact.error is not None
    )
    if rejected and on_bad_image == "error":
        raise DataError(*_describe_rejected(rejected))
    pairs = [pair for pair in pairs if pair[1].error is None]
    files = [file for file, _ in pairs]
    has_split = any(file.folder for file in files)
    require_images(files, listing.class_names, task=listing.task, has_split=has_split)
    records, patients = group_images(listing, pairs, rule=rule, hide=hide)
    return Index(
        records=records,
        cache_rows=np.array([fact.row for _, fact in pairs], dtype=np.int64),
        rejected=rejected,
        notes=tuple(_note_records(records, rejected)),
        patients_by=patients.reason if patients.certainty != "unknown" else patients.found,
        inferences=(patients, *describe_remarks((fact.path, fact.remarks) for _, fact in pairs)),
    )


def group_images(
    listing: Listing,
    images: Sequence[tuple[ListedFile, FileFacts]],
    *,
    rule: PatientRule,
    hide: Callable[[str], str] | None,
    are_equal_united: bool = True,
) -> tuple[tuple[ImageRecord, ...], Inference]:
    """Return the records of some images with their patients, and how the patients were found.

    Args:
        listing: where the images come from.
        images: listed files with what was found in them.
        rule: as for `index_images`.
        hide: as for `index_images`.
        are_equal_united: whether patients who share a byte-identical file become one.
    """
    known = known_patients(images, hide=None if rule.certainty == "set" else hide)
    groups = find_groups(
        {file.path: fact.sha256 if are_equal_united else file.path for file, fact in images},
        group_regex=rule.pattern,
        known=known,
        depth=CLASS_DEPTH[listing.kind],
    )
    records = tuple(_make_record(file, fact, group=groups[file.path]) for file, fact in images)
    named = {file.path: file.group or fact.patient_id or "" for file, fact in images}
    named = {path: named[path] for path in known}
    return records, infer_patients(records, listing, rule=rule, named=named)


def name_patients(listing: Listing, *, rule: PatientRule) -> Inference:
    """Return what names and tables alone tell of the patients, as `group_images` says it."""
    known = [
        (file, FileFacts(file.path, file.path, 0, 0, mode="", error=None, row=0))
        for file in listing.files
    ]
    return group_images(listing, known, rule=rule, hide=None, are_equal_united=False)[1]


def known_patients(
    images: Iterable[tuple[ListedFile, FileFacts]], *, hide: Callable[[str], str] | None
) -> dict[str, str]:
    """Return the patient of each path for which the data name one, PatientIDs in hiding."""
    known: dict[str, str] = {}
    hidden: dict[str, str] = {}
    for file, fact in images:
        if file.group is not None:
            known[file.path] = file.group
        elif hide is not None and fact.patient_id:
            known[file.path] = hidden.setdefault(fact.patient_id, hide(fact.patient_id))
    return known


def find_groups(
    sha256s: Mapping[str, str],
    *,
    group_regex: str | None = None,
    known: Mapping[str, str] | None = None,
    depth: int = 2,
) -> dict[str, str]:
    """Return the group (patient) of each path.

    The expression is searched in the path below the class folder; its capturing groups,
    joined by "_", name the patient (the whole match where there are none). A file that it
    does not match is a group of its own. Groups that share a byte-identical file are one.

    Args:
        sha256s: content of each path relative to the data folder.
        group_regex: None uses DEFAULT_GROUP_REGEX.
        known: the group of each path with a patient in the data; it overrides the expression.
        depth: folders above the files of a class: 2 for train/NORMAL/, 1 for NORMAL/, 0 for
            the whole path.

    Raises:
        DataError: The expression is not valid.

    >>> find_groups({"train/A/IM-0115-0001.png": "x", "train/A/scan.png": "y"})
    {'train/A/IM-0115-0001.png': 'IM-0115', 'train/A/scan.png': 'train/A/scan.png'}
    """
    pattern = _compile(DEFAULT_GROUP_REGEX if group_regex is None else group_regex)
    held = known or {}
    names = {
        path: held.get(path) or name_group(path, pattern, depth=depth) for path in sorted(sha256s)
    }
    parents: dict[str, str] = {}  # of the groups that were united with another
    holders: dict[str, str] = {}
    for path, name in names.items():
        other = holders.setdefault(sha256s[path], name)
        if other is not name:
            _unite(parents, one=name, other=other)
    return {path: _root(parents, name) for path, name in names.items()} if parents else names


def _path_of(fact: FileFacts) -> str:
    return fact.path


def _make_record(file: ListedFile, facts: FileFacts, *, group: str) -> ImageRecord:
    return ImageRecord(
        image_id=file.path,
        path=file.path,
        label=file.label,
        group=group,
        split=file.folder,
        sha256=facts.sha256,
        width=facts.width,
        height=facts.height,
        subgroups=file.subgroups,
        masks=file.masks,
    )


def _note_records(records: Sequence[ImageRecord], rejected: Sequence[object]) -> Iterable[str]:
    if rejected:
        noun, verb = ("file", "was") if len(rejected) == 1 else ("files", "were")
        yield f"{len(rejected)} {noun} that cannot be decoded {verb} rejected"
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for record in records:
        labels[record.sha256].add(record.label)
    if len(labels) < len(records):
        count = len(records) - len(labels)
        copies = say_count(count, "images are byte-identical copies of others")
        yield copies if count > 1 else "1 image is a byte-identical copy of another"
    disputed = [r.path for r in records if len(labels[r.sha256]) > 1]
    if disputed:
        yield f"byte-identical images with different classes: {shorten_list(disputed)}"


def _describe_rejected(rejected: Sequence[tuple[str, str]]) -> list[str]:
    lines = [f"{path}: {reason}" for path, reason in rejected[:_NUM_SHOWN]]
    if len(rejected) > _NUM_SHOWN:
        lines.append(f"... and {len(rejected) - _NUM_SHOWN} more")
    num_missing = sum(reason.startswith(MISSING) for _, reason in rejected)
    counts = {"are not there": num_missing, "cannot be decoded": len(rejected) - num_missing}
    found = " and ".join(
        say_count(count, f"images {words}") for words, count in counts.items() if count
    )
    advice = "fix or remove them"
    if num_missing:
        advice = "correct their paths, which are relative to the data folder"
    return [f"{found}; {advice}, or continue without them by passing --on-bad-image skip:", *lines]


def _compile(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error as error:
        raise DataError(f"group_regex {regex!r} is not a valid expression: {error}.") from error


def _root(parents: dict[str, str], name: str) -> str:
    while (above := parents.get(name)) is not None:
        if above in parents:
            parents[name] = above = parents[above]  # shorten the path for the next look-up
        name = above
    return name


def _unite(parents: dict[str, str], *, one: str, other: str) -> None:
    """Join two groups under the name that sorts first."""
    low, high = sorted((_root(parents, one), _root(parents, other)))
    if low != high:
        parents[high] = low
