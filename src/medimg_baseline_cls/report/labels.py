"""The words of the report: how rules, metrics, stages and figures are called in it."""

import re
from dataclasses import dataclass
from typing import Literal

RULES = {"max_f1": "Max-F1", "target_sensitivity": "Target sensitivity", "default": "Default (0.5)"}
STAGES = {"head": "Head only", "finetune": "Fine-tuning"}
SPLITS = {"train": "TRAIN", "val": "VAL", "test": "TEST"}
PATIENT_RULES = {"mean": "the mean", "max": "the highest"}
KIND_NAMES = {"FP": "False positives", "FN": "False negatives"}
METRICS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "brier_score": "Brier",
    "log_loss": "Log loss",
}
POINT_METRICS = {
    "sensitivity": "Sens.",
    "specificity": "Spec.",
    "ppv": "PPV",
    "npv": "NPV",
    "f1_score": "F1",
    "accuracy": "Acc.",
    "balanced_accuracy": "Bal. acc.",
    "mcc": "MCC",
}
OVERALL = {
    "quadratic_weighted_kappa": "Weighted kappa",
    "mean_grade_error": "Mean error",
    "accuracy": "Accuracy",
    "exact_match": "Exact match",
    "log_loss": "Log loss",
}
OVERALL_NOTES = {
    "quadratic_weighted_kappa": "Weighted kappa: agreement beyond chance, a miss weighing as the "
    "square of its grades; 1 is full agreement, 0 chance.",
    "mean_grade_error": "Mean error: of the most probable grade, in grades; distances are those of "
    "the grades where all are whole numbers, else steps.",
    "exact_match": "Exact match: share of images with every known finding called rightly at 0.5.",
}


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
        "inverted grey values and burnt-in marks.",
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
        "Observed share against predicted probability, with Wilson's intervals. On the grey line a "
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
        "Figures of each subgroup with 95 % intervals; the grey line is that of all images.",
    ),
)


def name_rule(rule: str, target_sensitivity: float | None) -> str:
    """Return the name of an operating point.

    >>> name_rule("target_sensitivity", 0.95), name_rule("by_hand", None)
    ('Target sensitivity 0.95', 'By hand')
    """
    name = RULES.get(rule, rule.replace("_", " ").capitalize())
    if rule == "target_sensitivity" and target_sensitivity is not None:
        return f"{name} {target_sensitivity:g}"
    return name


def name_stage(stage: str) -> str:
    """Return the name of a training stage."""
    return STAGES.get(stage, stage)


def name_split(split: str) -> str:
    """Return the name of a split."""
    return SPLITS.get(split, split)
