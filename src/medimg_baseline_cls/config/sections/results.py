"""Settings: how a run is evaluated, where it is written, on what it runs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from medimg_baseline_cls.config.section import COMMON, RULES, Flag


@dataclass(frozen=True, kw_only=True, config=RULES)
class EvaluationSettings:
    """Thresholds, intervals, subgroups and mistakes."""

    target_sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Sensitivity on VAL for target_sensitivity (above 0, at most 1)."""

    operating_point: Annotated[
        str,
        Field(
            pattern=r"^(max_f1|target_sensitivity|default|plugin:[A-Za-z0-9_.-]+)$",
            title="max_f1, target_sensitivity, default or plugin:NAME",
            examples=["max_f1"],
        ),
    ] = "max_f1"
    """Threshold rule for predict: max_f1, target_sensitivity, default (0.5), or plugin:NAME."""

    target_prevalence: Annotated[float | None, Field(gt=0, lt=1, examples=[0.1])] = None
    """Prevalence at deployment, for two classes (above 0, below 1; none: unknown)."""

    num_resamples: Annotated[int, Field(ge=50, le=100_000)] = 2000
    """Patient-level resamples for the 95 % CIs (50 to 100000)."""

    subgroup_regex: Annotated[str, Field(examples=[r"(?P<view>PA|AP)"])] = "auto"
    """Subgroups in file names: auto, none, or a regular expression with named groups."""

    subgroup_bins: Annotated[tuple[str, ...], Field(examples=[["age=40/65"]])] = ()
    """Cut points of numeric subgroups, as in age=40/65 (none: quartiles of TRAIN)."""

    subgroup_min_images: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Minimum TEST images for subgroup metrics (1 to 100000)."""

    num_hard_examples: Annotated[int, Field(ge=0, le=1000)] = 8
    """Number of worst FP, and FN, of TEST to explain (0 to 1000)."""


@dataclass(frozen=True, kw_only=True, config=RULES)
class ResultsSettings:
    """Where results are written, and what repeats them."""

    project: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?$",
            title="letters, digits, and - _ . between them",
        ),
    ] = "medimg"
    """Prefix of the run folder's name (letters, digits, - _ .)."""

    output_dir: Annotated[Path, COMMON] = Path("outputs")
    """Folder for runs/ and the image cache."""

    cache_dir: Path | None = None
    """Folder of the image cache (none: OUTPUT_DIR/cache)."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1), COMMON] = 0
    """Seed of all random numbers (0 to 4294967295)."""

    anonymous_ids: bool = False
    """Show pseudonyms instead of names in panels and report."""


@dataclass(frozen=True, kw_only=True, config=RULES)
class MachineSettings:
    """Where the computations run."""

    device: Annotated[
        str,
        Field(
            pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
            title="auto, cpu, mps, cuda or cuda:NUMBER",
            examples=["cuda:1"],
        ),
        COMMON,
    ] = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision (auto: bf16 on GPUs from Ampere, CPUs with AMX, AMD CPUs with AVX512-BF16)."""

    num_workers: Annotated[
        int | None, Field(ge=0, le=256, examples=[4]), Flag("-j", "--workers")
    ] = None
    """Decoding threads (0 to 256; 0: the main thread; none: one per CPU)."""
