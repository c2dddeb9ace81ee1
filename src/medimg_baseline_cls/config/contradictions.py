"""Settings that contradict each other or have no effect: one sentence for each."""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from medimg_baseline_cls.config.messages import show_value
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.parsing import explain_parse_error
from medimg_baseline_cls.utils.texts import read_bins

if TYPE_CHECKING:
    from medimg_baseline_cls.config.settings import Config


def find_contradictions(config: "Config") -> tuple[str, ...]:
    """Return one sentence per pair of settings that contradict each other."""
    return (
        *_check_classes(config),
        *_check_group_regex(config.group_regex),
        *_check_subgroups(config.subgroup_regex),
        *_check_bins(config.subgroup_bins),
        *_check_split(config),
        *_check_volumes(config),
        *check_task(config, config.task, num_classes=len(config.class_names or ())),
        *_check_training(config),
    )


def check_task(config: "Config", task: str, *, num_classes: int = 0) -> tuple[str, ...]:
    """Return one sentence per setting that the task or the number of classes does not allow.

    Args:
        config: the settings.
        task: the task that was set or inferred from the labels ("auto" before that).
        num_classes: the number of classes; 0 before it is known.
    """
    return (
        *_check_findings(config, task),
        *_check_prevalence(config, task, num_classes=num_classes),
    )


def find_useless(config: "Config", given: Collection[str]) -> tuple[str, ...]:
    """Return one sentence per setting that was given, but has no effect next to the others.

    Args:
        config: the settings.
        given: those that were given as flags, as a preset or a file may set them for other cases.
    """
    of_finetuning = {"finetune_lr", "batchnorm", "frozen_stem", "slices_per_pass"}
    of_slices = {"slice_pooling", "slice_neighbors", "slices_per_pass"}
    if not config.head_augment:
        of_finetuning |= {"augment", "horizontal_flip"}
    rules = (
        (config.finetune_epochs == 0, of_finetuning, "finetune_epochs = 0"),
        (config.head_epochs == 0, {"head_fit"}, "head_epochs = 0"),
        (not config.pretrained, {"frozen_stem"}, "pretrained = false"),
        (config.slices == 0, {*of_slices, "spacing"}, "slices = 0"),
        (
            config.arch.startswith("monai3d:"),
            of_slices,
            f"arch = {config.arch}, which sees volumes whole",
        ),
        (
            config.head_fit == "logistic" and config.finetune_epochs == 0,
            {"head_lr", "weight_decay", "ema_decay", "clip_norm", "patience"},
            "head_fit = logistic and finetune_epochs = 0",
        ),
    )
    return tuple(
        f"{name} = {show_value(getattr(config, name))} has no effect with {cause}: leave it out, "
        "or change the other."
        for is_met, names, cause in rules
        if is_met
        for name in sorted(names.intersection(given))
    )


def _check_prevalence(config: "Config", task: str, *, num_classes: int) -> tuple[str, ...]:
    if config.target_prevalence is None or not (task == "multilabel" or num_classes > 2):
        return ()
    found = "several findings" if task == "multilabel" else f"{num_classes} classes"
    return (
        f"target_prevalence = {config.target_prevalence:g} is the prevalence for two classes, but "
        f"there are {found}: leave it out.",
    )


def _check_findings(config: "Config", task: str) -> tuple[str, ...]:
    if task != "multilabel":
        return ()
    rules = (
        (
            config.imbalance == "balanced_sampler",
            "imbalance = balanced_sampler samples all classes equally often, but with task = "
            "multilabel an image has several findings: choose imbalance = none, class_weights or "
            "focal.",
        ),
        (
            config.positive_class is not None,
            f"positive_class = {show_value(config.positive_class)} has no effect with task = "
            "multilabel, which has one decision per finding: leave it out.",
        ),
    )
    return tuple(sentence for is_broken, sentence in rules if is_broken)


def _check_classes(config: "Config") -> list[str]:
    names = config.class_names
    if names is None:
        return []
    mistakes: list[str] = []
    if len(set(names)) < max(2, len(names)) or not all(map(str.strip, names)):
        mistakes.append(
            f"class_names = {show_value(names)}: expected two or more different names, "
            "for example [NORMAL, PNEUMONIA]."
        )
    if config.positive_class is not None and config.positive_class not in names:
        mistakes.append(
            f"positive_class = {show_value(config.positive_class)} is not one of "
            f"class_names = {show_value(names)}: name one of them, or leave it out."
        )
    return mistakes


def _check_group_regex(group_regex: str) -> list[str]:
    if group_regex in ("auto", "none"):
        return []
    _, mistakes = _compile(
        group_regex, "group_regex", expected=r"expected auto, none, or one such as ^(patient\d+)_."
    )
    return mistakes


def _check_subgroups(subgroup_regex: str) -> list[str]:
    if subgroup_regex in ("auto", "none"):
        return []
    expected = "expected auto, none, or one with named groups such as (?P<view>PA|AP)."
    pattern, mistakes = _compile(subgroup_regex, "subgroup_regex", expected=expected)
    if pattern is not None and not pattern.groupindex:
        return [f"subgroup_regex = {subgroup_regex} has no named group: {expected}"]
    return mistakes


