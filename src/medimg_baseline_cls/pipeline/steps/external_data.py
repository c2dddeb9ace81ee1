"""Another labeled data set for a finished run: its images with the run's classes, as pixels.

Class folders or a table of it are read as for training, labels become the classes of the run, and
files are decoded as the run's images were. All images are scored, whatever split they have there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from medimg_baseline_cls.config import FIELD_GROUPS, Config
from medimg_baseline_cls.data.index import index_images
from medimg_baseline_cls.data.label_mapping import map_labels, settle_labels
from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.tables.table import find_table
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.pipeline.steps.inferences import show_inferences
from medimg_baseline_cls.pipeline.steps.listing import (
    choose_patient_rule,
    find_root,
    hide_patient,
    list_data,
    source_settings,
)
from medimg_baseline_cls.pipeline.steps.prediction_outputs import open_cache_dir
from medimg_baseline_cls.pipeline.steps.prepare import (
    PreparedData,
    count_workers,
    pixel_settings,
)
from medimg_baseline_cls.pipeline.steps.session import Session, find_started_in
from medimg_baseline_cls.schema import Split, Task
from medimg_baseline_cls.utils.files import read_json, sha256_file
from medimg_baseline_cls.utils.texts import read_bins
from medimg_baseline_cls.utils.visible import quote_words

SITES = "sites"
"""The folder of what several data sets have in common, so not the name of one."""

_LABEL_FIELDS = ("uncertain_labels", "missing_labels")
_OF_SPLIT = tuple(name for name in FIELD_GROUPS["split"] if name != "split_seed")


@dataclass(frozen=True, kw_only=True)
class TableFlags:
    """How the other data set is read where that differs from the run; None: it does not.

    Attributes:
        path_column: the image file.
        label_columns: the class, or a column for each finding.
        label_separator: between the findings of one cell.
        group_column: the patient.
        group_regex: finds the patient in a path; "auto" by default.
        subgroup_columns: the subgroups to measure.
        on_bad_image: "error" refuses unreadable files, "skip" lists them in rejected.csv.
    """

    path_column: str | None = None
    label_columns: tuple[str, ...] | None = None
    label_separator: str | None = None
    group_column: str | None = None
    group_regex: str | None = None
    subgroup_columns: tuple[str, ...] | None = None
    on_bad_image: str | None = None


_FLAGS = frozenset(f"--{field.name.replace('_', '-')}" for field in fields(TableFlags))


@dataclass(frozen=True)
class OtherData:
    """The other data set: its images, all in the split "test", and what could not be read."""

    data: PreparedData
    rejected: tuple[tuple[str, str], ...]


def name_data(data: Path) -> str:
    """Return what a data set is called where no name is given: its folder or file.

    >>> name_data(Path("/data/Site B/"))
    'Site-B'
    """
    return re.sub(r"[^\w.-]+", "-", data.resolve().stem).strip(".-") or "external"


def require_name(name: str) -> str:
    """Refuse a name that cannot be that of a folder.

    Raises:
        ConfigError: with an example.
    """
    if not re.fullmatch(r"\w([\w.-]*\w)?", name):
        raise ConfigError(
            f"--name {quote_words(name)} cannot name a folder: use letters, digits, and "
            "- _ . between them, such as --name site-b."
        )
    if name.casefold() == SITES:
        raise ConfigError(
            f"{name} is the folder that compares several data sets: rename the data set, or pass "
            "another --name."
        )
    return name


def require_same_source(place: Path, run_dir: Path, *, data: Path) -> bool:
    """Return whether a folder has earlier results, which are of the same run and data.

    In the run's own folder they are of the run. Elsewhere the name of a run does not identify it,
    but what decides does.

    Raises:
        ConfigError: they are of other data or of another run.
    """
    if not (place / "predictions_test.csv").is_file():
        return False
    stored = read_json(place / "config.json")
    started_in = find_started_in(place) or Path()
    earlier = started_in / str(stored.get("manifest") or stored.get("data_dir"))
    if earlier.resolve() != data.resolve():
        raise ConfigError(
            f"{place} has the results of other data, {earlier}: pass another --name for {data}."
        )
    here, own = place / "thresholds.json", run_dir / "thresholds.json"
    if place.is_relative_to(run_dir) or not own.is_file():
        return True
    if sha256_file(here) != sha256_file(own):
        raise ConfigError(
            f"{place} has the results of another run, or of this one before its thresholds were "
            f"chosen again: pass another --name for {run_dir}."
        )
    return True


def require_same_maps(
    place: Path, labels: Sequence[str], *, class_names: Sequence[str], maps: Mapping[str, str]
) -> None:
    """Refuse to replace results for which these labels had another meaning.

    Raises:
        ConfigError: they had.
    """
    written = place / "external.json"
    earlier = read_json(written).get("maps", maps) if written.is_file() else maps
    meanings = [settle_labels(labels, class_names, maps=found) for found in (earlier, maps)]
    if meanings[0] != meanings[1]:
        raise ConfigError(
            f"{place} has results with another --map: pass another --name with this data set "
            "alone, or the same --map."
        )


def settings_of(config: Config, data: Path, *, task: Task, flags: TableFlags) -> Config:
    """Return the settings of a run with another data set in the place of its own.

    Raises:
        DataError: there is nothing at this place.
    """
    source, default = source_settings(data), Config()
    has_table = "manifest" in source or (data.is_dir() and find_table(data) is not None)
    reset = [*_OF_SPLIT, "class_names", "limit", "group_regex", "split_column"]
    if not has_table:
        reset += [*FIELD_GROUPS["table"], *_LABEL_FIELDS]
    changes: dict[str, Any] = {name: getattr(default, name) for name in reset}
    given = {f.name: getattr(flags, f.name) for f in fields(flags)}
    changes |= {name: value for name, value in given.items() if value is not None}
    changes |= {
        "data_dir": None,
        "manifest": None,
        **source,
        "task": "multilabel" if task == "multilabel" else "multiclass",
    }
    return replace(config, **changes)


def read_other(
    session: Session, provenance: Mapping[str, Any], *, maps: Mapping[str, str], may_lack: bool
) -> OtherData:
    """List, map and decode the images of another data set.

    Args:
        session: with the settings of `settings_of`, and the folder of the results.
        provenance: of the run: classes, task, color.
        maps: which label becomes which class.
        may_lack: whether a label of `maps` need not be there.

    Raises:
        DataError: the data set, a label or a file is not as it must be.
        ConfigError: a mapping or a setting does not fit, or is not that of earlier results.
    """
    config, log = session.config, session.log
    root, class_names = find_root(config), tuple(provenance["class_names"])
    task: Task = provenance.get("task", "multiclass")
    found = list_data(config, cache_dir=session.cache_dir, fewest_classes=1, as_table="{} as DATA")
    listing = map_labels(found, class_names=class_names, task=task, maps=maps, may_lack=may_lack)
    require_same_maps(session.run_dir, found.class_names, class_names=class_names, maps=maps)
    rule = choose_patient_rule(config, listing)
    settings = pixel_settings(config, provenance["color"])
    with open_cache_dir(session) as cache_dir:
        cache = build_cache(
            root,
            [file.path for file in listing.files],
            settings=settings,
            cache_dir=cache_dir,
            num_workers=count_workers(config.num_workers),
            log=log,
        )
    # A class may be absent here: none is required.
    index = index_images(
        replace(listing, class_names=()),
        cache.facts,
        rule=rule,
        on_bad_image=config.on_bad_image,
        hide=hide_patient,
    )
    if not index.records:
        raise DataError(f"{root} has no image that can be decoded: nothing was scored.")
    records = tuple(replace(record, split="test") for record in index.records)
    split = Split(records, class_names, task, listing.subgroup_names)
    log.info(f"data: {root} ({listing.kind})")
    inferences = [
        item if item.flag.split(" ")[0] in _FLAGS else replace(item, flag="")
        for item in (*found.inferences, *index.inferences)
    ]
    show_inferences(log, inferences, has_warnings=False)
    for note in (*listing.notes, *index.notes):
        log.info(note)
    data = PreparedData(split, cache.pixels, index.cache_rows, settings, provenance)
    return OtherData(data, index.rejected)


def keep_bins(config: Config, split: Split) -> Config:
    """Return the settings without borders of a column that this data set does not have."""
    kept = tuple(
        text for text in config.subgroup_bins if set(read_bins([text])) <= set(split.subgroup_names)
    )
    return replace(config, subgroup_bins=kept)
