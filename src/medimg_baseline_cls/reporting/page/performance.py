"""Tables of the report about performance: without a threshold, at each one, and the matrix."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from medimg_baseline_cls.catalogue import (
    COUNTS,
    DECISIONS,
    HEADLINE_SCORES,
    OVERALL,
    SCORES,
    Metric,
    name_rule,
    with_added,
)
from medimg_baseline_cls.records.estimates import UNKNOWN, Bounds, Estimate, read_number
from medimg_baseline_cls.records.evaluations import Headlines
from medimg_baseline_cls.records.summaries import Average, ClassMetrics, OperatingPoint
from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import (
    UNDEFINED,
    format_count,
    format_interval,
    format_score,
)
from medimg_baseline_cls.reporting.text.names import name_block, name_split
from medimg_baseline_cls.utils.quantities import format_threshold

_CONTROL_NAMES = {"trivial": "Trivial properties", "border": "Outer frame"}
_NOTHING = ClassMetrics(metrics={}, operating_points={})


def shown_classes(content: RunContent) -> tuple[str, ...]:
    """Return the classes whose metrics are shown: the positive one, or all of more than two."""
    positive = content.positive_class
    return content.class_names if positive is None else (positive,)


def about_class(content: RunContent, class_name: str) -> str:
    """Return the class that a table is about; "" where there is no other."""
    return class_name if len(shown_classes(content)) > 1 else ""


def name_class(content: RunContent) -> str:
    """Return what the rows of a table are called that has one for each class."""
    return "Finding" if content.has_findings else "Class"


def class_block(content: RunContent, split: str, *, class_name: str) -> ClassMetrics:
    """Return the metrics of one class on one split; without any before its evaluation."""
    summary = content.summaries.get(split)
    return _NOTHING if summary is None else summary.classes.get(class_name, _NOTHING)


def headline_estimate(content: RunContent, split: str, *, metric: str) -> Estimate:
    """Return the metric that represents a split: of the positive class, or the macro mean."""
    summary, positive = content.summaries.get(split), content.positive_class
    if summary is None:
        return UNKNOWN
    block = summary.macro if positive is None else summary.classes.get(positive, _NOTHING)
    return block.metrics.get(metric, UNKNOWN)


def list_scores(content: RunContent) -> dict[str, Metric]:
    """Return the metrics without a threshold: ours, then those of packages of others."""
    return with_added(SCORES, _list_keys(content, has_rule=False))


def list_decisions(content: RunContent) -> dict[str, Metric]:
    """Return the metrics at a threshold: ours, then those of packages of others."""
    return with_added(DECISIONS, _list_keys(content, has_rule=True))


def _list_keys(content: RunContent, *, has_rule: bool) -> Iterator[str]:
    for summary in content.summaries.values():
        for key, _ in summary.items():
            if key.block is not Average.OVERALL and has_rule == (key.rule is not None):
                yield key.metric


def list_rules(content: RunContent) -> list[str]:
    """Return the operating points of the run, in the order in which they were written."""
    rules: dict[str, None] = {}
    for split in content.summaries:
        for name in shown_classes(content):
            rules |= dict.fromkeys(operating_points(content, split, class_name=name))
    first = str(content.config.get("operating_point", ""))
    return sorted(rules, key=lambda rule: rule != first)


def operating_points(
    content: RunContent, split: str, *, class_name: str
) -> Mapping[str, OperatingPoint]:
    """Return the operating points of one class on one split, by rule."""
    return class_block(content, split, class_name=class_name).operating_points


def rule_name(content: RunContent, rule: str) -> str:
    """Return how a rule is called, with the run's own target sensitivity."""
    return name_rule(rule, content.target_sensitivity)


def count_resamples(content: RunContent) -> int | None:
    """Return from how many resamples the intervals are; None for a run without intervals."""
    methods = [summary.intervals for summary in content.summaries.values()]
    found = [read_number(method.get("num_resamples")) for method in methods]
    return next((int(number) for number in found if number is not None), None)


def show_estimate(estimate: Estimate | None) -> str:
    """Return a value, and on a second line its interval or a dash; old runs have neither."""
    estimate = estimate or UNKNOWN
    return with_interval(format_score(estimate.value), estimate)


def with_interval(text: str, estimate: Estimate) -> str:
    """Return the text, and on a second line an interval, or a dash where there is a reason."""
    interval = format_interval(estimate.bounds)
    if not interval and estimate.interval is not None and estimate.interval.reason:
        interval = UNDEFINED
    return f"{text}\n{interval}" if interval else text


