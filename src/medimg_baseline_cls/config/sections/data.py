"""Settings: which images, labels and splits."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from medimg_baseline_cls.config.section import COMMON, RULES, Flag


@dataclass(frozen=True, kw_only=True, config=RULES)
class DataSettings:
    """Which images are read."""

    data_dir: Annotated[Path | None, Flag("--data", is_common=True)] = None
    """Folder of images: train/CLASS/* and test/CLASS/*, or CLASS/*, or with a table.csv; or a
    MedMNIST .npz file."""

    class_names: Annotated[tuple[str, ...] | None, Field(examples=[["NORMAL", "PNEUMONIA"]])] = None
    """Classes to use, in class order (none: all, sorted)."""

    positive_class: Annotated[str | None, Field(examples=["PNEUMONIA"]), COMMON] = None
    """Positive class of two (none: the one without a negative name such as NORMAL)."""

    group_regex: Annotated[str, Field(examples=[r"^(patient\d+)_"]), COMMON] = "auto"
    r"""Patient in the file name: auto, none (each file alone), or a regular expression
    whose groups, or whole match, are the patient: ^(patient\d+)_."""

    on_bad_image: Literal["error", "skip"] = "error"
    """Unreadable files: stop, or skip and list them."""

    on_leak: Literal["error", "drop", "drop_near"] = "error"
    """Patients or copies in several splits: stop, or drop them from training (drop_near:
    near-duplicates too)."""

    limit: Annotated[int | None, Field(ge=1, examples=[100]), COMMON] = None
    """Images for a trial, spread over folders and classes (1 or more; none: all)."""


@dataclass(frozen=True, kw_only=True, config=RULES)
class TableSettings:
    """The table of labels, and which of its columns mean what."""

    manifest: Annotated[Path | None, Field(examples=["labels.csv"]), COMMON] = None
    """Table with one row per image, .csv, .tsv or .parquet (none: DATA_DIR/table.csv if it
    exists)."""

    path_column: str = "path"
    """Table column with the file path, relative to the table."""

    label_columns: Annotated[tuple[str, ...], Field(examples=[["Effusion", "Mass"]])] = ("label",)
    """Table column with the class, or one column per finding, with 1, 0, -1 (uncertain) or
    blank."""

    label_separator: Annotated[str | None, Field(examples=["|"])] = None
    """Separator of findings in one cell, as in A|B (none: one class per image)."""

    group_column: Annotated[str | None, Field(examples=["patient_id"])] = None
    """Table column with the patient (none: from file names)."""

    split_column: Annotated[str | None, Field(examples=["split"])] = None
    """Table column with train, val or test (none: found by name and values; the word none: ignore
    it and create a split)."""

    subgroup_columns: Annotated[tuple[str, ...], Field(examples=[["sex", "scanner"]])] = ()
    """Columns to keep for subgroup metrics, such as sex or scanner."""

    join_rows: Literal["error", "same", "any"] = "error"
    """Several rows for one image: refuse them, join them if they agree, or mark a
    finding positive if any row does."""

    allow_outside: bool = False
    """Allow the table to name files outside its own folder."""


@dataclass(frozen=True, kw_only=True, config=RULES)
class LabelsSettings:
    """What the labels mean."""

    task: Literal["auto", "multiclass", "ordinal", "multilabel"] = "auto"
    """One class per image, ordered classes, or several findings (auto: inferred from the
    labels)."""

    uncertain_labels: Literal["ignore", "positive", "negative"] = "ignore"
    """Findings marked -1: exclude from loss and metrics, or use as positive or negative."""

    missing_labels: Literal["ignore", "positive", "negative"] = "ignore"
    """Blank findings: exclude from loss and metrics, or use as positive or negative."""

    aggregate: Literal["mean", "max", "none"] = "mean"
    """How to combine the probabilities of a patient's images into one per patient."""


@dataclass(frozen=True, kw_only=True, config=RULES)
class SplitSettings:
    """How TRAIN, VAL and TEST are formed."""

    val_strategy: Literal["auto", "folder", "balanced", "stratified"] = "auto"
    """VAL images: the val/ folder, or a part of train with equal counts or shares of classes (auto:
    folder if it contains 50 images, else balanced)."""

    val_fraction: Annotated[float, Field(ge=0.02, le=0.5)] = 0.1
    """Share of train to use for validation (0.02 to 0.5)."""

    test_fraction: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2
    """Share of images for TEST if there is no split (0.05 to 0.5)."""

    split_files: Annotated[
        tuple[Path, ...], Field(examples=[["train.txt", "val.txt", "test.txt"]])
    ] = ()
    """Official lists of image names, one text file per split, with train, val or test in its
    name."""

    num_folds: Annotated[int | None, Field(ge=2, le=100, examples=[5]), Flag("--folds")] = None
    """Cross-validation folds, one is TEST (2 to 100; none: no folds)."""

    fold: Annotated[int, Field(ge=0)] = 0
    """Fold to use as TEST (0 or more)."""

    fold_repeat: Annotated[int, Field(ge=0)] = 0
    """Index of the repeat in repeated cross-validation (0 or more)."""

    site_column: Annotated[str | None, Field(examples=["hospital"])] = None
    """Table column with the site, to leave one site out as TEST (none: no sites)."""

    test_site: Annotated[str | None, Field(examples=["A"])] = None
    """Site to use as TEST."""

    split_seed: Annotated[int | None, Field(ge=0, le=2**32 - 1, examples=[0])] = None
    """Seed of the split, for runs of several seeds (0 to 4294967295; none: SEED)."""


@dataclass(frozen=True, kw_only=True, config=RULES)
class ImagesSettings:
    """How an image becomes pixels."""

    image_size: Annotated[int, Field(ge=32, le=1024), Flag("--img-size", is_common=True)] = 224
    """Side of the square images, in pixels (32 to 1024)."""

    keep_aspect: bool = False
    """Pad to a square instead of stretching."""

    intensity: Annotated[
        str,
        Field(
            pattern=r"^(full_range|min_max|percentile|lung|soft_tissue|bone|"
            r"-?\d+(\.\d+)?/-?\d+(\.\d+)?)$",
            title="full_range, min_max, percentile; of volumes lung, soft_tissue, bone, LOW/HIGH",
            examples=["percentile"],
        ),
    ] = "full_range"
    """Black and white: full_range (of the file), min_max, percentile; of volumes also lung,
    soft_tissue, bone, LOW/HIGH."""

    color: Literal["auto", "grey", "rgb"] = "auto"
    """Color mode of the files (auto: as stored)."""

    slices: Annotated[int, Field(ge=0, le=512, examples=[32])] = 0
    """Slices to resample volumes to (0: files are images; at most 512)."""

    spacing: Annotated[
        str | None,
        Field(
            pattern=r"^\d{1,3}(\.\d{1,4})?(/\d{1,3}(\.\d{1,4})?)?$",
            title="millimeters, SLICE or SLICE/PIXEL",
            examples=["5/0.8"],
        ),
    ] = None
    """Millimeters per slice, or SLICE/PIXEL: crop or pad volumes around their middle (none: all of
    it)."""
