"""Check the files: which could not be read and why, and which have an odd shape or content."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from medimg_baseline_cls.audit.check_results import (
    Check,
    Finding,
    NumberTable,
    Verdict,
    list_examples,
)
from medimg_baseline_cls.audit.images import AuditImages, FileLook
from medimg_baseline_cls.audit.pixel_measures import Measures
from medimg_baseline_cls.utils.quantities import say_count

ODD_ASPECT = 2.5
RARE_MODE_SHARE = 0.01
NUM_SIZES = 10

_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "WebP": {".webp"},
    "GIF": {".gif"},
    "PNM": {".pbm", ".pgm", ".ppm", ".pnm"},
    "JPEG 2000": {".jp2", ".j2k", ".j2c", ".jpf", ".jpx"},
    "DICOM": {".dcm", ".dicom", ".ima"},
    "NIfTI": {".nii", ".gz"},
    ".npy": {".npy"},
}
# The first pattern that matches the reason of a refusal counts.
_REASONS: tuple[tuple[str, str, str], ...] = (
    ("missing", r"is not there", "files of the table that are not there"),
    ("empty", r"0 bytes|is empty", "empty files"),
    ("animated", r"frames", "files of several frames"),
    ("too_large", r"more than .*million|pixel cap|too many pixels", "files over the pixel cap"),
    ("slices", r"(?<!-)\bslices\b|the series", "cases whose slices are not one volume"),
    ("truncated", r"truncat|cut off|incomplete|premature|not enough", "truncated files"),
    ("other_format", r"\bthis is (?:a|an) ", "files that are not in the format of their name"),
    ("unreadable", r"", "files that cannot be decoded"),
)


def check_files(images: AuditImages, measures: Measures | None) -> Check:
    """Check files and sizes; with measures, the pixels too."""
    findings = [
        *_judge_rejected(images),
        *_judge_looks(images),
        *_judge_shapes(images),
    ]
    if measures is not None:
        findings += _judge_constant(images, measures)
    total = len(images.split.records) + len(images.rejected)
    return Check(
        "files",
        "Files",
        f"{say_count(total, 'files')}, of which {len(images.split.records)} could be read.",
        tuple(findings),
        (_tabulate_sizes(images),),
    )


def _judge_rejected(images: AuditImages) -> Iterator[Finding]:
    """Yield a finding for each kind of refusal, so that every unread file is reported."""
    kinds: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, reason in images.rejected:
        name = next(n for n, pattern, _ in _REASONS if re.search(pattern, reason, re.IGNORECASE))
        kinds[name].append((path, reason))
    is_stop = images.bad_files_stop or not images.split.records
    verdict: Verdict = "error" if is_stop else "warning"
    advice = "Repair or remove them: training skips them and lists them in rejected.csv."
    if images.bad_files_stop:
        advice = (
            "Repair or remove them: training stops at the first one, or skips them with "
            "--on-bad-image skip."
        )
    for name, _, what in _REASONS:
        if held := kinds.get(name):
            yield Finding(
                name=name,
                verdict=verdict,
                count=len(held),
                what=what,
                advice=advice,
                examples=list_examples([p for p, _ in held], [reason for _, reason in held]),
            )


def _judge_looks(images: AuditImages) -> Iterator[Finding]:
    """Yield odd file names and color modes."""
    if not images.looks:
        return
    pairs = list(zip(images.paths, images.looks, strict=True))
    wrong = [(p, look.content) for p, look in pairs if _has_wrong_suffix(p, look.content)]
    if wrong:
        yield Finding(
            name="wrong_extension",
            verdict="note",
            count=len(wrong),
            what="files whose extension does not match their content",
            advice="Rename them if other programs read them; here only the content counts.",
            examples=list_examples([p for p, _ in wrong], [f"contains {c}" for _, c in wrong]),
        )
    modes = Counter(look.mode for look in images.looks if look.mode)
    rare = {m for m, n in modes.items() if n < RARE_MODE_SHARE * modes.total()}
    odd = [(p, look.mode) for p, look in pairs if look.mode in rare]
    if odd:
        common = ", ".join(sorted(set(modes) - rare))
        yield Finding(
            name="odd_mode",
            verdict="note",
            count=len(odd),
            what=f"files in a rare color mode (most are {common})",
            advice="Check whether they come from the same source as the others.",
            examples=list_examples([p for p, _ in odd], [f"mode {m}" for _, m in odd]),
        )


def _has_wrong_suffix(path: str, content: str) -> bool:
    suffix = PurePosixPath(path).suffix.lower()
    return any(suffix in names for names in _SUFFIXES.values()) and (
        content in _SUFFIXES and suffix not in _SUFFIXES[content]
    )


def _judge_shapes(images: AuditImages) -> Iterator[Finding]:
    odd = [
        (record.path, f"{record.width} x {record.height}")
        for record in images.split.records
        if max(record.width, record.height) > ODD_ASPECT * max(1, min(record.width, record.height))
    ]
    if odd:
        yield Finding(
            name="odd_aspect",
            verdict="note",
            count=len(odd),
            what=f"images more than {ODD_ASPECT:g} times as long as wide",
            advice="Check that they are radiographs; --keep-aspect pads instead of stretching.",
            examples=list_examples([p for p, _ in odd], [size for _, size in odd]),
        )


def _judge_constant(images: AuditImages, measures: Measures) -> Iterator[Finding]:
    constant = np.flatnonzero(measures.is_constant[images.rows])
    if len(constant):
        yield Finding(
            name="constant",
            verdict="warning",
            count=len(constant),
            what="images of a single gray value",
            advice="Remove them, or find out why they are blank: they have a label but no content.",
            examples=list_examples([images.paths[i] for i in constant]),
        )


def _tabulate_sizes(images: AuditImages) -> NumberTable:
    """Return the most frequent sizes in pixels."""
    looks = images.looks or [FileLook()] * len(images.split.records)
    depths = [look.geometry.num_slices if look.geometry else 1 for look in looks]
    pairs = zip(images.split.records, depths, strict=True)
    sizes = Counter((record.width, record.height, depth) for record, depth in pairs)
    common = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:NUM_SIZES]
    has_volumes = any(depth > 1 for depth in depths)
    rows = [(" x ".join(map(str, s if has_volumes else s[:2])), count) for s, count in common]
    left = len(sizes) - len(rows)
    return NumberTable(
        "Sizes in voxels" if has_volumes else "Sizes in pixels",
        ("Width x height x slices" if has_volumes else "Width x height", "Images"),
        tuple(rows),
        note=f"{left} more sizes are rarer." if left else "",
    )