def describe_intervals(content: RunContent) -> Iterator[str]:
    """Say what the second lines are; nothing for a run without intervals."""
    number = count_resamples(content)
    if number is None:
        return
    how, why = "", ""
    if list_rules(content):
        how = ", with thresholds re-selected in every resample of VAL"
        why = (
            "the threshold was chosen on these images (such metrics are too optimistic; see "
            "TEST), or because "
        )
    yield (
        f"Second lines: 95 % confidence intervals; whole {content.unit}s were resampled "
        f"{format_count(number)} times{how}. "
        f"Where resamples do not vary: Clopper and Pearson's, with {content.unit}s as trials. "
        f"A dash: no interval, because {why}resamples do not vary or too few define the metric."
    )


def tabulate_metrics(content: RunContent) -> Table | None:
    """Return AUROC, AP with its baseline, Brier and log loss; None before any evaluation."""
    if not content.summaries:
        return None
    classes, rows, notes = shown_classes(content), list[Row](), list[str]()
    shown = list_scores(content)
    for name in classes:
        for split in content.summaries:
            block = class_block(content, split, class_name=name)
            lead = (name, name_split(split)) if len(classes) > 1 else (name_split(split),)
            cells = [show_estimate(block.metrics.get(key)) for key in shown]
            cells.insert(2, format_score(block.prevalence))
            is_first = split == next(iter(content.summaries)) and len(classes) > 1
            rows.append(Row((*lead, *cells), "start" if is_first else ""))
            notes += _reasons(block.metrics, shown, where=" ".join(lead))
    rows += list(_average_rows(content)) if len(classes) > 1 else []
    lead_header = (name_class(content), "Split") if len(classes) > 1 else ("Split",)
    of = classes[0] if len(classes) == 1 else "each class against the rest"
    if content.has_findings:
        of = "each finding where it is known"
        notes += _describe_averages(content)
    header = [metric.short for metric in shown.values()]
    header.insert(2, "AP baseline")
    return Table(
        title=f"Without a threshold, {of}",
        header=(*lead_header, *header),
        rows=tuple(rows),
        num_text=len(lead_header),
        notes=(
            "AP: average precision; its baseline, the value by chance, is the prevalence.",
            *describe_intervals(content),
            *notes,
        ),
    )


def control_values(content: RunContent, split: str, *, metric: str) -> dict[str, float | None]:
    """Return a metric of each control classifier, by its name."""
    controls = () if content.evaluation is None else content.evaluation.controls
    return {
        _name_control(c.name): c.metrics.get(split, {}).get(metric, UNKNOWN).value for c in controls
    }


def tabulate_controls(content: RunContent) -> Table | None:
    """Return the control classifiers next to the model; None where the run has none."""
    evaluation = content.evaluation
    if evaluation is None or not evaluation.controls or not content.summaries:
        return None
    controls = {_name_control(control.name): control for control in evaluation.controls}
    sources: dict[str, Headlines] = {"The model": evaluation.headline}
    sources |= {name: control.metrics for name, control in controls.items()}
    rows: list[Row] = []
    for title, source in sources.items():
        parts = [source.get(split, {}) for split in content.summaries]
        values = [part.get(m, UNKNOWN).value for part in parts for m in HEADLINE_SCORES]
        rows.append(Row((title, *map(format_score, values)), "" if rows else "best"))
    header = [
        f"{name_split(s)} {SCORES[m].short}" for s in content.summaries for m in HEADLINE_SCORES
    ]
    notes = [f"{name}: {c.description}, fitted on TRAIN." for name, c in controls.items()]
    return Table(
        title="Controls that do not see the anatomy",
        header=("Classifier", *header),
        rows=tuple(rows),
        notes=(*notes, "A model that does not clearly beat them has learned little."),
    )


def tabulate_points(content: RunContent, class_name: str) -> Table | None:
    """Return every metric of one class at every operating point, VAL and TEST."""
    points = {
        split: operating_points(content, split, class_name=class_name)
        for split in content.summaries
    }
    title = f"Operating points, {class_name} positive"
    notes = _describe_rules(content, class_name)
    table = _tabulate_points(content, points, title=title, notes=notes)
    return None if table is None else replace(table, about=about_class(content, class_name))


def tabulate_micro_points(content: RunContent) -> Table | None:
    """Return the operating points of all findings together; None where there are no findings."""
    points = {
        split: {} if summary.micro is None else summary.micro.operating_points
        for split, summary in content.summaries.items()
    }
    note = "Micro: all known pairs of image and finding, at the threshold of each finding."
    return _tabulate_points(content, points, title="Operating points, all findings", notes=[note])


def tabulate_overall(content: RunContent) -> Table | None:
    """Return the metrics of whole images by split; None for two classes, which have no other."""
    overall = {split: summary.overall for split, summary in content.summaries.items()}
    names = {key: OVERALL[key].short for key in OVERALL if any(key in o for o in overall.values())}
    if content.positive_class is not None or not names:
        return None
    rows = [
        Row((name_split(split), *(show_estimate(metrics.get(key)) for key in names)))
        for split, metrics in overall.items()
    ]
    return Table(
        title="All findings of an image" if content.has_findings else "Most probable class",
        header=("Split", *names.values()),
        rows=tuple(rows),
        notes=tuple(OVERALL[key].note for key in names if OVERALL[key].note),
    )


