"""Tables of the report about performance: without a threshold, at each one, and the matrix."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from medimg_baseline_cls.catalogue import (
    COUNTS,
    DECISIONS,
    HEADLINE_SCORES,
    OVERALL,
    SCORES,
    Metric,
    name_rule,
)
from medimg_baseline_cls.reporting.content import Json, RunContent, as_mapping, value_of
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import (
    UNDEFINED,
    format_count,
    format_interval,
    format_score,
)
from medimg_baseline_cls.reporting.text.names import name_split
from medimg_baseline_cls.utils.quantities import format_threshold

_CONTROL_NAMES = {"trivial": "Trivial properties", "border": "Outer frame"}


def shown_classes(content: RunContent) -> tuple[str, ...]:
    """Return the classes whose figures are shown: the positive one, or all of more than two."""
    positive = content.positive_class
    return content.class_names if positive is None else (positive,)


def name_class(content: RunContent) -> str:
    """Return what the rows of a table are called that has one for each class."""
    return "Finding" if content.has_findings else "Class"


def class_block(content: RunContent, split: str, *, class_name: str) -> Json:
    """Return the figures of one class on one split; empty before its evaluation."""
    classes = as_mapping(as_mapping(content.summaries.get(split)).get("classes"))
    return as_mapping(classes.get(class_name))


def headline_figure(content: RunContent, split: str, *, metric: str) -> Json:
    """Return the one figure that stands for a split: of the positive class, or the macro mean."""
    positive = content.positive_class
    if positive is not None:
        block = class_block(content, split, class_name=positive)
    else:
        block = as_mapping(as_mapping(content.summaries.get(split)).get("macro"))
    return as_mapping(as_mapping(block.get("metrics")).get(metric))


def list_rules(content: RunContent) -> list[str]:
    """Return the operating points of the run, in the order in which they were written."""
    rules: dict[str, None] = {}
    for split in content.summaries:
        for name in shown_classes(content):
            rules |= dict.fromkeys(operating_points(content, split, class_name=name))
    first = str(content.config.get("operating_point", ""))
    return sorted(rules, key=lambda rule: rule != first)


def operating_points(content: RunContent, split: str, *, class_name: str) -> Mapping[str, Any]:
    """Return the operating points of one class on one split, by rule."""
    return as_mapping(class_block(content, split, class_name=class_name).get("operating_points"))


def rule_name(content: RunContent, rule: str) -> str:
    """Return how a rule is called, with the run's own target sensitivity."""
    return name_rule(rule, content.target_sensitivity)


def format_figure(metric: Any) -> str:
    """Return a figure, and on a second line its interval or a dash; old runs have neither."""
    return with_interval(format_score(value_of(metric)), metric)


def with_interval(text: str, metric: Any) -> str:
    """Return the text, and on a second line the interval of its metric, or a dash for why not."""
    figure = as_mapping(metric)
    interval = format_interval(figure.get("interval"))
    if not interval and figure.get("interval_reason"):
        interval = UNDEFINED
    return f"{text}\n{interval}" if interval else text


def describe_intervals(content: RunContent) -> Iterator[str]:
    """Say what the second lines are; nothing for a run without intervals."""
    methods = [as_mapping(s.get("intervals")) for s in content.summaries.values()]
    number = next((_count(m.get("num_resamples")) for m in methods if m), None)
    if number is not None:
        yield (
            f"Second lines: 95 % intervals, whole groups drawn again {format_count(number)} times, "
            "thresholds chosen again on each VAL. Where these do not vary: Clopper and Pearson's, "
            "with groups as trials. A dash: no interval, because the threshold was chosen on these "
            "images (such figures flatter the model; see TEST), or because the resamples do not "
            "vary or too few define it."
        )


