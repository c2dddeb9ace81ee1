"""The words of the report: how rules, metrics, stages and figures are called in it."""

import re
from dataclasses import dataclass
from typing import Literal

STAGES = {"head": "Head only", "finetune": "Fine-tuning"}
SPLITS = {"train": "TRAIN", "val": "VAL", "test": "TEST"}
PATIENT_RULES = {"mean": "the mean", "max": "the highest"}
KIND_NAMES = {"FP": "False positives", "FN": "False negatives"}


@dataclass(frozen=True, slots=True)
class KnownFigure:
    """A figure that a stage draws: which files it is, where it stands, what it says."""

    pattern: re.Pattern[str]
    section: Literal["data", "training", "evaluation", "probabilities", "subgroups"]
    title: str
    caption: str


FIGURES = (
    KnownFigure(
        re.compile(r"train_batch"),
        "data",
        "First training batch",
        "What the network saw first: preprocessed and augmented. Look for cut-off anatomy, "
        "inverted gray values and burnt-in marks.",
    ),
    KnownFigure(
        re.compile(r"training|training_curves"),
        "training",
        "Training curves",
        "Loss and validation figures by epoch, both stages.",
    ),
    KnownFigure(
        re.compile(r"roc(_curves?)?"),
        "evaluation",
        "ROC curve",
        "Sensitivity against the false-positive rate; the operating points are marked.",
    ),
    KnownFigure(
        re.compile(r"precision_recall(_curves?)?|pr(_curves?)?(?=[_.-])"),
        "evaluation",
        "Precision-recall curve",
        "Its floor is the prevalence of the split.",
    ),
    KnownFigure(
        re.compile(r"calibration"),
        "probabilities",
        "Reliability curve",
        "Observed share against predicted probability, with Wilson's intervals. On the gray line a "
        "model is calibrated; above it, it is too cautious, below it too bold.",
    ),
    KnownFigure(
        re.compile(r"decision_curve"),
        "probabilities",
        "Decision curve, TEST",
        "Net benefit of acting on the model, against acting on all or on none. A threshold "
        "probability of 0.2 says that four false alarms cost as much as one finding is worth.",
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
        re.compile(r"subgroups_test"),
        "subgroups",
        "Subgroups",
        "Figures of each subgroup with 95 % intervals; the gray line is that of all images.",
    ),
)


def name_stage(stage: str) -> str:
    """Return the name of a training stage."""
    return STAGES.get(stage, stage)


def name_split(split: str) -> str:
    """Return the name of a split."""
    return SPLITS.get(split, split)
