"""The prediction command: new files through a run's network, one row each.

Files go through the same decoding, preprocessing and inference as in evaluation, so the
same file gets the same probability to the bit.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import NDArray
from torch import nn

from medimg_baseline_cls.data.batches.loaders import ImageSet
from medimg_baseline_cls.data.image_bytes import read_file
from medimg_baseline_cls.data.pixels.cache import ImageCache, build_cache
from medimg_baseline_cls.data.pixels.grey_range import find_dark_images, is_stretched
from medimg_baseline_cls.data.read import FileSorter, describe_files
from medimg_baseline_cls.errors import ConfigError, DataError, RunError
from medimg_baseline_cls.evaluation.operating_points import read_thresholds
from medimg_baseline_cls.evaluation.split_summary import positive_of
from medimg_baseline_cls.interpret.methods import DEFAULT, find_method, name_folder
from medimg_baseline_cls.pipeline.steps.anonymous import load_pseudonyms
from medimg_baseline_cls.pipeline.steps.decisions import Decider
from medimg_baseline_cls.pipeline.steps.leftovers import remove_panels
from medimg_baseline_cls.pipeline.steps.listing import find_root
from medimg_baseline_cls.pipeline.steps.prediction_inputs import find_files, warn_of_slices
from medimg_baseline_cls.pipeline.steps.prediction_outputs import (
    open_cache_dir,
    place_panels,
    require_free,
)
from medimg_baseline_cls.pipeline.steps.prepare import count_workers, pixel_settings
from medimg_baseline_cls.pipeline.steps.run_model import (
    load_model,
    score_images,
    warn_of_checkpoint,
)
from medimg_baseline_cls.pipeline.steps.session import (
    RunResult,
    Session,
    read_provenance,
    reopen_session,
)
from medimg_baseline_cls.schema import Task, Threshold
from medimg_baseline_cls.utils.faults import ending_plainly, require_writable
from medimg_baseline_cls.utils.files import read_csv, write_csv
from medimg_baseline_cls.utils.own_output import PANELS, mark_own
from medimg_baseline_cls.utils.quantities import say_score

if TYPE_CHECKING:
    from medimg_baseline_cls.pipeline.steps.panel_drawing import Explained
    from medimg_baseline_cls.statistics.recalibration import Recalibration

MAX_TABLE_ROWS = 20
OnBadImage = Literal["error", "skip"]


class Handling(TypedDict, total=False):
    """How images are decided, and what becomes of files that cannot be decoded.

    Attributes:
        operating_point: the rule to decide by; None takes the run's own.
        recalibrate: "temperature", "platt" or "isotonic", as fitted on VAL, adds the recalibrated
            probability of each class that was evaluated; decisions stay the same.
        on_bad_image: "error" refuses all files where one cannot be decoded, "skip" lists it.
        method: the kind of map that `explain` draws, as in the command of that name.
    """

    operating_point: str | None
    recalibrate: str | None
    on_bad_image: OnBadImage
    method: str


@ending_plainly(is_resumable=False)
def predict(
    run: Path | str,
    paths: Sequence[Path | str],
    *,
    output: Path | None = None,
    output_dir: Path = Path("outputs"),
    explain: bool = False,
    model: nn.Module | None = None,
    **how: Unpack[Handling],
) -> RunResult:
    """Predict files, folders or patterns, and write one CSV row per image.

    Args:
        run: an evaluated run folder, or "latest".
        paths: image files, folders (searched below) or glob patterns.
        output: the CSV file; None writes predictions_new.csv into the run folder.
        output_dir: where `latest` is looked up.
        explain: draw a panel of each image, with its heat map, into a folder next to the CSV.
        model: a network of the class that the run was trained with, if that was passed.
        **how: operating_point, recalibrate, on_bad_image and method, see `Handling`.

    Raises:
        DataError: a path contains no image, or a file cannot be decoded.
        RunError: the run has no thresholds yet, or not this operating point.
        ConfigError: `output` is a folder, or a file that predict did not write.
    """
    # First of all, as a refused output must not cost the prediction.
    if output is not None:
        require_free(output)
    recalibrate, on_bad_image = how.get("recalibrate"), _read_choice(how)
    method = _read_method(how, is_used=explain)
    session = replace(reopen_session(run, output_dir=output_dir), module=model)
    target = output or session.run_dir / "predictions_new.csv"
    require_writable(target.parent, "name a file elsewhere with --output")
    panels = place_panels(target) if explain else None
    provenance = read_provenance(session.run_dir)
    rule = how.get("operating_point") or session.config.operating_point
    thresholds = _pick_thresholds(session, rule)
    maps = {} if recalibrate is None else _read_maps(session, recalibrate)
    sorter = FileSorter(has_volumes=session.config.slices > 0)
    files = find_files(paths, sorter=sorter)
    if files_found := describe_files([sorter]):
        session.log.info(files_found)
    network, checkpoint = load_model(session, "best.pt")
    cache = _decode(session, files, color=provenance["color"])
    files = _leave_out_bad(session, files, cache=cache, on_bad_image=on_bad_image)
    _warn_of_own_images(session, cache)
    _warn_of_dark_images(session, cache, provenance=provenance)
    images = _as_image_set(cache)
    task: Task = checkpoint.get("task", "multiclass")
    _, probabilities = score_images(session, network, images=images, task=task)

    class_names: list[str] = checkpoint["class_names"]
    decider = Decider(
        class_names=tuple(class_names),
        positive_class=positive_of(class_names, checkpoint["positive_class"]),
        task=task,
        thresholds=thresholds,
    )
    of_maps = [f"{recalibrate}_{part}{name}" for name in maps for part in ("", "threshold_")]
    named = [f"prob_{name}" for name in class_names]
    header = ["path", *named, *of_maps, "decision", "threshold", "rule"]
    mapped = _recalibrate(probabilities, maps, decider=decider)
    rows = [
        [str(file), *map(float, p), *map(float, m), *decider.decide(p), rule]
        for file, p, m in zip(files, probabilities, mapped, strict=True)
    ]
    shown = _shown_names(session, files)
    _write_predictions(session, target, header=header, rows=rows, shown=shown)
    _print_predictions(session, header, rows=rows, shown=shown)
    session.log.info(decider.count(probabilities))
    session.log.info(f"{len(rows)} images: {target}")
    if panels is not None:
        from medimg_baseline_cls.pipeline.steps.panel_drawing import draw_panels  # matplotlib

        wanted = _plan_panels(shown, probabilities, decider=decider, folder=panels, method=method)
        read = partial(read_file, files)
        draw_panels(session, network, images=images, wanted=wanted, method=method, read=read)
        session.log.info(f"panels: {panels}")
    return RunResult(session.run_dir, {"output": str(target), "num_images": len(files)})


def _read_method(how: Handling, *, is_used: bool) -> str:
    """Return the kind of map, which must be known, and of use."""
    name = how.get("method", DEFAULT)
    find_method(name)
    if name != DEFAULT and not is_used:
        raise ConfigError(f"--method {name} would do nothing: add --explain, or leave it out.")
    return name


def _read_choice(how: Handling) -> OnBadImage:
    choice = how.get("on_bad_image", "error")
    if choice not in get_args(OnBadImage):
        raise ConfigError(f"--on-bad-image {choice}: expected error or skip.")
    return choice


def _read_maps(session: Session, method: str) -> "Mapping[str, Recalibration]":
    """Return the recalibration of each class, and warn where VAL does not determine it."""
    # Imports SciPy: a second that a plain prediction need not wait.
    from medimg_baseline_cls.evaluation.recalibration import read_map_warnings, read_recalibration

    path = session.run_dir / "recalibration.json"
    maps = read_recalibration(path, method)
    for warning in read_map_warnings(path, method):
        session.log.warn(warning)
    return maps


def _recalibrate(
    probabilities: NDArray[np.float64],
    maps: "Mapping[str, Recalibration]",
    *,
    decider: Decider,
) -> NDArray[np.float64]:
    """Return the recalibrated probability and threshold of each class with a map, (N, 2 K).

    The threshold is NaN where a class has none.
    """
    if not maps:  # nor is SciPy loaded
        return np.empty((len(probabilities), 0))
    from medimg_baseline_cls.evaluation.recalibration import carry_thresholds

    columns: list[NDArray[np.float64]] = []
    for name, recalibration in maps.items():
        own = probabilities[:, decider.class_names.index(name)]
        point = decider.thresholds.get(name)
        cut = np.nan if point is None else carry_thresholds(recalibration, [point])[0].value
        columns += [recalibration.apply(own), np.full(len(own), cut)]
    return np.stack(columns, axis=1)


def _decode(session: Session, files: Sequence[Path], *, color: str) -> ImageCache:
    """Decode the files as the run's images were."""
    with open_cache_dir(session) as cache_dir:
        cache = build_cache(
            Path(),
            [str(file) for file in files],
            settings=pixel_settings(session.config, color),
            cache_dir=cache_dir,
            num_workers=count_workers(session.config.num_workers),
            log=session.log,
        )
    warn_of_slices(files, cache.facts, log=session.log)
    return cache


