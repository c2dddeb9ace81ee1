"""Checks of the settings before the first image is decoded, and before TEST is scored.

Names, tables and the listing tell most of it: a setting that only a late step uses must not cost
a training, and never a look at TEST.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from medimg_baseline_cls.config import Config, SettingsError, check_task
from medimg_baseline_cls.data.folders.image_files import ListedFile, Listing
from medimg_baseline_cls.data.splitting.choose_test import SplitSettings
from medimg_baseline_cls.data.splitting.split import split_images
from medimg_baseline_cls.errors import ConfigError, DataError, LeakageError
from medimg_baseline_cls.evaluation.added import list_criteria
from medimg_baseline_cls.evaluation.subgroup_columns import (
    SubgroupColumn,
    part_column,
    part_paths,
    require_columns,
)
from medimg_baseline_cls.pipeline.steps.inferences import (
    find_positive_class,
    require_positive_class,
)
from medimg_baseline_cls.pipeline.steps.listing import require_patients
from medimg_baseline_cls.schema import SPLIT_NAMES, ImageRecord, Split
from medimg_baseline_cls.utils.texts import read_bins


def require_settings(config: Config, listing: Listing) -> None:
    """Refuse settings that do not fit the images that are listed.

    Raises:
        ConfigError: of the task, the classes, or the subgroups.
        DataError: these images cannot be split so, whoever their patients are.
    """
    _require_task(config, listing.task, num_classes=len(listing.class_names))
    list_criteria(config.operating_point)  # a plug-in that is missing must not cost a training
    bins = read_bins(config.subgroup_bins)
    require_columns(bins, listing.subgroup_names)
    for number, name in enumerate(listing.subgroup_names):
        if name in bins:
            cells = [file.subgroups[number] for file in listing.files]
            part_column(name, cells, train=(), edges=bins[name])
    _require_path_subgroups(config, [file.path for file in listing.files])
    _try_split(config, listing)


def list_refusals(config: Config, listing: Listing) -> list[str]:
    """Return the errors with which training would refuse these images and settings.

    Site by site is what `medimg cv --by-site` does: without a test_site, no split is tried.
    """
    steps: list[Callable[[], object]] = [partial(require_patients, config, listing)]
    if config.site_column is None or config.test_site is not None:
        steps.append(partial(require_settings, config, listing))
    positive = find_positive_class(config, listing)[1]
    steps.append(partial(require_positive_class, positive, listing.class_names))
    texts: list[str] = []
    for step in steps:
        try:
            step()
        except (ConfigError, DataError) as error:
            text, *commands = map(str, error.args)
            texts.append(" ".join(filter(None, (text, " or ".join(commands)))))
    return texts


def require_evaluable(config: Config, split: Split) -> tuple[SubgroupColumn, ...]:
    """Return the subgroups of TEST; refuse settings that a step after the scores would refuse.

    config.json may have been edited since training.

    Raises:
        ConfigError: of the task, the classes, or the subgroups.
    """
    _require_task(config, split.task, num_classes=len(split.class_names))
    list_criteria(config.operating_point)
    return find_columns(config, split)


def split_settings(config: Config) -> SplitSettings:
    """Return how TEST and VAL are chosen; a site to leave out must be named by now."""
    if config.site_column is not None and config.test_site is None:
        raise ConfigError(
            f"site_column = {config.site_column} needs the site that is TEST: set test_site, or "
            "leave out each site in turn by `medimg cv --by-site`."
        )
    return SplitSettings(
        strategy=config.val_strategy,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed if config.split_seed is None else config.split_seed,
        num_folds=config.num_folds,
        fold=config.fold,
        fold_repeat=config.fold_repeat,
        site_column=config.site_column,
        test_site=config.test_site,
    )


def _require_task(config: Config, task: str, *, num_classes: int) -> None:
    mistakes = check_task(config, task, num_classes=num_classes)
    if mistakes:
        raise SettingsError(mistakes)


def find_columns(config: Config, split: Split) -> tuple[SubgroupColumn, ...]:
    """Return the ways to part the TEST images, in the order of its rows.

    Raises:
        ConfigError: subgroup_bins names a column that is not there, or that has words.
    """
    bins = read_bins(config.subgroup_bins)
    require_columns(bins, split.subgroup_names)
    test = [split.records[row] for row in split.rows("test")]
    # Judged predictions have no TRAIN, and perhaps no VAL: the next best gives quartiles.
    rows = next(r for name in SPLIT_NAMES if len(r := split.rows(name)))
    train = [split.records[row] for row in rows]
    columns = [
        part_column(
            name,
            [record.subgroups[i] for record in test],
            train=[record.subgroups[i] for record in train],
            edges=bins.get(name),
        )
        for i, name in enumerate(split.subgroup_names)
    ]
    columns += part_paths([record.path for record in test], regex=config.subgroup_regex)
    return tuple(column for column in columns if column.order)


def _require_path_subgroups(config: Config, paths: Iterable[str]) -> None:
    """Refuse an expression for subgroups that no path matches."""
    if config.subgroup_regex in ("auto", "none"):
        return
    pattern = re.compile(config.subgroup_regex)
    first = ""
    for path in paths:
        if pattern.search(path):
            return
        first = first or path
    raise ConfigError(
        f"subgroup_regex = {config.subgroup_regex} matches no path, such as {first}: correct it, "
        "or leave it out."
    )


def _try_split(config: Config, listing: Listing) -> None:
    """Refuse a split that is impossible even if each image without a patient is another's.

    Only the headers and the pixels tell the rest: patients of DICOM files, copies, unreadable
    files. They make groups larger and images fewer, so what fails here fails there.
    """
    with suppress(LeakageError):  # what is to be done about a leak is decided where all is known
        split_images(
            [_make_record(file) for file in listing.files],
            settings=split_settings(config),
            class_names=listing.class_names,
            task=listing.task,
            subgroup_names=listing.subgroup_names,
        )


def _make_record(file: ListedFile) -> ImageRecord:
    return ImageRecord(
        image_id=file.path,
        path=file.path,
        label=file.label,
        group=file.group or file.path,
        split=file.folder,
        sha256="",
        width=0,
        height=0,
        subgroups=file.subgroups,
    )
