"""The flags of each command that takes settings, next to its settings."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from medimg_baseline_cls.cli.flags import option
from medimg_baseline_cls.cli.settings_flags import NO_NAMES
from medimg_baseline_cls.cli.track_command import Trackers, TrackingUri, TrackNames
from medimg_baseline_cls.config import FIRST_SETTINGS, JUDGE_SETTINGS, PRESETS, field_facts

_TIME_LIMIT = "Minutes that the run may take; fewer epochs if need be."
_INTERRUPTED = "Resume an interrupted {} (default: the newest)."


@dataclass(frozen=True, kw_only=True)
class SettingsFlags:
    """The flags of every command that takes settings, next to the settings.

    Attributes:
        settings: the settings that the command uses.
        common: those that its `--help` shows.
        files: the flag that names its input, for whoever leaves the flag out.
        with_resume: its own flags that may be next to --resume.
    """

    config: Annotated[
        Path | None,
        option("Settings file in YAML, TOML or JSON, such as a run's config.json.", "FILE"),
    ] = None
    print_config: Annotated[
        bool, option("Print the settings with their sources as YAML, and exit.")
    ] = False
    # Below the flags: a command that has one of these as a flag shows it after them.
    settings: ClassVar[Collection[str]] = tuple(field_facts())
    common: ClassVar[Collection[str]] = FIRST_SETTINGS
    files: ClassVar[str] = "--data-dir"
    with_resume: ClassVar[Collection[str]] = ("resume", "print_config")


@dataclass(frozen=True, kw_only=True)
class TrainingFlags(SettingsFlags):
    """The flags of every command that trains."""

    preset: Annotated[
        str | None,
        option(f"Settings that belong together: {', '.join(PRESETS)}.", "NAME"),
    ] = None
    track: Trackers = None
    tracking_uri: TrackingUri = None
    track_names: TrackNames = False


@dataclass(frozen=True, kw_only=True)
class TrainFlags(TrainingFlags):
    """The flags of `medimg train`."""

    time_limit: Annotated[float | None, option(_TIME_LIMIT, "X")] = None
    resume: Annotated[tuple[str, ...], option(_INTERRUPTED.format("run"), "[RUN]")] = NO_NAMES


@dataclass(frozen=True, kw_only=True)
class RunFlags(TrainingFlags):
    """The flags of `medimg run`."""

    time_limit: Annotated[float | None, option(_TIME_LIMIT, "X")] = None
    resume: Annotated[
        tuple[str, ...], option(_INTERRUPTED.format("run or seed sweep"), "[RUN]")
    ] = NO_NAMES
    seeds: Annotated[
        tuple[int, ...],
        option("Run with each of these seeds, on the split of the first.", "N N..."),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class CvFlags(TrainingFlags):
    """The flags of `medimg cv`."""

    common: ClassVar[Collection[str]] = FIRST_SETTINGS | {"num_folds", "site_column"}

    resume: Annotated[tuple[str, ...], option(_INTERRUPTED.format("cross-validation"), "[CV]")] = (
        NO_NAMES
    )
    repeats: Annotated[int, option("Repeats of all folds (1 or more; default 1).", "N")] = 1
    by_site: Annotated[
        bool, option("Leave out each site of --site-column in turn instead of using folds.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class SweepFlags(TrainingFlags):
    """The flags of `medimg sweep`."""

    with_resume: ClassVar[Collection[str]] = (
        *("resume", "print_config", "time_limit", "evaluate"),
    )

    space: Annotated[
        Path | None,
        option(
            "YAML, TOML or JSON file: by setting, a list of values, or low and high (and log or "
            "step).",
            "FILE",
        ),
    ] = None
    trials: Annotated[int, option("Trials (2 or more; default 20).", "N")] = 20
    time_limit: Annotated[
        float | None, option("Begin no trial that would end later than this.", "MINUTES")
    ] = None
    evaluate: Annotated[bool, option("Evaluate, explain and report the best trial at the end.")] = (
        False
    )
    resume: Annotated[
        tuple[str, ...],
        option(
            "Resume a sweep (default: the newest unfinished), or join one that is running.",
            "[SWEEP]",
        ),
    ] = NO_NAMES


@dataclass(frozen=True, kw_only=True)
class CheckFlags(SettingsFlags):
    """The flags of `medimg check`."""

    common: ClassVar[Collection[str]] = FIRST_SETTINGS | {"label_columns", "cache_dir"}

    label_noise: Annotated[
        bool, option("Also list doubtful labels; needs a pass through the network --arch.")
    ] = False
    folder: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        option("Folder of images, as for train; it is not modified.", "DIR"),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class JudgeFlags(SettingsFlags):
    """The flags of `medimg judge`."""

    settings: ClassVar[Collection[str]] = JUDGE_SETTINGS
    common: ClassVar[Collection[str]] = JUDGE_SETTINGS
    files: ClassVar[str] = "--test"

    test: Annotated[Path | None, option("Table with the predictions of TEST.", "FILE")] = None
    val: Annotated[
        Path | None, option("The same of VAL, on which thresholds are chosen.", "FILE")
    ] = None
    probability_columns: Annotated[
        tuple[str, ...], option("Columns of probabilities, one per class (none: found).", "NAME...")
    ] = ()
    logits: Annotated[bool, option("The scores are logits: apply softmax or sigmoid.")] = False
    map: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        option(
            "Which class a label means, such as 0=NORMAL; LABEL= leaves its images out. "
            "May be repeated.",
            "LABEL=CLASS",
        ),
    ] = ()


OWN_FLAGS: dict[str, type[SettingsFlags]] = {
    "train": TrainFlags,
    "run": RunFlags,
    "cv": CvFlags,
    "sweep": SweepFlags,
    "check": CheckFlags,
    "judge": JudgeFlags,
}
