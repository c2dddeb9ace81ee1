"""Which images the settings name: of class folders, of a table, or of an .npz file.

Settings of a table without a table are refused.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from medimg_baseline_cls.config import FIELD_GROUPS, Config
from medimg_baseline_cls.data.classes import find_missing_grades, require_order
from medimg_baseline_cls.data.folders.image_files import Listing, list_images
from medimg_baseline_cls.data.folders.split_folders import AS_TABLE
from medimg_baseline_cls.data.npz import is_npz, list_npz
from medimg_baseline_cls.data.patients import (
    PatientRule,
    find_patient_rule,
    require_confirmed,
    require_matches,
    set_rule,
)
from medimg_baseline_cls.data.splitting.choose_test import require_site
from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.table import TABLE_NAMES, TableSettings, find_table, list_table
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.schema import FINDING_SEPARATOR
from medimg_baseline_cls.utils.own_output import require_foreign
from medimg_baseline_cls.utils.pseudonyms import hide_name, load_key
from medimg_baseline_cls.utils.visible import quote_words

_OTHER_TABLE_SETTINGS = ("uncertain_labels", "missing_labels", "split_files", "site_column")


def find_root(config: Config) -> Path:
    """Return what the paths of images are relative to: the data folder, or the table's.

    Raises:
        ConfigError: neither is set.
    """
    if config.data_dir is not None:
        return config.data_dir.resolve()
    if config.manifest is not None:
        return config.manifest.resolve().parent
    raise ConfigError(
        "no data folder is set: pass --data-dir DIR, a folder with train/<CLASS>/ and "
        "test/<CLASS>/, or --manifest FILE for a table, or try `medimg demo`."
    )


def source_settings(data: Path) -> dict[str, Any]:
    """Return the setting that names a data set: a table as manifest, anything else as data_dir.

    Raises:
        DataError: there is nothing at this place.
    """
    if not data.exists():
        raise DataError(
            f"{data} is not there: name a folder of class folders, or a table of the images."
        )
    return {"manifest" if data.is_file() and not is_npz(data) else "data_dir": data}


def require_outside_data(config: Config) -> None:
    """Refuse a data folder of our own making, and output that would be written into the data.

    A table names its images: files next to them are not read.

    Raises:
        ConfigError: output or cache would be in the data folder.
        DataError: the data folder is in a folder that this program has written.
    """
    root = find_root(config)
    require_foreign(root)
    if config.data_dir is None:
        return
    for name, place in (("outputs", config.output_dir), ("cache", config.cache_dir)):
        if place is not None and place.resolve().is_relative_to(root):
            flag = f"--{name.removesuffix('s')}-dir"
            other = os.path.relpath(root.parent / name)
            raise ConfigError(
                f"{place} is inside the data folder {root}, into which nothing is written: "
                f"name another place, such as {quote_words(flag, other)}"
            )


def list_data(
    config: Config, *, cache_dir: Path, fewest_classes: int = 2, as_table: str = AS_TABLE
) -> Listing:
    """List the images of the folder, table or .npz file that the settings name.

    Args:
        config: where they are and how labels are read.
        cache_dir: for the arrays of an .npz file.
        fewest_classes: 1 where there may be images of one class alone.
        as_table: how the command is given a table, for a refusal.

    Raises:
        DataError: there is none, or it is invalid, such as the name of a class.
        ConfigError: settings need a table and there is none, or TEST is not a site of it.
    """
    listing = _list_source(
        config, cache_dir=cache_dir, fewest_classes=fewest_classes, as_table=as_table
    )
    for name in listing.class_names:
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(
                f"the class name {name} is not UTF-8, but it becomes a column of every table: "
                "rename its folder, or its name in class_names."
            )
        if FINDING_SEPARATOR in name:
            raise DataError(
                f"the class name {name} contains {FINDING_SEPARATOR}, which separates findings: "
                f"pass --label-separator '{FINDING_SEPARATOR}' if the images of a table have "
                "several findings each, or rename the class."
            )
    return listing


def _list_source(config: Config, *, cache_dir: Path, fewest_classes: int, as_table: str) -> Listing:
    root = find_root(config)
    if is_npz(root):
        _refuse_table_settings(config, root, as_table=as_table)
        return list_npz(
            root,
            cache_dir=cache_dir,
            task=config.task,
            class_names=config.class_names,
            limit=config.limit,
            has_volumes=config.slices > 0,
        )
    table = config.manifest or find_table(root)
    if table is None:
        _refuse_table_settings(config, root, as_table=as_table)
        listing = list_images(
            root,
            class_names=config.class_names,
            limit=config.limit,
            fewest_classes=fewest_classes,
            as_table=as_table,
            has_volumes=config.slices > 0,
        )
        return _as_grades(listing, config) if config.task == "ordinal" else listing
    settings = table_settings(config, fewest_classes=fewest_classes)
    listing = list_table(table, root=root, settings=settings, limit=config.limit)
    if config.site_column is not None and config.test_site is not None:
        require_site(
            (file.subgroups for file in listing.files),
            listing.subgroup_names,
            site_column=config.site_column,
            test_site=config.test_site,
        )
    return listing


def choose_patient_rule(config: Config, listing: Listing) -> PatientRule:
    """Return how the patient is read from a path: as set, else as all names together tell.

    Raises:
        DataError: `group_regex` matches no file name, or makes one patient of all images.
    """
    if config.group_regex == "auto":
        return find_patient_rule(listing)
    if config.group_regex == "none":
        return set_rule("(?!)")
    require_matches(listing, group_regex=config.group_regex)
    return set_rule(config.group_regex)


def require_patients(config: Config, listing: Listing) -> PatientRule:
    """Return that rule for a training; a guess that the folders of a split contradict is refused.

    Raises:
        DataError: as `choose_patient_rule`, or the guess has to be confirmed.
    """
    rule = choose_patient_rule(config, listing)
    if config.num_folds is None:  # folds are drawn over all images
        require_confirmed(listing, rule)
    return rule


def hide_patient(name: str) -> str:
    """Return the group of a PatientID; the key is only read where there is one."""
    return hide_name(name, load_key())


def table_settings(config: Config, *, fewest_classes: int = 2) -> TableSettings:
    """Return which column of a table is what."""
    sites = () if config.site_column is None else (config.site_column,)
    return TableSettings(
        path_column=config.path_column,
        labels=LabelRule(
            columns=config.label_columns,
            separator=config.label_separator,
            task=config.task,
            class_names=config.class_names,
            uncertain=config.uncertain_labels,
            missing=config.missing_labels,
            fewest_classes=fewest_classes,
        ),
        group_column=config.group_column,
        finds_patients=config.group_regex == "auto",
        split_column=config.split_column,
        finds_split=True,
        split_by=", ".join(
            f"--{name.replace('_', '-')}"
            for name in ("num_folds", "site_column", "split_files")
            if getattr(config, name)
        ),
        subgroup_columns=tuple(dict.fromkeys((*config.subgroup_columns, *sites))),
        site_column=config.site_column,
        join_rows=config.join_rows,
        positive_class=config.positive_class,
        allow_outside=config.allow_outside,
        split_files=config.split_files,
        has_volumes=config.slices > 0,
    )


def _as_grades(listing: Listing, config: Config) -> Listing:
    """Return class folders as grades: in the order that is set, else numbers by value."""
    if config.class_names is None:
        require_order(listing.class_names)
    gaps = find_missing_grades(listing.class_names)
    return replace(listing, task="ordinal", inferences=(*listing.inferences, *gaps))


def _refuse_table_settings(config: Config, root: Path, *, as_table: str) -> None:
    """Refuse settings that only a table gives a meaning to."""
    default = Config()
    used = [
        name
        for name in (*FIELD_GROUPS["table"], *_OTHER_TABLE_SETTINGS)
        if getattr(config, name) != getattr(default, name)
    ]
    if used and is_npz(root):
        raise ConfigError(
            f"{', '.join(used)} needs a table of the images, but {root} is an .npz file, which has "
            "its own labels and split: leave it out."
        )
    if used or (config.task == "multilabel" and not is_npz(root)):
        raise ConfigError(
            f"{', '.join(used) or 'task = multilabel'} needs a table of the images, but {root} "
            f"has none: pass {as_table.format('FILE')}, or name it {' or '.join(TABLE_NAMES)}."
        )
