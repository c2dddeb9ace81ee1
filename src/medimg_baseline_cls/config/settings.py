"""The one Config: every setting with its default, its range, its help and its checks.

It takes plain keywords and gives a frozen record, or one `ConfigError` that lists every
mistake: unknown names, wrong types, values out of range, settings that contradict each
other or would do nothing. The string under a field is its help in `medimg train --help`.
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

from medimg_baseline_cls.config.checks import find_contradictions
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
    """Name in front of the run folder's date (letters, digits, and - _ . between)."""

    data_dir: Path | None = None
    """Folder of images: train/CLASS/* and test/CLASS/*, or CLASS/*, or with a table.csv; or a
    MedMNIST .npz file."""

    output_dir: Path = Path("outputs")
    """Folder for runs/ and the image cache."""

    cache_dir: Path | None = None
    """Folder of the decoded images (none: OUTPUT_DIR/cache)."""

    class_names: Annotated[tuple[str, ...] | None, Field(examples=[["NORMAL", "PNEUMONIA"]])] = None
    """Classes to use, in class order (none: all of them, sorted)."""

    positive_class: Annotated[str | None, Field(examples=["PNEUMONIA"])] = None
    """Class that counts as positive, of two (none: the one whose name is not negative)."""

    limit: Annotated[int | None, Field(ge=1, examples=[100])] = None
    """Images to use in all, spread over folders and classes, for a trial (1 or more; none: all)."""

    image_size: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the square images, in pixels (32 to 1024)."""

    keep_aspect: bool = False
    """Pad to a square instead of stretching."""

    intensity: Literal["full_range", "min_max", "percentile"] = "full_range"
    """What black and white are: the file format's range, or the image's own."""

    color: Literal["auto", "grey", "rgb"] = "auto"
    """Read the files as (auto: as they are)."""

    manifest: Annotated[Path | None, Field(examples=["labels.csv"])] = None
    """Table of the images, .csv, .tsv or .parquet, one row each (none: DATA_DIR/table.csv if it
    is there)."""

    path_column: str = "path"
    """Column of the table with the file, relative to the table."""

    label_columns: Annotated[tuple[str, ...], Field(examples=[["Effusion", "Mass"]])] = ("label",)
    """Column of the table with the class; or several of 1, 0, -1 (uncertain) and blank, a finding
    each."""

    label_separator: Annotated[str | None, Field(examples=["|"])] = None
    """Text between the findings of one cell, as in Effusion|Mass (none: one class per image)."""

    group_column: Annotated[str | None, Field(examples=["patient_id"])] = None
    """Column of the table with the patient (none: from the file name)."""

    split_column: Annotated[str | None, Field(examples=["split"])] = None
    """Column of the table with train, val or test (none: found by its name and values; the word
    none: no column, TEST is drawn)."""

    subgroup_columns: Annotated[tuple[str, ...], Field(examples=[["sex", "scanner"]])] = ()
    """Columns of the table to keep beside each image, such as sex or scanner."""

    join_rows: Literal["error", "same", "any"] = "error"
    """Several rows of one image: refuse them, join those that agree, or call positive what any
    row does."""

    allow_outside: bool = False
    """Let the table name files outside its own folder."""

    task: Literal["auto", "multiclass", "ordinal", "multilabel"] = "auto"
    """One class per image, classes with an order, or several findings per image (auto: as the
    labels show)."""

    uncertain_labels: Literal["ignore", "positive", "negative"] = "ignore"
    """Findings marked -1: leave them out of loss and figures, or take them as this."""

    missing_labels: Literal["ignore", "positive", "negative"] = "ignore"
    """Findings left blank: leave them out of loss and figures, or take them as this."""

    aggregate: Literal["mean", "max", "none"] = "mean"
    """How the images of one patient become one probability, where patients have several."""

    val_strategy: Literal["auto", "folder", "balanced", "stratified"] = "auto"
    """Images to validate on: the val/ folder, or cut from train, the same number of each class
    or each class at its share (auto: folder if it holds 50 images, else balanced)."""

    val_fraction: Annotated[float, Field(ge=0.02, le=0.5)] = 0.1
    """Share of train that is cut out to validate on (0.02 to 0.5)."""

    test_fraction: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2
    """Share of all images that becomes TEST where the data have no split (0.05 to 0.5)."""

    split_files: Annotated[
        tuple[Path, ...], Field(examples=[["train.txt", "val.txt", "test.txt"]])
    ] = ()
    """Official lists of image names, one text file per split: NAME of each holds train, val or
    test."""

    num_folds: Annotated[int | None, Field(ge=2, le=100, examples=[5])] = None
    """Folds of a cross-validation, of which one is TEST (2 to 100; none: no folds)."""

    fold: Annotated[int, Field(ge=0)] = 0
    """Fold that is TEST, counted from 0 (0 or more)."""

    fold_repeat: Annotated[int, Field(ge=0)] = 0
    """Which drawing of the folds, for a repeated cross-validation (0 or more)."""

    site_column: Annotated[str | None, Field(examples=["hospital"])] = None
    """Column of the table by which one site is left out as TEST (none: no sites)."""

    test_site: Annotated[str | None, Field(examples=["A"])] = None
    """Site that is TEST."""

    group_regex: Annotated[str, Field(examples=[r"^(patient\d+)_"])] = "auto"
    r"""Patient in the file name: auto (recognized from all names), none (each file alone), or a
    regular expression whose groups (or whole match) name the patient, as in ^(patient\d+)_."""

    on_bad_image: Literal["error", "skip"] = "error"
    """Unreadable files: stop with a list, or list them in rejected.csv."""

    on_leak: Literal["error", "drop", "drop_near"] = "error"
    """Patients or copies in more than one split of yours: stop, or leave them out of the training
    side and keep TEST as it is (drop_near: nearly identical images too)."""

    arch: str = "resnet18"
    """Any timm classifier (resnet18, densenet121 ...) or monai:NAME (monai:DenseNet121)."""

    pretrained: bool = True
    """Start from pretrained weights; with --no-pretrained, from random ones."""

    weights: Annotated[Path | None, Field(examples=["resnet18.safetensors"])] = None
    """File of pretrained weights, .safetensors or .pth (none: from the timm hub)."""

    cam_layer: Annotated[str | None, Field(examples=["layer4"])] = None
    """Layer that Grad-CAM looks at, such as layer4 (none: known for the architecture)."""

    head_epochs: Annotated[int, Field(ge=0, le=10_000)] = 10
    """Epochs of the classifier alone, backbone frozen (0 to 10000)."""

    finetune_epochs: Annotated[int, Field(ge=0, le=10_000)] = 3
    """Epochs of the whole network, after the head's (0 to 10000)."""

    batch_size: Annotated[int, Field(ge=2, le=4096)] = 32
    """Images per training step, over all processes (2 to 4096)."""

    head_lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Peak learning rate of the classifier, in both stages (above 0, at most 1)."""

    finetune_lr: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Peak learning rate of the backbone while everything trains (above 0, at most 1)."""

    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """AdamW's weight decay; norms and biases have none (0 to 1)."""

    label_smoothing: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Probability mass taken from the true class (0 to 0.5)."""

    imbalance: Literal["none", "class_weights", "balanced_sampler", "focal"] = "none"
    """What to do about rare classes in training."""

    augment: Literal["none", "light", "standard"] = "standard"
    """Random changes of the training images."""

    horizontal_flip: bool = False
    """Mirror at random too; not for chest films, where the heart is left."""

    head_augment: bool = False
    """Augment while the head trains alone too, which is slower."""

    ema_decay: Annotated[float, Field(ge=0, lt=1, examples=[0.999])] = 0.0
    """Moving average of the weights (0: off, else below 1, such as 0.999)."""

    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of the gradient (0: no limit)."""

    batchnorm: Literal["auto", "train", "frozen", "sync"] = "auto"
    """BatchNorm statistics while everything trains: moved with every batch, kept, or moved
    with the batches of all processes (auto: kept if pretrained)."""

    patience: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better VAL score until a stage stops early (0: never)."""

    target_sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Sensitivity to reach on VAL by the rule of this name (above 0, at most 1)."""

    operating_point: Literal["max_f1", "target_sensitivity", "default"] = "max_f1"
    """Rule that predict decides by, where "default" is 0.5."""

    target_prevalence: Annotated[float | None, Field(gt=0, lt=1, examples=[0.1])] = None
    """Share of the positive class where the model shall be used, of two classes (above 0, below 1;
    none: not known)."""

    num_resamples: Annotated[int, Field(ge=50, le=100_000)] = 2000
    """Times that the patients are drawn again for the 95 % intervals (50 to 100000)."""

    subgroup_regex: Annotated[str, Field(examples=[r"(?P<view>PA|AP)"])] = "auto"
    """Subgroups in file names: auto, none, or an expression whose groups have names."""

    subgroup_bins: Annotated[tuple[str, ...], Field(examples=[["age=40/65"]])] = ()
    """Bands of numbers, as in age=40/65 (none: quartiles of TRAIN)."""

    subgroup_min_images: Annotated[int, Field(ge=1, le=100_000)] = 20
    """TEST images from which on a subgroup gets figures (1 to 100000)."""

    num_hard_examples: Annotated[int, Field(ge=0, le=1000)] = 8
    """Worst FP, and worst FN, on TEST to list and explain (0 to 1000)."""

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
    """Where to compute: auto, cpu, cuda, cuda:1 or mps."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic (auto: bf16 on GPUs from Ampere, CPUs with AMX, AMD's with AVX512-BF16)."""

    num_workers: Annotated[int | None, Field(ge=0, le=256, examples=[4])] = None
    """Threads that decode images (0 to 256; 0: the main one; none: one per CPU)."""

    split_seed: Annotated[int | None, Field(ge=0, le=2**32 - 1, examples=[0])] = None
    """Seed of the split alone, so that runs of other seeds share it (0 to 4294967295; none: the
    seed)."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Every random number follows from it (0 to 4294967295)."""

    @model_validator(mode="wrap")
    @classmethod
    def _explain_mistakes(
        cls, values: ArgsKwargs, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        """Turn pydantic's report, and what the sound settings contradict, into one ConfigError."""
        values = ArgsKwargs(values.args, rename_aliases(values.kwargs or {}))
        try:
            config = handler(values)
        except ValidationError as error:
            mistakes = describe_mistakes(error, field_facts(), aliases=FLAG_ALIASES)
            broken = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
            given = values.kwargs or {}
            sound = {name: given[name] for name in given if name not in broken}
            try:
                cls(**sound)
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
        """Refuse true for a number and "" for anything, which would silently become a value.

        The word none stands for no value where a field knows one: TOML has no other way.
        """
        facts = field_facts()[str(info.field_name)]
        if facts.is_optional and isinstance(value, str) and value.lower() == "none":
            return None
        if isinstance(value, bool) and facts.kind is not bool:
            raise ValueError("a switch")
        if isinstance(value, str) and not value.strip():
            raise ValueError("empty")
        if is_unnamable(value) or (isinstance(value, int) and abs(value) >= 2**63):
            raise ValueError("no name, or a number that no file keeps")
        return value

    @field_validator("data_dir", "output_dir", "cache_dir", "weights", "manifest")
    @classmethod
    def _expand_home(cls, value: Path | None) -> Path | None:
        with suppress(RuntimeError):  # of a user who is not known: taken as it is
            return None if value is None else value.expanduser()
        return value


def field_facts() -> dict[str, FieldFacts]:
    """Return what is known of each field, by name, in the order of declaration."""
    return read_field_facts(Config)