def _compile(text: str, name: str, *, expected: str) -> tuple[re.Pattern[str] | None, list[str]]:
    try:
        return re.compile(text), []
    except (re.error, RecursionError, OverflowError) as error:
        shown, reason = show_value(text), explain_parse_error(error)
        return None, [f"{name} = {shown} is not a regular expression ({reason}): {expected}"]


def _check_bins(subgroup_bins: Sequence[str]) -> list[str]:
    try:
        read_bins(subgroup_bins)
    except ConfigError as error:
        return [str(error)]
    return []


def _check_split(config: "Config") -> list[str]:
    folds = config.num_folds
    rules = (
        (
            folds is None and (config.fold, config.fold_repeat) != (0, 0),
            "fold and fold_repeat have no effect without num_folds: set num_folds, for example 5.",
        ),
        (
            folds is not None and config.fold >= folds,
            f"fold = {config.fold} is out of range for num_folds = {folds}: folds count from 0, so "
            f"choose 0 to {(folds or 1) - 1}.",
        ),
        (
            folds is not None and config.site_column is not None,
            "num_folds and site_column are two ways to choose TEST: leave one of them out.",
        ),
        (
            config.site_column is None and config.test_site is not None,
            f"test_site = {config.test_site} has no effect without site_column: set site_column, "
            "for example hospital.",
        ),
        (
            bool(config.split_files) and config.split_column is not None,
            "split_files and split_column both define TEST: leave one of them out.",
        ),
    )
    return [sentence for is_broken, sentence in rules if is_broken]


def _check_volumes(config: "Config") -> list[str]:
    lowest, slash, highest = config.intensity.partition("/")
    spacing = config.spacing or ""
    is_window = config.intensity not in ("full_range", "min_max", "percentile")
    is_pooled = config.slices > 0 and not config.arch.startswith("monai3d:")
    is_kept = config.batchnorm == "frozen" or (config.batchnorm == "auto" and config.pretrained)
    rules = (
        (
            is_window and not config.slices,
            f"intensity = {config.intensity} is a window for volumes: set slices, for example 32, "
            "or choose full_range, min_max or percentile.",
        ),
        (
            bool(slash) and float(lowest) >= float(highest),
            f"intensity = {config.intensity}: expected LOWEST/HIGHEST, such as -160/240.",
        ),
        (
            config.arch.startswith("monai3d:") and not config.slices,
            f"arch = {config.arch} is a network for volumes: set slices, for example 32.",
        ),
        (
            config.slices == 1,
            "slices = 1 would make an image of a volume: choose 2 or more, or 0 for images.",
        ),
        (
            config.slices > 0 and config.color == "rgb",
            "color = rgb is not possible with slices, which are gray: leave it out.",
        ),
        (
            bool(spacing) and min(map(float, spacing.split("/"))) <= 0,
            f"spacing = {spacing}: expected millimeters above 0, such as 5/0.8.",
        ),
        (
            config.slices_per_pass > 0 and is_pooled and not is_kept,
            f"slices_per_pass = {config.slices_per_pass} would give each part of a batch BatchNorm "
            f"statistics of its own (slices = {config.slices}, batchnorm = {config.batchnorm}, "
            f"pretrained = {show_value(config.pretrained)}): leave it out and lower batch_size, or "
            "set batchnorm = frozen if the weights are pretrained.",
        ),
        (
            "/" in spacing and config.keep_aspect,
            f"keep_aspect = true has no effect with spacing = {spacing}: leave one of them out.",
        ),
    )
    return [sentence for is_broken, sentence in rules if is_broken]


def _check_training(config: "Config") -> list[str]:
    rules = (
        (
            config.weights is not None and not config.pretrained,
            f"weights = {config.weights} and pretrained = false contradict each other: "
            "leave one of them out.",
        ),
        (
            config.head_epochs + config.finetune_epochs == 0,
            "head_epochs = 0 and finetune_epochs = 0 leave nothing to train: increase one of them.",
        ),
        (
            config.horizontal_flip and config.augment == "none",
            "horizontal_flip = true has no effect with augment = none: "
            "choose augment = light or standard.",
        ),
        (
            config.head_augment and config.augment == "none",
            "head_augment = true has no effect with augment = none: "
            "choose augment = light or standard.",
        ),
        (
            config.head_fit == "logistic" and (config.head_augment or config.head_epochs == 0),
            "head_fit = logistic solves the classifier once on the images as they are: leave out "
            "head_augment, and head_epochs = 0.",
        ),
        (
            config.head_fit == "logistic" and config.imbalance in ("balanced_sampler", "focal"),
            f"imbalance = {config.imbalance} is not possible with head_fit = logistic: choose "
            "imbalance = none or class_weights.",
        ),
        (
            config.head_augment and config.head_epochs == 0,
            "head_augment = true has no effect with head_epochs = 0: leave it out.",
        ),
    )
    return [sentence for is_broken, sentence in rules if is_broken]
