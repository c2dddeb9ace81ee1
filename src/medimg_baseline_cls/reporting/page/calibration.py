"""Tables of the report about probabilities: calibration, recalibration, other prevalences."""

from collections.abc import Iterator

from medimg_baseline_cls.records.estimates import UNKNOWN, read_number
from medimg_baseline_cls.records.probabilities import (
    CalibrationBrief,
    CalibrationSummary,
    ClassCalibration,
)
from medimg_baseline_cls.records.summaries import OperatingPoint
from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.page.performance import (
    about_class,
    list_rules,
    name_class,
    rule_name,
    show_estimate,
    shown_classes,
)
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import UNDEFINED, format_score
from medimg_baseline_cls.reporting.text.names import name_split
from medimg_baseline_cls.utils.quantities import format_threshold

MAX_CLASSES = 4  # that have tables of their own
_METHODS = {
    "before": "As predicted",
    "temperature": "Temperature",
    "platt": "Platt",
    "isotonic": "Isotonic",
}
_LINE = {"slope": "Slope", "intercept": "Intercept", "intercept_at_slope_1": "At slope 1"}
_NO_POINT = OperatingPoint(metrics={})
_PARTS = {"reliability": "Reliability", "resolution": "Resolution", "uncertainty": "Uncertainty"}
_SOURCES = {"train": "TRAIN", "val": "VAL", "test": "TEST", "target": "Declared"}


def tabulate_probabilities(content: RunContent) -> list[Table]:
    """Return every table about probabilities; none for a run without calibration."""
    if content.calibration is None:
        return []
    names = shown_classes(content)[:MAX_CLASSES]
    return [
        tabulate_calibration(content, content.calibration),
        *(t for n in names if (t := tabulate_recalibration(content, n)) is not None),
        *(t for n in names if (t := tabulate_prevalence(content, n)) is not None),
    ]


def tabulate_calibration(content: RunContent, found: CalibrationSummary) -> Table:
    """Return slope, intercepts, calibration error and Brier's parts by class and split."""
    names = shown_classes(content)
    first = next(iter(found.splits))
    rows = [
        Row(
            (*((name,) if len(names) > 1 else ()), name_split(split), *_cells(classes[name])),
            "start" if split == first else "",
        )
        for name in names
        for split, classes in found.splits.items()
        if name in classes
    ]
    lead = (name_class(content), "Split") if len(names) > 1 else ("Split",)
    return Table(
        title=", ".join(["Calibration", *(names if len(names) == 1 else ())]),
        header=(*lead, *_LINE.values(), "ECE", "If calibrated", "Brier", *_PARTS.values()),
        rows=tuple(rows),
        num_text=len(lead),
        notes=(
            "Slope and intercept of the outcome on the logit: 1 and 0 in a calibrated model, a "
            "slope below 1 in an overconfident one. At slope 1: calibration in the large.",
            "ECE: expected calibration error, bins of equal mass. If calibrated: that of a "
            "perfectly calibrated model on as many images, its mean and 95th percentile.",
            *_reasons(content, found),
        ),
    )


def tabulate_recalibration(content: RunContent, class_name: str) -> Table | None:
    """Return TEST before and after each recalibration of one class; None where there is none."""
    found, rule = content.recalibration, next(iter(list_rules(content)), "")
    block = None if found is None else found.classes.get(class_name)
    if found is None or block is None or "test" not in block.before:
        return None
    points = content.thresholds.get(class_name, {})
    cut = read_number(points.get(rule, {}).get("threshold"))
    rows = [_brief_row("before", block.before["test"], threshold=cut)]
    for method in _METHODS:
        fitted = block.maps.get(method)
        if fitted is not None and "test" in fitted.splits:
            cut = fitted.thresholds.get(rule)
            rows.append(_brief_row(method, fitted.splits["test"], threshold=cut))
    if len(rows) < 2:
        return None
    return Table(
        title=f"Recalibration of {class_name} on TEST, fitted on VAL",
        about=about_class(content, class_name),
        header=("Probabilities", "Slope", "Intercept", "ECE", "Brier", "Log loss", "Threshold"),
        rows=tuple(rows),
        notes=(
            f"Threshold: {rule_name(content, rule)}, recalibrated too. Every map is increasing, "
            "so AUROC, AP and all decisions stay the same. Within a step of the isotonic map "
            "probabilities differ by less than a millionth: rounded, they are equal. The maps are "
            "in recalibration.json.",
            *([found.warnings[class_name].text] if class_name in found.warnings else ()),
        ),
    )


def tabulate_prevalence(content: RunContent, class_name: str) -> Table | None:
    """Return TEST carried to other prevalences of one class; None where there is none."""
    found = {} if content.prevalence is None else content.prevalence.classes.get(class_name, {})
    rule = next(iter(list_rules(content)), "")
    rows: list[Row] = []
    for source, block in found.items():
        point = block.operating_points.get(rule, _NO_POINT)
        best = block.max_f1 or _NO_POINT
        cells = (
            _SOURCES.get(source, source),
            format_score(block.prevalence),
            format_score(block.average_precision.value),
            *(show_estimate(point.metrics.get(key)) for key in ("ppv", "npv")),
            format_threshold(best.threshold),
            *(
                format_score(best.metrics.get(key, UNKNOWN).value)
                for key in ("sensitivity", "specificity", "f1_score")
            ),
        )
        rows.append(Row(cells))
    if not rows:
        return None
    named = rule_name(content, rule) if rule else UNDEFINED
    return Table(
        title=f"TEST at other prevalences of {class_name}",
        about=about_class(content, class_name),
        header=(
            *("Prevalence of", "Prevalence", "AP", "PPV", "NPV"),
            *("Max-F1 threshold", "Its sensitivity", "Its specificity", "Its F1"),
        ),
        rows=tuple(rows),
        notes=(
            f"PPV and NPV at {named}. Max-F1: chosen on VAL, weighted to the prevalence. By Bayes' "
            "rule, assuming the same sensitivity and specificity.",
        ),
    )


def _cells(block: ClassCalibration) -> tuple[str, ...]:
    error = block.brief.ece_equal_mass
    return (
        *(show_estimate(getattr(block.brief, key)) for key in _LINE),
        show_estimate(error.estimate),
        f"{format_score(error.expected)}\nto {format_score(error.percentile_95)}",
        *(format_score(block.brier[key]) for key in ("value", *_PARTS)),
    )


def _brief_row(method: str, found: CalibrationBrief, *, threshold: float | None) -> Row:
    cells = (
        _METHODS[method],
        *(show_estimate(getattr(found, key)) for key in ("slope", "intercept")),
        show_estimate(found.ece_equal_mass.estimate),
        *(format_score(number) for number in (found.brier, found.log_loss)),
        format_threshold(threshold),
    )
    return Row(cells, "best" if method == "before" else "")


def _reasons(content: RunContent, found: CalibrationSummary) -> Iterator[str]:
    for split, classes in found.splits.items():
        for name in shown_classes(content):
            reason = classes[name].brief.slope.reason if name in classes else ""
            if reason:
                yield f"The slope of {name} on {name_split(split)} is undefined: {reason}."
