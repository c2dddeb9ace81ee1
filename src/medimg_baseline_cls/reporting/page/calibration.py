"""Tables of the report about probabilities: calibration, recalibration, other prevalences."""

from collections.abc import Iterator
from typing import Any

from medimg_baseline_cls.records.estimates import read_estimate
from medimg_baseline_cls.reporting.content import Json, RunContent, as_mapping, value_of
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
_SHOWN_LINE = ("slope", "intercept", "ece_equal_mass")
_PARTS = ("reliability", "resolution", "uncertainty")
_SOURCES = {"train": "TRAIN", "val": "VAL", "test": "TEST", "target": "Declared"}


def tabulate_probabilities(content: RunContent) -> list[Table]:
    """Return every table about probabilities; none for a run that was not judged so."""
    if not content.calibration:
        return []
    names = shown_classes(content)[:MAX_CLASSES]
    return [
        tabulate_calibration(content),
        *(t for n in names for t in _present(tabulate_recalibration(content, n))),
        *(t for n in names for t in _present(tabulate_prevalence(content, n))),
    ]


def tabulate_calibration(content: RunContent) -> Table:
    """Return slope, intercepts, calibration error and Brier's parts by class and split."""
    rows: list[Row] = []
    names = shown_classes(content)
    for name in names:
        for split, classes in content.calibration.items():
            block = as_mapping(as_mapping(classes).get(name))
            if not block:
                continue
            error, brier = as_mapping(block["ece_equal_mass"]), as_mapping(block["brier"])
            expected = f"{format_score(value_of(error.get('expected')))}"
            cells = (
                *((name,) if len(names) > 1 else ()),
                name_split(split),
                *(show_estimate(read_estimate(block.get(key))) for key in _LINE),
                show_estimate(read_estimate(error)),
                f"{expected}\nto {format_score(value_of(error.get('percentile_95')))}",
                format_score(value_of(brier)),
                *(format_score(value_of(brier.get(key))) for key in _PARTS),
            )
            rows.append(Row(cells, "start" if split == next(iter(content.calibration)) else ""))
    lead = (name_class(content), "Split") if len(names) > 1 else ("Split",)
    return Table(
        title=", ".join(["Calibration", *(names if len(names) == 1 else ())]),
        header=(*lead, *_LINE.values(), "ECE", "By chance", "Brier", *map(str.capitalize, _PARTS)),
        rows=tuple(rows),
        num_text=len(lead),
        notes=(
            "Slope and intercept of the outcome on the logit: 1 and 0 in a calibrated model, a "
            "slope below 1 in an overconfident one. At slope 1: calibration in the large.",
            "ECE: expected calibration error, bins of equal mass. By chance: what a perfectly "
            "calibrated model shows on as many images, on average and in 95 % of samples.",
            *_reasons(content),
        ),
    )


def tabulate_recalibration(content: RunContent, class_name: str) -> Table | None:
    """Return TEST before and after each recalibration of one class; None where there is none."""
    classes = as_mapping(content.recalibration.get("classes"))
    block, rows = as_mapping(classes.get(class_name)), list[Row]()
    rule = next(iter(list_rules(content)), "")
    for method, title in _METHODS.items():
        entry = as_mapping(as_mapping(block.get(method)).get("test"))
        if not entry:
            continue
        points = as_mapping(as_mapping(block.get(method)).get("thresholds"))
        threshold = value_of(as_mapping(points.get(rule)).get("threshold"))
        if method == "before":
            threshold = _threshold(content, class_name, rule=rule)
        cells = (
            title,
            *(show_estimate(read_estimate(entry.get(key))) for key in _SHOWN_LINE),
            *(format_score(value_of(entry.get(key))) for key in ("brier", "log_loss")),
            format_threshold(threshold),
        )
        rows.append(Row(cells, "" if rows else "best"))
    if len(rows) < 2:
        return None
    return Table(
        title=f"Recalibration of {class_name}, fitted on VAL, TEST",
        about=about_class(content, class_name),
        header=("Probabilities", "Slope", "Intercept", "ECE", "Brier", "Log loss", "Threshold"),
        rows=tuple(rows),
        notes=(
            f"Threshold: {rule_name(content, rule)}, carried through. Every map is increasing, so "
            "AUROC, AP and each decision stay the same. The maps are in recalibration.json.",
            *_map_warnings(content, class_name),
        ),
    )


def tabulate_prevalence(content: RunContent, class_name: str) -> Table | None:
    """Return TEST carried to other prevalences of one class; None where there is none."""
    block = as_mapping(content.prevalence.get(class_name))
    rule = next(iter(list_rules(content)), "")
    rows: list[Row] = []
    for source, entry in block.items():
        point = as_mapping(as_mapping(entry.get("operating_points")).get(rule))
        # Older runs call it by the name of the operating point.
        best = as_mapping(entry.get("max_f1_at_prevalence", entry.get("max_f1")))
        cells = (
            _SOURCES.get(source, source),
            format_score(value_of(entry.get("prevalence"))),
            format_score(value_of(entry.get("average_precision"))),
            show_estimate(read_estimate(point.get("ppv"))),
            show_estimate(read_estimate(point.get("npv"))),
            format_threshold(value_of(best.get("threshold"))),
            format_score(value_of(best.get("sensitivity"))),
            format_score(value_of(best.get("specificity"))),
            format_score(value_of(best.get("f1_score"))),
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
            *("Max-F1 threshold", "Sens. there", "Spec. there", "F1 there"),
        ),
        rows=tuple(rows),
        notes=(
            f"PPV and NPV at {named}. Max-F1: chosen on VAL weighted to the prevalence. By Bayes' "
            "rule, as if sensitivity and specificity stayed the same there.",
        ),
    )


def _threshold(content: RunContent, class_name: str, *, rule: str) -> float | None:
    points = content.thresholds.get(class_name, {})
    return value_of(as_mapping(points.get(rule)).get("threshold"))


def _reasons(content: RunContent) -> Iterator[str]:
    for split, classes in content.calibration.items():
        for name in shown_classes(content):
            block: Json = as_mapping(as_mapping(classes).get(name))
            reason = as_mapping(block.get("slope")).get("reason")
            if reason:
                yield f"The slope of {name} on {name_split(split)} is undefined: {reason}."


def _map_warnings(content: RunContent, class_name: str) -> Iterator[str]:
    text = as_mapping(as_mapping(content.recalibration.get("warnings")).get(class_name)).get("text")
    if text:
        yield str(text)


def _present(table: Any) -> list[Table]:
    return [table] if isinstance(table, Table) else []
