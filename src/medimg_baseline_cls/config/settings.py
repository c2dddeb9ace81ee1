"""The one Config: every setting with its default, its range, its help and its checks.

It takes plain keywords and gives a frozen record, or one `ConfigError` that lists every mistake:
unknown names, wrong types, values out of range, settings that contradict each other or have no
effect. The string under a field is its help in `medimg train --help`.
"""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from medimg_baseline_cls.config.contradictions import find_contradictions
from medimg_baseline_cls.config.groups import FLAG_ALIASES, rename_aliases
from medimg_baseline_cls.config.messages import (
    FieldFacts,
    SettingsError,
    describe_mistakes,
    is_unnamable,
    read_field_facts,
)


@dataclass(
    frozen=True,
    kw_only=True,
    config=ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    ),
)
class Config:
    """Every setting of a run.

    Example:
        >>> Config(arch="densenet121", image_size=96).batch_size
        32
    """

    project: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?$",
            title="letters, digits, and - _ . between them",
        ),
    ] = "medimg"
    """Prefix of the run folder's name (letters, digits, and - _ . between)."""

    data_dir: Path | None = None
    """Folder of images: train/CLASS/* and test/CLASS/*, or CLASS/*, or with a table.csv; or a
    MedMNIST .npz file."""

    output_dir: Path = Path("outputs")
    """Folder for runs/ and the image cache."""

    cache_dir: Path | None = None
    """Folder of the image cache (none: OUTPUT_DIR/cache)."""

    class_names: Annotated[tuple[str, ...] | None, Field(examples=[["NORMAL", "PNEUMONIA"]])] = None
    """Classes to use, in class order (none: all, sorted)."""

    positive_class: Annotated[str | None, Field(examples=["PNEUMONIA"])] = None
    """Positive class of two (none: the class without a negative name such as NORMAL)."""

    limit: Annotated[int | None, Field(ge=1, examples=[100])] = None
    """Images to use in a trial, spread over folders and classes (1 or more; none: all)."""

    image_size: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the square images, in pixels (32 to 1024)."""

    keep_aspect: bool = False
    """Pad to a square instead of stretching."""

    intensity: Literal["full_range", "min_max", "percentile"] = "full_range"
    """Intensity range: that of the file format, or that of the image."""

    color: Literal["auto", "grey", "rgb"] = "auto"
    """Color mode in which to read the files (auto: as stored)."""

    manifest: Annotated[Path | None, Field(examples=["labels.csv"])] = None
    """Table with one row per image, .csv, .tsv or .parquet (none: DATA_DIR/table.csv if it
    exists)."""

    path_column: str = "path"
    """Table column with the file path, relative to the table."""

    label_columns: Annotated[tuple[str, ...], Field(examples=[["Effusion", "Mass"]])] = ("label",)
    """Table column with the class, or one column per finding, with 1, 0, -1 (uncertain) or
    blank."""

    label_separator: Annotated[str | None, Field(examples=["|"])] = None
    """Separator of several findings in one cell, as in Effusion|Mass (none: one class per
    image)."""

    group_column: Annotated[str | None, Field(examples=["patient_id"])] = None
    """Table column with the patient (none: from file names)."""

    split_column: Annotated[str | None, Field(examples=["split"])] = None
    """Table column with train, val or test (none: found by name and values; the word none: ignore
    it and create a split)."""

    subgroup_columns: Annotated[tuple[str, ...], Field(examples=[["sex", "scanner"]])] = ()
    """Table columns to keep for subgroup metrics, such as sex or scanner."""

    join_rows: Literal["error", "same", "any"] = "error"
    """Several rows for one image: refuse them, join them if they agree, or mark a
    finding positive if any row does."""

    allow_outside: bool = False
    """Allow the table to name files outside its own folder."""

    task: Literal["auto", "multiclass", "ordinal", "multilabel"] = "auto"
    """One class per image, ordered classes, or several findings per image (auto: inferred from the
    labels)."""

    uncertain_labels: Literal["ignore", "positive", "negative"] = "ignore"
    """Findings marked -1: exclude from loss and metrics, or use as positive or negative."""

    missing_labels: Literal["ignore", "positive", "negative"] = "ignore"
    """Blank findings: exclude from loss and metrics, or use as positive or negative."""

    aggregate: Literal["mean", "max", "none"] = "mean"
    """How to combine the probabilities of a patient's images into one per patient."""

    val_strategy: Literal["auto", "folder", "balanced", "stratified"] = "auto"
    """VAL images: the val/ folder, or a part of train with equal counts or shares of classes (auto:
    folder if it contains 50 images, else balanced)."""

    val_fraction: Annotated[float, Field(ge=0.02, le=0.5)] = 0.1
    """Share of train to use for validation (0.02 to 0.5)."""

    test_fraction: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2
    """Share of all images to use as TEST if the data have no split (0.05 to 0.5)."""

    split_files: Annotated[
        tuple[Path, ...], Field(examples=[["train.txt", "val.txt", "test.txt"]])
    ] = ()
    """Official lists of image names, one text file per split, with train, val or test in its
    name."""

    num_folds: Annotated[int | None, Field(ge=2, le=100, examples=[5])] = None
    """Cross-validation folds, one of which is TEST (2 to 100; none: no folds)."""

    fold: Annotated[int, Field(ge=0)] = 0
    """Fold to use as TEST (0 or more)."""

    fold_repeat: Annotated[int, Field(ge=0)] = 0
    """Index of the repeat in repeated cross-validation (0 or more)."""

    site_column: Annotated[str | None, Field(examples=["hospital"])] = None
    """Table column with the site, to leave one site out as TEST (none: no sites)."""

    test_site: Annotated[str | None, Field(examples=["A"])] = None
    """Site to use as TEST."""

    group_regex: Annotated[str, Field(examples=[r"^(patient\d+)_"])] = "auto"
    r"""Patient in the file name: auto (recognized from all names), none (each file alone), or a
    regular expression with the patient as its groups or whole match, as in ^(patient\d+)_."""

    on_bad_image: Literal["error", "skip"] = "error"
    """Unreadable files: stop and list them, or skip them and list them in rejected.csv."""

    on_leak: Literal["error", "drop", "drop_near"] = "error"
    """Patients or copies in more than one of your splits: stop, or drop them from training and keep
    TEST unchanged (drop_near: near-duplicates too)."""

    arch: str = "resnet18"
    """Any timm classifier (resnet18, densenet121 ...) or monai:NAME (monai:DenseNet121)."""

    pretrained: bool = True
    """Start from pretrained weights; --no-pretrained: start from random weights."""

    weights: Annotated[Path | None, Field(examples=["resnet18.safetensors"])] = None
    """File with pretrained weights, .safetensors or .pth (none: from the timm hub)."""

    cam_layer: Annotated[str | None, Field(examples=["layer4"])] = None
    """Layer for Grad-CAM, such as layer4 (none: the default of the architecture)."""

    head_epochs: Annotated[int, Field(ge=0, le=10_000)] = 10
    """Epochs for the classifier alone, with the backbone frozen (0 to 10000)."""

    finetune_epochs: Annotated[int, Field(ge=0, le=10_000)] = 3
    """Epochs for the whole network, after those of the head (0 to 10000)."""

    batch_size: Annotated[int, Field(ge=2, le=4096)] = 32
    """Images per training step, summed over all processes (2 to 4096)."""

    head_lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Peak learning rate of the classifier, in both stages (above 0, at most 1)."""

    finetune_lr: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Peak learning rate of the backbone during fine-tuning (above 0, at most 1)."""

    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Weight decay of AdamW; not applied to norms and biases (0 to 1)."""

    label_smoothing: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Probability mass taken from the true class (0 to 0.5)."""

    imbalance: Literal["none", "class_weights", "balanced_sampler", "focal"] = "none"
    """How to handle rare classes in training."""

    augment: Annotated[
        str,
        Field(
            pattern=r"^(none|light|standard|plugin:[A-Za-z0-9_.-]+)$",
            title="none, light, standard or plugin:NAME",
            examples=["light"],
        ),
    ] = "standard"
    """Random augmentation of the training images: none, light, standard, or plugin:NAME."""

    horizontal_flip: bool = False
    """Random horizontal flips; avoid for chest radiographs (heart side)."""

    head_augment: bool = False
    """Augment during head training too; slower."""

    ema_decay: Annotated[float, Field(ge=0, lt=1, examples=[0.999])] = 0.0
    """Decay of the average of the weights (0: off, else below 1, such as 0.999)."""

    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Maximum gradient norm (0: no limit)."""

    batchnorm: Literal["auto", "train", "frozen", "sync"] = "auto"
    """BatchNorm statistics in fine-tuning: updated per batch, frozen, or updated over all processes
    (auto: frozen if pretrained)."""

    patience: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better VAL score before early stopping (0: never)."""

    target_sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Sensitivity on VAL for the rule target_sensitivity (above 0, at most 1)."""

    operating_point: Literal["max_f1", "target_sensitivity", "default"] = "max_f1"
    """Threshold rule for predict, where "default" is 0.5."""

    target_prevalence: Annotated[float | None, Field(gt=0, lt=1, examples=[0.1])] = None
    """Expected prevalence at deployment, for two classes (above 0, below 1; none: unknown)."""

    num_resamples: Annotated[int, Field(ge=50, le=100_000)] = 2000
    """Patient-level bootstrap resamples for the 95 % CIs (50 to 100000)."""

    subgroup_regex: Annotated[str, Field(examples=[r"(?P<view>PA|AP)"])] = "auto"
    """Subgroups in file names: auto, none, or a regular expression with named groups."""

    subgroup_bins: Annotated[tuple[str, ...], Field(examples=[["age=40/65"]])] = ()
    """Cut points of numeric subgroups, as in age=40/65 (none: quartiles of TRAIN)."""

    subgroup_min_images: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Minimum TEST images for subgroup metrics (1 to 100000)."""

    num_hard_examples: Annotated[int, Field(ge=0, le=1000)] = 8
    """Number of worst FP, and FN, on TEST to list and explain (0 to 1000)."""

    anonymous_ids: bool = False
    """Show pseudonyms instead of names in panels and report."""

    device: Annotated[
        str,
        Field(
            pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
            title="auto, cpu, mps, cuda or cuda:NUMBER",
            examples=["cuda:1"],
        ),
    ] = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision (auto: bf16 on GPUs from Ampere, CPUs with AMX, AMD CPUs with AVX512-BF16)."""

    num_workers: Annotated[int | None, Field(ge=0, le=256, examples=[4])] = None
    """Decoding threads (0 to 256; 0: the main thread; none: one per CPU)."""

    split_seed: Annotated[int | None, Field(ge=0, le=2**32 - 1, examples=[0])] = None
    """Seed of the split, to share it among runs of several seeds (0 to 4294967295; none: SEED)."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of all random numbers (0 to 4294967295)."""

    @model_validator(mode="wrap")
    @classmethod
    def _explain_mistakes(
        cls, values: ArgsKwargs, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        """Turn pydantic's errors and contradictions of valid settings into one ConfigError."""
        values = ArgsKwargs(values.args, rename_aliases(values.kwargs or {}))
        try:
            config = handler(values)
        except ValidationError as error:
            mistakes = describe_mistakes(error, field_facts(), aliases=FLAG_ALIASES)
            broken = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
            given = values.kwargs or {}
            valid = {name: given[name] for name in given if name not in broken}
            try:
                cls(**valid)
            except SettingsError as more:
                mistakes += more.mistakes
            raise SettingsError(mistakes) from None
        contradictions = find_contradictions(config)
        if contradictions:
            raise SettingsError(contradictions)
        return config

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_lookalikes(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true for a number and "" for anything; pydantic would silently convert them.

        The word none means no value where a field is optional: TOML has no other way.
        """
        facts = field_facts()[str(info.field_name)]
        if facts.is_optional and isinstance(value, str) and value.lower() == "none":
            return None
        if isinstance(value, bool) and facts.kind is not bool:
            raise ValueError("a switch")
        if isinstance(value, str) and not value.strip():
            raise ValueError("empty")
        if is_unnamable(value) or (isinstance(value, int) and abs(value) >= 2**63):
            raise ValueError("not a name, or a number too large for a file")
        return value

    @field_validator("data_dir", "output_dir", "cache_dir", "weights", "manifest")
    @classmethod
    def _expand_home(cls, value: Path | None) -> Path | None:
        with suppress(RuntimeError):  # an unknown user: left unchanged
            return None if value is None else value.expanduser()
        return value


def field_facts() -> dict[str, FieldFacts]:
    """Return what is known of each field, by name, in the order of declaration."""
    return read_field_facts(Config)
