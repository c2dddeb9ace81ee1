"""The words of the report: how rules, metrics, stages and figures are called in it."""

import re
from dataclasses import dataclass
from typing import Literal

from medimg_baseline_cls.records.summaries import Average

STAGES = {"head": "Head only", "finetune": "Fine-tuning"}
SPLITS = {"train": "TRAIN", "val": "VAL", "test": "TEST"}
AVERAGES = {
    Average.MACRO: "Macro mean",
    Average.MICRO: "Micro, all pairs",
    Average.OVERALL: "Whole images",
}
PATIENT_RULES = {"mean": "mean", "max": "highest"}
KIND_NAMES = {"FP": "False positives", "FN": "False negatives"}


@dataclass(frozen=True, slots=True)
class KnownFigure:
    """A figure that a stage draws: its files, its section, its title and caption."""

    pattern: re.Pattern[str]
    section: Literal["data", "training", "evaluation", "probabilities", "subgroups"]
    title: str
    caption: str


FIGURES = (
    KnownFigure(
        re.compile(r"train_batch"),
        "data",
        "First training batch",
        "The first images as the network saw them, with any augmentation. Look for cropped "
        "anatomy, inverted gray values and burned-in text.",
    ),
    KnownFigure(
        re.compile(r"training|training_curves"),
        "training",
        "Training curves",
        "Loss and validation metrics by epoch, both stages.",
    ),
    KnownFigure(
        re.compile(r"roc(_curves?)?"),
        "evaluation",
        "ROC curve",
        "Sensitivity against the false-positive rate.",
    ),
    KnownFigure(
        re.compile(r"precision_recall(_curves?)?|pr(_curves?)?(?=[_.-])"),
        "evaluation",
        "Precision-recall curve",
        "The baseline is the prevalence of the split.",
    ),
    KnownFigure(
        re.compile(r"calibration"),
        "probabilities",
        "Reliability curve",
        "Observed share against predicted probability, with Wilson's intervals. The gray line is "
        "perfect calibration; above it, probabilities are too low, below it too high.",
    ),
    KnownFigure(
        re.compile(r"decision_curve"),
        "probabilities",
        "Decision curve, TEST",
        "Net benefit of acting on the model, compared with acting on all or on none. A threshold "
        "probability of 0.2 means that one finding is worth four false alarms.",
    ),
    KnownFigure(
        re.compile(r"confusion(_matri(x|ces))?"),
        "evaluation",
        "Confusion matrix",
        "Counts of images, reference standard against decision.",
    ),
    KnownFigure(
        re.compile(r"(score_)?hist(ogram)?s?|scores?"),
        "evaluation",
        "Score histogram",
        "Predicted probability by reference standard, with the thresholds.",
    ),
    KnownFigure(
        re.compile(r"forest"),
        "evaluation",
        "Forest plot",
        "Each site with its 95 % interval; TEST of the run is not pooled. The diamond is the mean "
        "over the sites with its interval, the thin line through it the prediction interval for "
        "another site.",
    ),
    KnownFigure(
        re.compile(r"subgroups_test"),
        "subgroups",
        "Subgroups",
        "Metrics of each subgroup with 95 % intervals; the gray line is the value of all images.",
    ),
)


def name_stage(stage: str) -> str:
    """Return the name of a training stage."""
    return STAGES.get(stage, stage)


def name_block(block: str | Average) -> str:
    """Return the name of a class, or what an average is called."""
    return AVERAGES[block] if isinstance(block, Average) else block


def name_split(split: str) -> str:
    """Return the name of a split."""
    return SPLITS.get(split, split)