def tabulate_metrics(content: RunContent) -> Table | None:
    """Return AUROC, AP with its baseline, Brier and log loss; None before any evaluation."""
    if not content.summaries:
        return None
    classes, rows, notes = shown_classes(content), list[Row](), list[str]()
    for name in classes:
        for split in content.summaries:
            block = class_block(content, split, class_name=name)
            metrics = as_mapping(block.get("metrics"))
            lead = (name, name_split(split)) if len(classes) > 1 else (name_split(split),)
            cells = [format_figure(metrics.get(key)) for key in SCORES]
            cells.insert(2, format_score(value_of(block.get("prevalence"))))
            is_first = split == next(iter(content.summaries)) and len(classes) > 1
            rows.append(Row((*lead, *cells), "start" if is_first else ""))
            notes += _reasons(metrics, SCORES, where=" ".join(lead))
    rows += list(_average_rows(content)) if len(classes) > 1 else []
    lead_header = (name_class(content), "Split") if len(classes) > 1 else ("Split",)
    of = classes[0] if len(classes) == 1 else "each class against the rest"
    if content.has_findings:
        of = "each finding where it is known"
        notes += _describe_averages(content)
    header = ("AUROC", "AP", "AP baseline", "Brier", "Log loss")
    return Table(
        title=f"Without a threshold, {of}",
        header=(*lead_header, *header),
        rows=tuple(rows),
        num_text=len(lead_header),
        notes=(
            "AP: average precision; its baseline, what chance reaches, is the prevalence.",
            *describe_intervals(content),
            *notes,
        ),
    )


def control_figures(content: RunContent, split: str, *, metric: str) -> dict[str, float | None]:
    """Return a figure of each control classifier, by its name."""
    return {
        _name_control(control): value_of(as_mapping(control.get(split)).get(metric))
        for control in _list_controls(content)
    }


def tabulate_controls(content: RunContent) -> Table | None:
    """Return the control classifiers beside the model; None where the run has none."""
    controls = _list_controls(content)
    if not controls or not content.summaries:
        return None
    names = [_name_control(control) for control in controls]
    model = as_mapping(content.evaluation.get("headline"))
    sources = [(model, "The model"), *zip(controls, names, strict=True)]
    rows: list[Row] = []
    for source, title in sources:
        parts = [as_mapping(source.get(split)) for split in content.summaries]
        metrics = [value_of(part.get(m)) for part in parts for m in HEADLINE_SCORES]
        rows.append(Row((title, *map(format_score, metrics)), "" if rows else "best"))
    header = [
        f"{name_split(s)} {SCORES[m].short}" for s in content.summaries for m in HEADLINE_SCORES
    ]
    pairs = zip(names, controls, strict=True)
    notes = [f"{name}: {c['description']}, fitted on TRAIN." for name, c in pairs]
    return Table(
        title="Controls that see no organ",
        header=("Classifier", *header),
        rows=tuple(rows),
        notes=(*notes, "A model that does not clearly beat them has learnt little."),
    )


def tabulate_points(content: RunContent, class_name: str) -> Table | None:
    """Return every figure of one class at every operating point, VAL and TEST."""
    points = {
        split: operating_points(content, split, class_name=class_name)
        for split in content.summaries
    }
    title = f"Operating points, {class_name} positive"
    return _tabulate_points(
        content, points, title=title, notes=_describe_rules(content, class_name)
    )


def tabulate_micro_points(content: RunContent) -> Table | None:
    """Return the operating points of all findings together; None where there are no findings."""
    points = {
        split: as_mapping(as_mapping(summary.get("micro")).get("operating_points"))
        for split, summary in content.summaries.items()
    }
    note = "Micro: the pairs of image and finding that are known, each cut at its own threshold."
    return _tabulate_points(content, points, title="Operating points, all findings", notes=[note])


def tabulate_overall(content: RunContent) -> Table | None:
    """Return the figures of whole images by split; None for two classes, which have no other."""
    overall = {s: as_mapping(c.get("overall")) for s, c in content.summaries.items()}
    names = {key: OVERALL[key].short for key in OVERALL if any(key in o for o in overall.values())}
    if content.positive_class is not None or not names:
        return None
    rows = [
        Row((name_split(split), *(format_figure(figures.get(key)) for key in names)))
        for split, figures in overall.items()
    ]
    return Table(
        title="All findings of an image" if content.has_findings else "Most probable class",
        header=("Split", *names.values()),
        rows=tuple(rows),
        notes=tuple(OVERALL[key].note for key in names if OVERALL[key].note),
    )


