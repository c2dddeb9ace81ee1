"""From the data folder to arrays: list, decode once, index, split; and the same again later.

`prepare_data` does it for a new run and writes split.csv and rejected.csv.
`reopen_data` finds the images of an old run again, and refuses if a file has changed.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.loaders import ImageSet, Loader
from medimg_baseline_cls.data.file_headers import infer_color
from medimg_baseline_cls.data.folders.cases import find_thin
from medimg_baseline_cls.data.image_bytes import open_source
from medimg_baseline_cls.data.index import Index, Listing, index_images
from medimg_baseline_cls.data.pixels.cache import FileFacts, ImageCache, build_cache
from medimg_baseline_cls.data.pixels.grey_range import infer_intensity
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.pixels.volumes import find_range, find_steps
from medimg_baseline_cls.data.read import decode_volume, read_volume_header
from medimg_baseline_cls.data.splitting.split import (
    check_leakage,
    list_one_sided,
    read_split,
    split_images,
    summarize_split,
    write_split,
)
from medimg_baseline_cls.errors import BadImageError, DataError, RunError
from medimg_baseline_cls.evaluation.inference import INFERENCE_BATCH_SIZE
from medimg_baseline_cls.pipeline.steps.anonymous import hide_inferences, make_hider
from medimg_baseline_cls.pipeline.steps.early_checks import require_settings, split_settings
from medimg_baseline_cls.pipeline.steps.inferences import (
    find_positive_class,
    infer_task,
    require_positive_class,
    show_inferences,
)
from medimg_baseline_cls.pipeline.steps.leaks import leave_out_leaks
from medimg_baseline_cls.pipeline.steps.listing import (
    find_root,
    hide_patient,
    list_data,
    require_patients,
)
from medimg_baseline_cls.pipeline.steps.session import Session, find_started_in
from medimg_baseline_cls.schema import Inference, Split
from medimg_baseline_cls.utils.distributed import main_process_first
from medimg_baseline_cls.utils.files import sha256_file, write_csv
from medimg_baseline_cls.utils.space import DiskNeed

_FEWEST_INSIDE = 0.05  # of the voxels, in a window that fits
_TASK_WORDS = {
    "multiclass": "classes",
    "ordinal": "grades, in rising order",
    "multilabel": "findings",
}


@dataclass(frozen=True)
class PreparedData:
    """Every image as pixels, with its split; what was inferred on the way.

    Attributes:
        split: the images in the order of split.csv.
        pixels: shape (N, C, S, S), uint8 or uint16, memory-mapped.
        cache_rows: for each row of split.csv, its row in `pixels`.
        settings: how files became pixels.
        provenance: plain values for config.json.
    """

    split: Split
    pixels: NDArray[Any]
    cache_rows: NDArray[np.int64]
    settings: PixelSettings
    provenance: Mapping[str, Any]

    @property
    def positive_class(self) -> str | None:
        """Return the positive class; None for more than two classes and for findings."""
        return self.provenance["positive_class"]

    def image_set(self, split: str) -> ImageSet:
        """Return the images of one split."""
        rows = self.split.rows(split)
        return ImageSet(self.pixels, self.cache_rows[rows], rows, self.split.labels(rows))

    def loader(self, split: str, session: Session, *, sampling: str = "permute") -> Loader:
        """Return batches of one split, in this process's share."""
        return Loader(
            self.image_set(split),
            batch_size=session.config.batch_size if split == "train" else INFERENCE_BATCH_SIZE,
            seed=session.config.seed,
            sampling="balanced" if sampling == "balanced" else "permute",
            shard=session.shard,
        )


