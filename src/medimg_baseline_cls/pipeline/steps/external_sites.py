"""Results on several data sets, compared: what the folders of an external evaluation are read for.

Each folder is read as the run's own: the same files, in which TEST is the other data set.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from medimg_baseline_cls.config import Config, build_config
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.prediction_files import read_predictions
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.evaluation.sites import (
    POOLING,
    measure_locked,
    pool_metrics,
    select_estimates,
)
from medimg_baseline_cls.pipeline.steps.external_data import SITES, name_data, require_name
from medimg_baseline_cls.pipeline.steps.test_lock import read_stored_points
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.probabilities import CalibrationSummary
from medimg_baseline_cls.records.sites import CALIBRATION, Site, SitesSummary
from medimg_baseline_cls.records.summaries import SplitSummary, read_record, read_summary
from medimg_baseline_cls.utils.files import read_csv, read_json, sha256_file
from medimg_baseline_cls.utils.own_output import is_marked_output, mark_own
from medimg_baseline_cls.utils.quantities import say_count

FILE = "sites.json"


def name_sets(sets: Sequence[Path]) -> dict[str, Path]:
    """Return data sets by the names of their results; nothing is read yet.

    Raises:
        ConfigError: there is none, or two of them have the same name.
        DataError: one of them is not there.
    """
    if not sets:
        raise ConfigError("no data set was given: pass a folder or a table after the run.")
    named: dict[str, Path] = {}
    for data in sets:
        name = require_name(name_data(data))
        same = next((n for n in named if n.casefold() == name.casefold()), None)
        if same is not None:
            raise ConfigError(
                f"{named[same]} and {data} have the same name, {name}, so their results would be "
                "in the same folder: rename one of them; nothing was scored."
            )
        named[name] = data
    missing = next((data for data in named.values() if not data.exists()), None)
    if missing is not None:
        raise DataError(f"{missing} is not there: check its path; nothing was scored.")
    return named


def open_joint(result: Path, *, name: str) -> Path:
    """Return the folder for what several data sets have in common, next to the results on one.

    Raises:
        ConfigError: there is something else at this place.
    """
    place = result.with_name(result.name.removesuffix(name) + SITES)
    place.mkdir(exist_ok=True)
    if any(place.iterdir()) and not is_marked_output(place):
        raise ConfigError(f"{place} is a folder of something else: rename it.")
    mark_own(place)
    return place


def compare_sites(run_dir: Path, results: Mapping[str, Path]) -> SitesSummary:
    """Compare the results on data sets, by name, with TEST of their run, and pool them."""
    config = build_config(run_dir / "config.json")
    thresholds = read_stored_points(run_dir)[0]["images"]
    own = read_summary(run_dir / "test_summary.json")
    folders = [(run_dir.resolve().name, run_dir), *results.items()]
    sites = tuple(
        _describe(
            folder,
            name,
            summary=_measure(folder, config, thresholds=thresholds, of_run=own),
            rule=config.operating_point,
        )
        for name, folder in folders
    )
    classes = tuple(own.classes)
    return SitesSummary(
        run=run_dir.resolve().name,
        task=own.task,
        class_names=own.class_names,
        positive_class=own.positive_class,
        classes=classes,
        rule=config.operating_point,
        target_sensitivity=config.target_sensitivity,
        intervals={
            "method": "percentile bootstrap of whole groups (patients); thresholds as stored",
            "num_resamples": config.num_resamples,
            "seed": config.seed,
        },
        pooling=POOLING,
        sites=sites,
        pooled=pool_metrics(sites, classes, rule=config.operating_point),
        warnings=tuple(list_shared(results)),
    )


def _measure(
    folder: Path, config: Config, *, thresholds: Thresholds, of_run: SplitSummary
) -> SplitSummary:
    part = read_predictions(folder / "predictions_test.csv", split="test", task=of_run.task)
    return measure_locked(
        part,
        thresholds,
        positive_class=of_run.positive_class,
        resampling=Resampling(config.num_resamples, config.seed),
    )


def list_shared(results: Mapping[str, Path]) -> Iterator[str]:
    """Yield a warning for each two data sets that have the same files."""
    hashes = {
        name: {row["sha256"] for row in read_csv(folder / "split.csv")} - {""}
        for name, folder in results.items()
    }
    for first, second in combinations(hashes, 2):
        if number := len(hashes[first] & hashes[second]):
            yield (
                f"{first} and {second} have {say_count(number, 'files')} in common, but they are "
                "pooled as if they were independent"
            )


def _describe(folder: Path, name: str, *, summary: SplitSummary, rule: str) -> Site:
    external = folder / "external.json"
    return Site(
        name=name,
        is_internal=not external.is_file(),
        num_images=summary.num_images,
        num_patients=summary.num_groups,
        predictions_sha256=sha256_file(folder / "predictions_test.csv"),
        prevalence={name: block.prevalence for name, block in summary.classes.items()},
        estimates=select_estimates(summary, _read_calibration(folder), rule=rule),
        alarms=tuple(read_json(external)["alarms"]) if external.is_file() else (),
    )


def _read_calibration(folder: Path) -> dict[str, dict[str, Estimate]]:
    """Return slope and intercept of each class; of an older run, which has no file, nothing."""
    path = folder / "calibration.json"
    if not path.is_file():
        return {}
    found = read_record(path, CalibrationSummary.from_json).splits.get("test", {})
    return {
        name: {metric: getattr(block.brief, metric) for metric in CALIBRATION}
        for name, block in found.items()
    }
