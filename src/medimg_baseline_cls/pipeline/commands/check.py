"""The check command: look at a data folder before a model does, and write what was found.

Only a folder that is not a data set stops it: what training would refuse (leaks, files
that cannot be decoded) is reported here. It writes audit.json and audit.html under
OUTPUT_DIR/audits and never into the data folder.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls import __version__
from medimg_baseline_cls.audit.check_results import (
    EXIT_STATUS,
    VERDICTS,
    Check,
    Finding,
    worst_verdict,
)
from medimg_baseline_cls.audit.checks import audit_images, audit_records
from medimg_baseline_cls.audit.images import AuditImages, FileLook, look_at_file
from medimg_baseline_cls.audit.pixel_measures import measure_pixels, shrink, to_gray
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.folders.cases import describe_remarks
from medimg_baseline_cls.data.index import group_images
from medimg_baseline_cls.data.npz import is_npz
from medimg_baseline_cls.data.pixels.cache import FileFacts, build_cache
from medimg_baseline_cls.data.pixels.grey_range import infer_intensity
from medimg_baseline_cls.data.pixels.png import encode_png
from medimg_baseline_cls.pipeline.steps.anonymous import (
    PRIVATE_NAME,
    hide_checks,
    hide_inferences,
    make_hider,
    write_private,
)
from medimg_baseline_cls.pipeline.steps.early_checks import list_refusals
from medimg_baseline_cls.pipeline.steps.inferences import (
    find_positive_class,
    infer_task,
    show_inferences,
)
from medimg_baseline_cls.pipeline.steps.listing import (
    choose_patient_rule,
    find_root,
    hide_patient,
    list_data,
    require_outside_data,
)
from medimg_baseline_cls.pipeline.steps.prepare import (
    PreparedData,
    choose_pixels,
    count_workers,
    infer_depth,
    judge_window,
)
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.pipeline.steps.shortcut_baselines import list_images_of
from medimg_baseline_cls.reporting.page.audit_page import write_audit_page
from medimg_baseline_cls.schema import SPLIT_NAMES, Split
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import read_json, write_json
from medimg_baseline_cls.utils.log import RunLog, open_log
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.runs import create_run_folder

THUMBNAIL_SIDE = 112
_MOST_COMPARED = 20_000  # images: each is compared with every other


@dataclass(frozen=True)
class CheckResult:
    """What an audit ended with.

    Attributes:
        folder: contains audit.json and audit.html.
        status: 0 clean (notes at most), 1 warnings, 3 errors that would invalidate a result.
        content: that of audit.json.
    """

    folder: Path
    status: int
    content: Mapping[str, Any]


@ending_plainly(is_resumable=False)
def check(config: Config, *, label_noise: bool = False) -> CheckResult:
    """Audit a data folder: files, copies, patients, labels, shortcuts, shift.

    Args:
        config: every setting; `data_dir` is required.
        label_noise: also list the labels that a linear classifier on the frozen features of
            `arch` doubts, which takes a pass of the network over all images.

    Raises:
        ConfigError: no data folder is set, or results would be written inside it.
        DataError: the folder is not a data set.
    """
    data_dir = find_root(config)
    require_outside_data(config)
    log = open_log(None)
    log.info(f"data: {data_dir}")
    make_features = _prepare_features(config, log=log) if label_noise else None
    images = collect_images(config, data_dir, log=log)
    show_inferences(log, images.inferences, has_warnings=False)  # the table has them
    found = audit_images(images, make_features=make_features, progress=log.progress)
    pictures = _draw_thumbnails(images, found)
    named = [(record.image_id, record.group) for record in images.split.records]
    named += [(path, "") for path, _ in images.rejected]
    hider = make_hider([path for path, _ in named], is_anonymous=config.anonymous_ids)
    checks = hide_checks(found, hider)
    folder = create_run_folder(config.output_dir, config.project, subfolder="audits")
    write_json(folder / "audit.json", _describe(config, images, checks=checks))
    content = read_json(folder / "audit.json")
    thumbnails = {hider.image(path): png for path, png in pictures.items()}
    page = write_audit_page(folder, content, thumbnails=thumbnails)
    _print_checks(log, checks, page=page)
    if hider.pseudonyms is not None:
        private = folder.with_name(f"{folder.name}_{PRIVATE_NAME}")  # the folder may be shared
        write_private(private, hider.pseudonyms, images=named)
        log.info(f"this audit shows pseudonyms; {private} maps them to names: keep it private")
    return CheckResult(folder, EXIT_STATUS[worst_verdict(c.verdict for c in checks)], content)


def _prepare_features(config: Config, *, log: RunLog) -> Callable[..., NDArray[np.float32]] | None:
    """Return what makes features by the chosen network, which is built before any decoding."""
    from medimg_baseline_cls.pipeline.steps.frozen_features import extract_frozen_features
    from medimg_baseline_cls.pipeline.steps.run_model import try_network

    model = try_network(config)
    return model and partial(extract_frozen_features, config, model=model, log=log)


def collect_images(config: Config, data_dir: Path, *, log: RunLog) -> AuditImages:
    """Return the images of a data folder for the audit: leaks and bad files included.

    This is the one place where the audit meets the ways in.
    """
    cache_dir = config.cache_dir or config.output_dir / "cache"
    listing = list_data(config, cache_dir=cache_dir)
    rule = choose_patient_rule(config, listing)
    hider = make_hider([f.path for f in listing.files], is_anonymous=config.anonymous_ids)
    for note in listing.notes:
        log.info(hider.text(note))
    paths = [file.path for file in listing.files]
    settings, color = choose_pixels(config, data_dir, listing=listing, cache_dir=cache_dir)
    window = judge_window(settings, data_dir, listing=listing, cache_dir=cache_dir)
    cache = build_cache(
        data_dir,
        paths,
        settings=settings,
        cache_dir=cache_dir,
        num_workers=count_workers(config.num_workers),
        log=log,
    )
    pairs = list(zip(listing.files, cache.facts, strict=True))
    good = [(file, fact) for file, fact in pairs if fact.error is None]
    # The patients as named, not yet united by equal files.
    records, patients = group_images(
        listing, good, rule=rule, hide=hide_patient, are_equal_united=False
    )
    positive_class, positive = find_positive_class(config, listing)
    refusals = tuple(hider.text(text) for text in list_refusals(config, listing))
    intensity, facts = infer_intensity(cache, settings), [fact for _, fact in good]
    return AuditImages(
        split=Split(records, listing.class_names, listing.task, listing.subgroup_names),
        rows=np.array([fact.row for fact in facts], dtype=np.int64),
        pixels=cache.pixels,
        looks=tuple(_look(data_dir, fact) for fact in facts),
        rejected=tuple(
            (file.path, file.locate(fact.error)) for file, fact in pairs if fact.error is not None
        ),
        bad_files_stop=config.on_bad_image == "error",
        inferences=hide_inferences(
            (
                *(*listing.inferences, infer_task(config, listing), positive, patients),
                *(color, intensity, *window, *infer_depth(facts, settings)),
                *describe_remarks((f.path, f.remarks) for f in facts),
            ),
            hider,
        ),
        name_group=hider.group,
        positive_class=positive_class,
        refusals=refusals,
    )


def warn_before_training(session: Session, data: PreparedData) -> None:
    """Log what `check` would find within seconds, copies among it."""
    if not session.is_main:
        return
    images, measures = list_images_of(data), None
    if len(images.split.records) <= _MOST_COMPARED:
        measures = measure_pixels(data.pixels, progress=session.log.progress)
    warn_of_findings(session.log, audit_records(images, measures))


def warn_of_findings(log: RunLog, checks: Iterable[Check]) -> None:
    """Log every warning and error of an audit, one line each."""
    for check_ in checks:
        for finding in check_.findings:
            if VERDICTS.index(finding.verdict) >= VERDICTS.index("warning"):
                log.warn(f"{say_count(finding.count, describe_finding(finding))}. {finding.advice}")


def describe_finding(finding: Finding) -> str:
    """Return what was found, of a warning or an error with its first example."""
    if finding.verdict not in ("error", "warning") or not finding.examples:
        return finding.what
    shown = finding.examples[:1] if finding.examples[0].paths else finding.examples[:3]
    more = ", ..." if len(finding.examples) > len(shown) else ""
    return f"{finding.what}: {', '.join(item.describe() for item in shown)}{more}"


def _look(data_dir: Path, fact: FileFacts) -> FileLook:
    """Return what a file is like; of a slice of an .npz its size alone."""
    if is_npz(data_dir):
        return FileLook(fact.num_bytes, mode=fact.mode)
    return look_at_file(data_dir / fact.path, mode=fact.mode, geometry=fact.geometry)


def _describe(config: Config, images: AuditImages, *, checks: Sequence[Check]) -> dict[str, Any]:
    """Return the content of audit.json."""
    verdict = worst_verdict(item.verdict for item in checks)
    counts = {name: int((images.splits == name).sum()) for name in (*SPLIT_NAMES, "")}
    return {
        "medimg": __version__,
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "project": config.project,
        "data_dir": str(find_root(config)),
        "class_names": list(images.split.class_names),
        "task": images.split.task,
        "num_images": len(images.split.records),
        "num_rejected": len(images.rejected),
        "num_per_split": {name or "all": count for name, count in counts.items() if count},
        "verdict": verdict,
        "exit_status": EXIT_STATUS[verdict],
        "checks": [item.to_dict() for item in checks],
    }


def _draw_thumbnails(images: AuditImages, checks: Sequence[Check]) -> dict[str, bytes]:
    """Return a small PNG of every image that is an example of something, by path."""
    findings = [finding for item in checks for finding in item.findings]
    wanted = {path for f in findings for example in f.examples for path in example.paths}
    row_of = dict(zip(images.paths, images.rows.tolist(), strict=True))
    return {path: _encode(images.pixels[row_of[path]]) for path in wanted if path in row_of}


def _encode(image: NDArray[Any]) -> bytes:
    gray = to_gray(np.asarray(image)[None])
    side = min(THUMBNAIL_SIDE, gray.shape[-1])
    return encode_png(np.rint(shrink(gray, side)[0]).astype(np.uint8))


def _print_checks(log: RunLog, checks: Sequence[Check], *, page: Path) -> None:
    """Print one compact table, how much is wrong, and where the page is."""
    rows: list[tuple[object, ...]] = []
    for item in checks:
        verdict = item.verdict if item.is_measured else "-"
        rows.append((item.title, verdict, "", item.summary))
        for finding, counted in zip(item.ranked_findings, item.counts, strict=True):
            rows.append(("", finding.verdict, counted, describe_finding(finding)))
    log.table("", header=("check", "verdict", "count", "what"), rows=rows)
    counts = Counter(f.verdict for item in checks for f in item.findings)
    num_errors, num_warnings = counts["error"], counts["warning"]
    if num_errors or num_warnings:
        found = f"{say_count(num_errors, 'errors')}, {say_count(num_warnings, 'warnings')}"
        log.info(f"{found}: the page says how to fix each")
    log.info(f"audit: {page}")