def prepare_data(
    session: Session, *, estimate: Callable[[int], Sequence[DiskNeed]] = lambda _: ()
) -> PreparedData:
    """Index, decode and split the images of a new run.

    Args:
        session: the run.
        estimate: builds the network for so many classes and returns what the run writes besides
            pixels; called after the checks of names. Refused before decoding if there is not enough
            space.

    Raises:
        ConfigError: no data folder is set.
        DataError: the folder, a file or a split is not as it must be.
    """
    config, log = session.config, session.log
    data_dir = find_root(config)
    how_to_split = split_settings(config)
    listing = list_data(config, cache_dir=session.cache_dir)
    rule = require_patients(config, listing)
    require_settings(config, listing)
    positive, positive_class = find_positive_class(config, listing)
    require_positive_class(positive_class, listing.class_names)
    # A network or disk that does not fit is refused here, before hours of decoding.
    needs = estimate(len(listing.class_names))
    settings, color = choose_pixels(config, data_dir, listing=listing, cache_dir=session.cache_dir)
    window = judge_window(settings, data_dir, listing=listing, cache_dir=session.cache_dir)
    paths = [file.path for file in listing.files]
    cache = _open_cache(session, data_dir, paths=paths, settings=settings, needs=needs)
    index = index_images(
        listing, cache.facts, rule=rule, on_bad_image=config.on_bad_image, hide=hide_patient
    )
    intensity = infer_intensity(cache, settings)
    listing = replace(listing, files=())  # the index has the rest
    cleaned, leaks = leave_out_leaks(config, index, pixels=cache.pixels, log=log)
    rejected = (*index.rejected, *cleaned.left_out)
    result = split_images(
        cleaned.records,
        settings=how_to_split,
        class_names=listing.class_names,
        task=listing.task,
        subgroup_names=listing.subgroup_names,
    )
    check_leakage(result.split)
    inferences = (
        *listing.inferences,
        infer_task(config, listing),
        positive_class,
        *(*index.inferences, result.inference),
        *leaks,
        *(color, intensity, *window, *infer_depth(cache.facts, settings)),
    )
    hider = make_hider([r.path for r in index.records], is_anonymous=config.anonymous_ids)
    inferences = hide_inferences(inferences, hider)
    if session.is_main:
        _write_tables(session.run_dir, result.split, rejected=rejected)
    log.info(f"data: {data_dir} ({listing.kind})")
    log.info(f"{_TASK_WORDS[listing.task]}: {', '.join(listing.class_names)}")
    show_inferences(log, inferences)
    for note in (*listing.notes, *index.notes, *result.notes):
        log.info(hider.text(note))
    header, rows = summarize_split(result.split)
    log.table("Split", header=header, rows=rows)
    _warn_of_one_sided(session, result.split)
    provenance = {
        "class_names": list(listing.class_names),
        "task": listing.task,
        "layout": listing.kind,
        "positive_class": positive,
        "color": settings.color,
        "val_strategy": result.strategy,
        "num_rejected": len(rejected),
        "patients_by": index.patients_by,
        "inferences": [asdict(item) for item in inferences],
        "split_sha256": sha256_file(session.run_dir / "split.csv") if session.is_main else None,
    }
    return PreparedData(
        result.split, cache.pixels, _rows_in_cache(index, result.split), settings, provenance
    )


def _warn_of_one_sided(session: Session, split: Split) -> None:
    if one_sided := list_one_sided(split):
        session.log.warn(
            f"VAL lacks {'; '.join(one_sided)}: AUROC and thresholds of these findings will be "
            "undefined or mean little; use other images, or another val_fraction or seed."
        )


def _write_tables(run_dir: Path, split: Split, *, rejected: Sequence[tuple[str, str]]) -> None:
    write_split(run_dir / "split.csv", split)
    write_csv(run_dir / "rejected.csv", ("path", "reason"), rows=rejected)
    masks = [(record.path, mask) for record in split.records for mask in record.masks]
    if masks:
        write_csv(run_dir / "masks.csv", ("path", "mask"), rows=masks)


def reopen_data(session: Session, provenance: Mapping[str, Any]) -> PreparedData:
    """Open the images of an existing run again.

    Raises:
        RunError: the data folder is gone, or a file is not the one that was split.
        LeakageError: split.csv was edited and a patient is in more than one split.
    """
    config = session.config
    for change in find_split_change(session.run_dir, provenance):
        session.log.warn(f"{change}; its TRAIN is no longer what was trained on")
    split = read_split(
        session.run_dir / "split.csv",
        tuple(provenance["class_names"]),
        task=provenance.get("task", "multiclass"),
    )
    check_leakage(split)
    data_dir = find_root(config)
    if not data_dir.exists():
        started_in, nor_here = find_started_in(session.run_dir), ""
        if started_in not in (None, Path.cwd()) and data_dir.is_relative_to(started_in):
            nor_here = f", and neither is {Path.cwd() / data_dir.relative_to(started_in)}"
        raise RunError(
            f"the data folder of this run, {data_dir}, is not there{nor_here}; mount it at the "
            f"same place, or correct data_dir and manifest in {session.run_dir}/config.json."
        )
    settings = pixel_settings(config, provenance["color"])
    cache = _open_cache(session, data_dir, paths=[r.path for r in split.records], settings=settings)
    for record, fact in zip(split.records, cache.facts, strict=True):
        if record.sha256 != fact.sha256:
            raise RunError(
                f"{record.path} is not the file that was split: its sha256 has changed. "
                f"Restore it, or train again; nothing was evaluated."
            )
    rows = np.array([fact.row for fact in cache.facts], dtype=np.int64)
    return PreparedData(split, cache.pixels, rows, settings, provenance)