def _leave_out_bad(
    session: Session, files: Sequence[Path], *, cache: ImageCache, on_bad_image: str
) -> list[Path]:
    """Return the files that were decoded; list the others with the reason, or refuse them."""
    bad = {file: f.error for file, f in zip(files, cache.facts, strict=True) if f.error is not None}
    if not bad:
        return list(files)
    shown = dict(zip(bad, _shown_names(session, list(bad)), strict=True))
    if on_bad_image == "error" or len(bad) == len(files):
        named = "; ".join(f"{shown[file]} ({error})" for file, error in list(bad.items())[:10])
        skip = ", or pass --on-bad-image skip" if len(bad) < len(files) else ""
        raise DataError(
            f"{len(bad)} of {len(files)} files cannot be decoded: {named}. Leave them out, fix "
            f"them{skip}; nothing was predicted."
        )
    session.log.warn(f"{len(bad)} of {len(files)} files cannot be decoded and are skipped:")
    for file, error in bad.items():
        session.log.info(f"  {shown[file]} ({error})")
    return [file for file in files if file not in bad]


def _warn_of_own_images(session: Session, cache: ImageCache) -> None:
    """Warn of images that the network was trained, its thresholds chosen or its TEST scored on."""
    path = session.run_dir / "split.csv"
    own = {row["sha256"]: row["split"] for row in read_csv(path)} if path.is_file() else {}
    decoded = [fact.sha256 for fact in cache.facts if fact.row >= 0]
    counts = Counter(own[digest] for digest in decoded if own.get(digest) in ("train", "val"))
    if counts:
        parts = " and ".join(f"{counts[name]} in {name.upper()}" for name in sorted(counts))
        session.log.warn(
            f"{counts.total()} of {len(decoded)} images were used in training: {parts} of this "
            "run; the decisions on them look better than on new images"
        )
    if num_test := sum(own.get(digest) == "test" for digest in decoded):
        session.log.warn(
            f"{num_test} of {len(decoded)} images are in TEST of this run: their predictions are "
            "in predictions_test.csv, and this look is not in the TEST log"
        )


