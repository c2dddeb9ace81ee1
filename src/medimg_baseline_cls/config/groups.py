"""The order in which settings are shown, and their aliases."""

from collections.abc import Mapping
from typing import Any

FIELD_GROUPS: dict[str, tuple[str, ...]] = {
    "data": (
        "data_dir",
        "class_names",
        "positive_class",
        "group_regex",
        "on_bad_image",
        "on_leak",
        "limit",
    ),
    "table": (
        "manifest",
        "path_column",
        "label_columns",
        "label_separator",
        "group_column",
        "split_column",
        "subgroup_columns",
        "join_rows",
        "allow_outside",
    ),
    "labels": ("task", "uncertain_labels", "missing_labels", "aggregate"),
    "split": (
        "val_strategy",
        "val_fraction",
        "test_fraction",
        "split_files",
        "num_folds",
        "fold",
        "fold_repeat",
        "site_column",
        "test_site",
        "split_seed",
    ),
    "images": ("image_size", "keep_aspect", "intensity", "color"),
    "model": ("arch", "pretrained", "weights", "cam_layer"),
    "training": (
        "head_epochs",
        "finetune_epochs",
        "batch_size",
        "head_lr",
        "finetune_lr",
        "weight_decay",
        "label_smoothing",
        "imbalance",
        "ema_decay",
        "clip_norm",
        "batchnorm",
        "patience",
    ),
    "augmentation": ("augment", "horizontal_flip", "head_augment"),
    "evaluation": (
        "target_sensitivity",
        "operating_point",
        "target_prevalence",
        "num_resamples",
        "subgroup_regex",
        "subgroup_bins",
        "subgroup_min_images",
        "num_hard_examples",
    ),
    "results": ("project", "output_dir", "cache_dir", "seed", "anonymous_ids"),
    "machine": ("device", "precision", "num_workers"),
}

FLAG_ALIASES: dict[str, tuple[str, ...]] = {
    "data_dir": ("--data",),
    "image_size": ("--img-size",),
    "num_folds": ("--folds",),
    "arch": ("--model",),
    "finetune_epochs": ("--epochs",),
    "finetune_lr": ("--lr",),
    "batch_size": ("-b",),
    "num_workers": ("-j", "--workers"),
}

FIRST_SETTINGS = frozenset(
    """
    data_dir manifest positive_class group_regex limit image_size arch weights pretrained
    head_epochs finetune_epochs batch_size seed output_dir device
    """.split()
)
"""The settings that most users need: `--help` shows these, `--help-all` shows all."""


def rename_aliases(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under their own names, where other tools' names were used.

    An alias next to the name of its setting is kept, to be refused as unknown.

    >>> rename_aliases({"epochs": 3, "seed": 1})
    {'finetune_epochs': 3, 'seed': 1}
    """
    names = {
        alias.lstrip("-").replace("-", "_"): name
        for name, aliases in FLAG_ALIASES.items()
        for alias in aliases
        if alias.startswith("--")
    }
    return {
        name if names.get(name, name) in values else names[name]: value
        for name, value in values.items()
    }