def _tabulate_points(
    content: RunContent,
    points_of: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
    notes: Iterable[str],
) -> Table | None:
    rows, reasons = list[Row](), list[str]()
    for rule in list_rules(content):
        is_first = True
        for split, points in points_of.items():
            if rule not in points:
                continue
            point, where = as_mapping(points[rule]), f"{rule_name(content, rule)}"
            cells = (
                where if is_first else "",
                name_split(split),
                _threshold_text(point),
                *(format_count(_count(point.get(key))) for key in COUNTS),
                *(format_figure(point.get(key)) for key in DECISIONS),
            )
            rows.append(Row(cells, "start" if is_first else ""))
            reasons += _reasons(point, DECISIONS, where=f"{name_split(split)}, {where}")
            is_first = False
    if not rows:
        return None
    header = ("Operating point", "Split", "Threshold", *(key.upper() for key in COUNTS))
    return Table(
        title=title,
        header=(*header, *(metric.short for metric in DECISIONS.values())),
        rows=tuple(rows),
        num_text=2,
        notes=tuple(dict.fromkeys((*notes, *reasons))),
    )


def tabulate_confusion(content: RunContent, split: str) -> Table | None:
    """Return the confusion matrix of the most probable class; None where none was written."""
    matrix = as_mapping(content.summaries.get(split)).get("confusion_matrix")
    names = content.class_names
    if not isinstance(matrix, list) or len(matrix) != len(names):
        return None
    rows = [
        Row((name, *(format_count(_count(n)) for n in line)))
        for name, line in zip(names, matrix, strict=True)
    ]
    return Table(
        title=f"Confusion matrix, {name_split(split)}",
        header=("Reference ╲ predicted", *names),
        rows=tuple(rows),
        notes=("Predicted: the class with the highest probability, whatever the threshold.",),
    )


def _average_rows(content: RunContent) -> Iterator[Row]:
    for kind, name in (("macro", "Macro mean"), ("micro", "Micro, all pairs")):
        for split, summary in content.summaries.items():
            metrics = as_mapping(as_mapping(summary.get(kind)).get("metrics"))
            values = [value_of(metrics.get(key)) for key in SCORES]
            cells = [format_figure(metrics.get(key)) for key in SCORES]
            baseline = value_of(as_mapping(metrics.get("average_precision")).get("baseline"))
            cells.insert(2, format_score(baseline) if content.has_findings else "")
            if any(value is not None for value in values):
                yield Row((name, name_split(split), *cells), "total")


def _describe_averages(content: RunContent) -> Iterator[str]:
    """Say what is not known, and over how many findings a macro mean goes."""
    yield (
        "Macro: the mean over the findings that the images define. Micro: all known pairs of "
        "image and finding together."
    )
    for split, summary in content.summaries.items():
        blocks = {n: class_block(content, split, class_name=n) for n in content.class_names}
        unknown = {n: _count(block.get("num_unknown")) or 0 for n, block in blocks.items()}
        listed = ", ".join(f"{n} in {format_count(k)}" for n, k in unknown.items() if k)
        if listed:
            yield f"{name_split(split)}: not known and not counted are {listed} images."
        macro = as_mapping(as_mapping(summary.get("macro")).get("metrics"))
        number = _count(as_mapping(macro.get("auroc")).get("num_defined"))
        if number is not None and number < len(blocks):
            share = f"{number} of {len(blocks)} findings"
            yield f"{name_split(split)}: the macro AUROC is over {share}."


def _describe_rules(content: RunContent, class_name: str) -> Iterator[str]:
    """Say how each threshold was chosen, as the evaluation wrote it down."""
    thresholds = as_mapping(as_mapping(content.evaluation.get("thresholds")).get(class_name))
    for rule in list_rules(content):
        description = as_mapping(thresholds.get(rule)).get("rule")
        if description:
            yield f"{rule_name(content, rule)}: {description}"


def _reasons(metrics: Json, shown: Mapping[str, Metric], *, where: str) -> Iterator[str]:
    for key, metric in shown.items():
        reason = as_mapping(metrics.get(key)).get("reason")
        if reason:
            yield f"{metric.short} ({where}) is undefined: {reason}"


def _list_controls(content: RunContent) -> list[Json]:
    listed = content.evaluation.get("controls")
    return [as_mapping(item) for item in listed] if isinstance(listed, list) else []


def _name_control(control: Json) -> str:
    return _CONTROL_NAMES.get(str(control["name"]), str(control["name"]))


def _threshold_text(point: Json) -> str:
    if "threshold" not in point:
        return "each its own"
    interval = format_interval(point.get("threshold_interval"))
    text = format_threshold(value_of(point["threshold"]))
    return f"{text}\n{interval}" if interval else text


def _count(value: Any) -> int | None:
    number = value_of(value)
    return None if number is None else int(number)