def _warn_of_dark_images(
    session: Session, cache: ImageCache, *, provenance: Mapping[str, Any]
) -> None:
    """Warn of images that use little of their range, where those of training used more."""
    settings = pixel_settings(session.config, provenance["color"])
    inferences = {item["topic"]: item for item in provenance.get("inferences", ())}
    was_dark = bool(inferences.get("intensity", {}).get("warning"))
    is_kept = not is_stretched(settings.intensity) and not was_dark
    if is_kept and (dark := find_dark_images(cache, settings)):
        session.log.warn(f"{dark}; those of training use more")


def _as_image_set(cache: ImageCache) -> ImageSet:
    rows = [fact.row for fact in cache.facts if fact.row >= 0]
    return ImageSet(
        cache.pixels,
        np.array(rows, dtype=np.int64),
        np.arange(len(rows), dtype=np.int64),
        np.full(len(rows), -1, dtype=np.int64),
    )


def _pick_thresholds(session: Session, rule: str) -> dict[str, Threshold]:
    """Return the threshold of each class at one operating point; name those that lack it."""
    run_dir = session.run_dir
    if not (run_dir / "thresholds.json").is_file():
        raise RunError(
            f"{run_dir} has no thresholds.json, so no decision can be made: "
            f"`medimg run --resume {run_dir}` evaluates it."
        )
    points = read_thresholds(run_dir / "thresholds.json")
    warn_of_checkpoint(session, "the thresholds were chosen for the one before")
    picked = {n: t for n, ts in points.items() for t in ts if t.rule == rule}
    if not picked:
        known = sorted({t.rule for ts in points.values() for t in ts})
        raise RunError(f"{rule} is not an operating point of this run; it has {', '.join(known)}.")
    missing = [name for name in points if name not in picked]
    if missing:
        session.log.warn(
            f"{', '.join(missing)} never decided: VAL has no positive image to choose {rule} by"
        )
    return picked