def _tabulate_points(
    content: RunContent,
    points_of: Mapping[str, Mapping[str, OperatingPoint]],
    *,
    title: str,
    notes: Iterable[str],
) -> Table | None:
    rows, reasons, shown = list[Row](), list[str](), list_decisions(content)
    for rule in list_rules(content):
        is_first = True
        for split, points in points_of.items():
            if rule not in points:
                continue
            point, where = points[rule], f"{rule_name(content, rule)}"
            cells = (
                where if is_first else "",
                name_split(split),
                _threshold_text(point),
                *(format_count(getattr(point, key)) for key in COUNTS),
                *(show_estimate(point.metrics.get(key)) for key in shown),
            )
            rows.append(Row(cells, "start" if is_first else ""))
            reasons += _reasons(point.metrics, shown, where=f"{name_split(split)}, {where}")
            is_first = False
    if not rows:
        return None
    header = ("Operating point", "Split", "Threshold", *(key.upper() for key in COUNTS))
    return Table(
        title=title,
        header=(*header, *(metric.short for metric in shown.values())),
        rows=tuple(rows),
        num_text=2,
        notes=tuple(dict.fromkeys((*notes, *reasons))),
    )


def tabulate_confusion(content: RunContent, split: str) -> Table | None:
    """Return the confusion matrix of the most probable class; None where none was written."""
    summary, names = content.summaries.get(split), content.class_names
    matrix = None if summary is None else summary.confusion_matrix
    if matrix is None or len(matrix) != len(names):
        return None
    rows = [
        Row((name, *(format_count(int(n)) for n in line)))
        for name, line in zip(names, matrix, strict=True)
    ]
    return Table(
        title=f"Confusion matrix, {name_split(split)}",
        header=("Reference ╲ predicted", *names),
        rows=tuple(rows),
        notes=("Predicted: the class with the highest probability, whatever the threshold.",),
    )


def _average_rows(content: RunContent) -> Iterator[Row]:
    macro = {s: summary.macro for s, summary in content.summaries.items()}
    micro = {s: summary.micro or _NOTHING for s, summary in content.summaries.items()}
    for average, blocks in ((Average.MACRO, macro), (Average.MICRO, micro)):
        for split, block in blocks.items():
            estimates = [block.metrics.get(key) for key in list_scores(content)]
            precision = block.metrics.get("average_precision", UNKNOWN)
            cells = [show_estimate(estimate) for estimate in estimates]
            cells.insert(2, format_score(precision.chance) if content.has_findings else "")
            if any(estimate is not None and estimate.value is not None for estimate in estimates):
                yield Row((name_block(average), name_split(split), *cells), "total")


def _describe_averages(content: RunContent) -> Iterator[str]:
    """Say what is not known, and over how many findings a macro mean goes."""
    yield (
        "Macro: the mean over the findings for which the metric is defined. Micro: all known pairs "
        "of image and finding together."
    )
    for split, summary in content.summaries.items():
        blocks = {n: class_block(content, split, class_name=n) for n in content.class_names}
        unknown = {n: block.num_unknown for n, block in blocks.items()}
        listed = ", ".join(f"{n} in {format_count(k)}" for n, k in unknown.items() if k)
        if listed:
            yield f"{name_split(split)}: not counted because not known: {listed} images."
        number = summary.macro.metrics.get("auroc", UNKNOWN).num_defined
        if number is not None and number < len(blocks):
            share = f"{number} of {len(blocks)} findings"
            yield f"{name_split(split)}: the macro AUROC is the mean of {share}."


def _describe_rules(content: RunContent, class_name: str) -> Iterator[str]:
    """Say how each threshold was chosen, as the evaluation wrote it down."""
    thresholds = content.thresholds.get(class_name, {})
    for rule in list_rules(content):
        description = thresholds.get(rule, {}).get("rule")
        if description:
            yield f"{rule_name(content, rule)}: {description}"


def _reasons(
    metrics: Mapping[str, Estimate], shown: Mapping[str, Metric], *, where: str
) -> Iterator[str]:
    for key, metric in shown.items():
        reason = metrics.get(key, UNKNOWN).reason
        if reason:
            yield f"{metric.short} ({where}) is undefined: {reason}"


def _name_control(name: str) -> str:
    return _CONTROL_NAMES.get(name, name)


def _threshold_text(point: OperatingPoint) -> str:
    if point.threshold is None:
        return "each its own"
    bounds: Bounds | None = point.threshold_interval
    text, interval = format_threshold(point.threshold), format_interval(bounds)
    return f"{text}\n{interval}" if interval else text