def find_split_change(run_dir: Path, provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """Return how split.csv differs from that of training, as a phrase, or nothing."""
    trained, found = provenance.get("split_sha256"), sha256_file(run_dir / "split.csv")
    if trained in (None, found):  # runs of earlier versions do not know it
        return ()
    return (f"the split (split.csv): its sha256 was {trained[:12]} in training, is {found[:12]}",)


def pixel_settings(config: Config, color: str) -> PixelSettings:
    """Return how files become pixels, with the color mode of the run."""
    return PixelSettings(
        image_size=config.image_size,
        keep_aspect=config.keep_aspect,
        intensity=config.intensity,
        color="rgb" if color == "rgb" else "grey",
        slices=config.slices,
        spacing=config.spacing if config.slices else None,
    )


def count_workers(num_workers: int | None) -> int:
    """Return the number of decoding threads: as set, or one per processor."""
    return (os.cpu_count() or 1) if num_workers is None else num_workers


def choose_pixels(
    config: Config, data_dir: Path, *, listing: Listing, cache_dir: Path
) -> tuple[PixelSettings, Inference]:
    """Return how files become pixels, and whether color was set or inferred."""
    if config.slices:
        said = Inference(topic="color", found="grey", reason="volumes have one channel")
        return pixel_settings(config, "grey"), said
    if config.color != "auto":
        said = Inference(topic="color", found=config.color, reason="--color", certainty="set")
        return pixel_settings(config, config.color), said
    source = open_source(data_dir, cache_dir=cache_dir)
    color, reason = infer_color(source, [f.path for f in listing.files])
    found = Inference(topic="color", found=color, reason=reason, flag="--color grey|rgb")
    return pixel_settings(config, color), found


def infer_depth(facts: Iterable[FileFacts], settings: PixelSettings) -> tuple[Inference, ...]:
    """Return how many volumes have far fewer slices than they are resampled to; nothing if none."""
    if settings.spacing or not settings.slices:
        return ()
    depths = [fact.geometry.num_slices for fact in facts if fact.geometry and fact.error is None]
    return find_thin(depths, slices=settings.slices)


def judge_window(
    settings: PixelSettings, data_dir: Path, *, listing: Listing, cache_dir: Path
) -> tuple[Inference, ...]:
    """Return whether a window hardly fits the first volume; refuse one that does not at all.

    Raises:
        DataError: their type has no range, and no window was chosen; no voxel is inside the window;
            or there is no spacing.
    """
    if not settings.slices:
        return ()
    path = listing.files[0].path
    source = open_source(data_dir, cache_dir=cache_dir, has_volumes=True)
    try:
        data = source.read(path)
        volume, spacing = decode_volume(data), read_volume_header(data).spacing_mm
    except BadImageError:
        return ()  # told with all others that cannot be read
    lowest, highest = (f"{value:g}" for value in find_range(volume, "min_max"))
    choices = (
        "choose --intensity lung, soft_tissue or bone for Hounsfield units, LOWEST/HIGHEST such as "
        f"{lowest}/{highest}, or percentile"
    )
    try:
        window = find_range(volume, settings.intensity)
    except BadImageError as error:
        raise DataError(f"{path}: {error}: {choices}.") from None
    inside = float(((volume.voxels >= window[0]) & (volume.voxels <= window[1])).mean())
    if not inside:
        raise DataError(
            f"{path}: its voxels, from {lowest} to {highest}, are all outside the window of "
            f"intensity = {settings.intensity}: {choices}."
        )
    try:
        find_steps(spacing, settings.spacing)
    except BadImageError as error:
        raise DataError(f"{path}: {error}.") from None
    if inside >= _FEWEST_INSIDE:
        return ()
    found = f"{inside:.1%} of the voxels of {path} are inside the window of {settings.intensity}"
    return (
        Inference(
            topic="window",
            found=found,
            reason="the first volume",
            flag="--intensity",
            warning=f"only {found}, the others become black or white: its values are {lowest} to "
            f"{highest}",
        ),
    )


def _open_cache(
    session: Session,
    data_dir: Path,
    *,
    paths: list[str],
    settings: PixelSettings,
    needs: Sequence[DiskNeed] = (),
) -> ImageCache:
    """Build the array on rank 0, then open it everywhere."""
    config = session.config
    with nullcontext() if session.is_single_process else main_process_first(session.accelerator):
        return build_cache(
            data_dir,
            paths,
            settings=settings,
            cache_dir=session.cache_dir,
            num_workers=count_workers(config.num_workers),
            log=session.log,
            needs=needs,
        )


def _rows_in_cache(index: Index, split: Split) -> NDArray[np.int64]:
    # split.csv is in the order of paths, the array in that of sha256 (decision 0002).
    row_of = {r.image_id: int(row) for r, row in zip(index.records, index.cache_rows, strict=True)}
    return np.array([row_of[r.image_id] for r in split.records], dtype=np.int64)