def _plan_panels(
    shown: Sequence[str],
    probabilities: NDArray[np.float64],
    *,
    decider: Decider,
    folder: Path,
    method: str,
) -> "list[Explained]":
    """Return the panels of each image: one, or one per positive finding."""
    from medimg_baseline_cls.interpret.panels import PanelText
    from medimg_baseline_cls.pipeline.steps.panel_drawing import Explained, safe_name

    folder.mkdir(parents=True, exist_ok=True)
    mark_own(folder, kind=PANELS)
    wanted: list[Explained] = []
    for position, (path, p) in enumerate(zip(shown, probabilities, strict=True)):
        for name in decider.explained(p):
            target, threshold = decider.class_names.index(name), decider.thresholds[name]
            text = PanelText(
                kind="",
                image_id=Path(path).name,
                class_name=name,
                probability=float(p[target]),
                label=None,
                threshold=threshold.value,
                rule=threshold.rule,
                decision=decider.describe(p),
            )
            part = f"{safe_name(name)}_" if decider.has_findings else ""
            part += "" if method == DEFAULT else f"{name_folder(method)}_"
            stem = f"{position + 1:04d}_p{p[target]:.3f}_{part}{safe_name(path)}"
            wanted.append(Explained(position, target, folder / f"{stem}.png", text))
    return wanted


def _shown_names(session: Session, files: Sequence[Path]) -> list[str]:
    """Return the name of each file on the screen and on panels.

    In an anonymous run that is a pseudonym, for the run's own images the one of its report.
    """
    if not session.config.anonymous_ids:
        return [str(file) for file in files]
    pseudonyms, root = load_pseudonyms(), find_root(session.config)
    places = [file.resolve() for file in files]
    return [
        pseudonyms.image(
            (place.relative_to(root) if place.is_relative_to(root) else place).as_posix()
        )
        for place in places
    ]


def _write_predictions(
    session: Session,
    target: Path,
    *,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    shown: Sequence[str],
) -> None:
    """Write the CSV file, which names the files; where panels do not, what they call them too.

    Panels of earlier predictions there are removed.
    """
    is_repeated = target.is_file() and target.stat().st_size > 0
    if not session.config.anonymous_ids:
        write_csv(target, header, rows=rows)
    else:
        named = [[*row, name] for row, name in zip(rows, shown, strict=True)]
        write_csv(target, [*header, "pseudonym"], rows=named, is_private=True)
    num_panels = remove_panels(target)
    if is_repeated:
        gone = f", and {num_panels} panels of theirs removed" if num_panels else ""
        session.log.info(f"the earlier predictions in {target} were replaced{gone}")


def _print_predictions(
    session: Session,
    header: Sequence[str],
    *,
    rows: Sequence[Sequence[object]],
    shown: Sequence[str],
) -> None:
    """Print a table if it is short."""
    if len(rows) <= MAX_TABLE_ROWS:
        cells = [[say_score(c) if isinstance(c, float) else c or "" for c in row] for row in rows]
        named = [[name, *row[1:]] for name, row in zip(shown, cells, strict=True)]
        session.log.table("", header=header, rows=named)
