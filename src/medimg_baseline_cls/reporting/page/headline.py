"""The first screen: what was trained on what, how well it does, and what to beware of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.summaries import OperatingPoint
from medimg_baseline_cls.reporting.content import Json, RunContent, as_mapping
from medimg_baseline_cls.reporting.page.performance import (
    baseline_of,
    class_block,
    control_values,
    describe_intervals,
    headline_estimate,
    list_rules,
    name_class,
    operating_points,
    rule_name,
    show_estimate,
    shown_classes,
    with_interval,
)
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import (
    format_count,
    format_interval,
    format_score,
    format_setting,
    hide_paths,
)
from medimg_baseline_cls.reporting.text.names import name_split, name_stage
from medimg_baseline_cls.utils.quantities import format_threshold
from medimg_baseline_cls.utils.visible import quote_words

_UNKNOWN = Estimate(value=None)
_FIRST_SCREEN_TOPICS = ("positive class", "patients")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One large figure. `floor` is what chance reaches, `position` the value, both in percent."""

    label: str
    text: str
    detail: str
    position: float | None
    floor: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The content of the first screen."""

    project: str
    lede: str
    split: str
    statistics: tuple[Statistic, ...]
    points: Table | None
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    pending: tuple[str, ...]


def summarize_run(content: RunContent) -> Answer:
    """Return the first screen; with VAL in place of TEST while TEST has not been scored."""
    split = next((s for s in ("test", "val") if s in content.summaries), "")
    inferred = [item["warning"] for item in content.inferences if item["warning"]]
    # The warnings of an evaluation repeat them.
    listed = inferred if content.evaluation is None else content.evaluation.warnings
    return Answer(
        project=str(content.config.get("project", content.name)),
        lede=_describe_task(content),
        split=name_split(split),
        statistics=tuple(_statistics(content, split)) if split else (),
        points=_tabulate_answer(content, split) if split else None,
        facts=tuple(_facts(content)),
        warnings=tuple(hide_paths(format_setting(item)) for item in (*content.gaps, *listed)),
        pending=tuple(_pending(content)),
    )


def describe_weights(content: RunContent) -> str:
    """Return where the network's first weights came from."""
    report = _weights_report(content)
    kind, source = report.get("kind"), report.get("source")
    if not kind:
        wanted = content.config.get("weights")
        pretrained = bool(content.config.get("pretrained"))
        kind = "file" if wanted else ("hub" if pretrained else "random")
        source = wanted
    digest = f", sha256 {str(report['sha256'])[:12]}…" if report.get("sha256") else ""
    name = hide_paths(str(source)).removeprefix("…/") if source else ""
    if kind == "random":
        return "random (not pretrained)"
    where = " from the model hub" if kind == "hub" else ""
    how = f", tensors matched {report['renamed']}" if report.get("renamed") else ""
    return f"pretrained{where}{', ' + name if name else ''}{digest}{how}"


def _describe_task(content: RunContent) -> str:
    names, positive = content.class_names, content.positive_class
    arch = content.config.get("arch", "a network")
    if positive is not None and len(names) == 2:
        other = names[1 - names.index(positive)]
        return f"{arch}, trained to tell {positive} from {other}."
    if positive is not None:
        return f"{arch}, trained to tell {positive} from {len(names) - 1} other classes."
    listed = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "its classes"
    if content.has_findings:
        return f"{arch}, trained to find {listed}."
    if content.has_grades:
        return f"{arch}, trained to grade {' < '.join(names)}."
    return f"{arch}, trained to tell {listed} apart."


def _statistics(content: RunContent, split: str) -> Iterator[Statistic]:
    is_binary = content.positive_class is not None
    name = f"{name_split(split)} {'' if is_binary else 'macro '}"
    if content.has_grades:
        yield from _grade_statistics(content, split)
    auroc = headline_estimate(content, split, metric="auroc")
    beside = _beside(content, split, metric="auroc")
    yield _statistic(f"{name}AUROC", auroc, floor=0.5, details=[beside])
    precision = headline_estimate(content, split, metric="average_precision")
    beside = _beside(content, split, metric="average_precision")
    floor = _precision_floor(content, split)
    reason = "prevalence" if is_binary else "mean prevalence"
    baseline = "" if floor is None else f"baseline {format_score(floor)} ({reason})"
    yield _statistic(f"{name}average precision", precision, floor=floor, details=[baseline, beside])


def _grade_statistics(content: RunContent, split: str) -> Iterator[Statistic]:
    overall = {name: summary.overall for name, summary in content.summaries.items()}
    kappas = {s: found.get("quadratic_weighted_kappa", _UNKNOWN) for s, found in overall.items()}
    error = overall[split].get("mean_grade_error", _UNKNOWN)
    details = [f"mean error {format_score(error.value)} grades"]
    if split == "test" and "val" in kappas:
        details.append(f"VAL {format_score(kappas['val'].value)}")
    title = f"{name_split(split)} quadratic weighted kappa"
    yield _statistic(title, kappas[split], floor=0.0, details=details)


def _statistic(
    label: str, estimate: Estimate, *, floor: float | None, details: Sequence[str]
) -> Statistic:
    value, interval = estimate.value, format_interval(estimate.bounds)
    listed = [f"95 % CI {interval}" if interval else "", *details]
    return Statistic(
        label=label,
        text=format_score(value),
        detail="; ".join(filter(None, listed)),
        position=None if value is None else round(100 * max(value, 0.0), 2),
        floor=None if floor is None else round(100 * floor, 2),
    )


def _precision_floor(content: RunContent, split: str) -> float | None:
    """Return the average precision that chance reaches."""
    if content.positive_class is not None:
        block = class_block(content, split, class_name=content.positive_class)
        return block.prevalence
    return baseline_of(headline_estimate(content, split, metric="average_precision"))


def _beside(content: RunContent, split: str, *, metric: str) -> str:
    """Return the VAL figure, to stand beside that of TEST."""
    if split != "test" or "val" not in content.summaries:
        return ""
    return f"VAL {format_score(headline_estimate(content, 'val', metric=metric).value)}"


def _tabulate_answer(content: RunContent, split: str) -> Table | None:
    if content.positive_class is None:
        return _tabulate_classes(content, split)
    rows: list[Row] = []
    splits = [split, *(s for s in content.summaries if s != split)]
    for rule in list_rules(content):
        points = {
            s: operating_points(content, s, class_name=content.positive_class).get(rule)
            for s in splits
        }
        cells = [rule_name(content, rule), format_threshold(_threshold(points[split]))]
        for point in points.values():
            cells += [_fraction(point, "sensitivity"), _fraction(point, "specificity")]
        rows.append(Row(tuple(cells)))
    header = [f"{name_split(s)} {m}" for s in splits for m in ("sensitivity", "specificity")]
    return Table(
        title="Operating points, chosen on VAL",
        header=("Operating point", "Threshold", *header),
        rows=tuple(rows),
        notes=(
            "In brackets: images called rightly, of all such images.",
            *describe_intervals(content),
        ),
    )


def _tabulate_classes(content: RunContent, split: str) -> Table | None:
    rules = list_rules(content)
    rows: list[Row] = []
    for name in shown_classes(content):
        block = class_block(content, split, class_name=name)
        points = operating_points(content, split, class_name=name)
        point = points.get(rules[0]) if rules else None
        rows.append(
            Row(
                (
                    name,
                    format_score(block.prevalence),
                    show_estimate(block.metrics.get("auroc")),
                    show_estimate(block.metrics.get("average_precision")),
                    format_threshold(_threshold(point)),
                    _fraction(point, "sensitivity"),
                    _fraction(point, "specificity"),
                )
            )
        )
    rule = rule_name(content, rules[0]) if rules else ""
    is_finding = content.has_findings
    of = "Each finding where it is known" if is_finding else "Each class against the rest"
    return Table(
        title=f"{of}, {name_split(split)}",
        header=(
            name_class(content),
            "AP baseline",
            "AUROC",
            "AP",
            "Threshold",
            "Sensitivity",
            "Specificity",
        ),
        rows=tuple(rows),
        notes=(f"Thresholds: {rule}, chosen on VAL. The AP baseline is the prevalence.",)
        if rule
        else (),
    )


def _threshold(point: OperatingPoint | None) -> float | None:
    return None if point is None else point.threshold


def _fraction(point: OperatingPoint | None, metric: str) -> str:
    """Return a proportion with its counts: 0.979 (382/390)."""
    if point is None:
        return format_score(None)
    hit, miss = ("tp", "fn") if metric == "sensitivity" else ("tn", "fp")
    estimate = point.metrics.get(metric, _UNKNOWN)
    text = format_score(estimate.value)
    if point.tp is not None:
        text = f"{text} ({point.counts((hit,))}/{point.counts((hit, miss))})"
    return with_interval(text, estimate)


def _facts(content: RunContent) -> Iterator[tuple[str, str]]:
    config, size = content.config, content.config.get("image_size")
    yield "Network", f"{config.get('arch', 'unknown')}{f', {size} × {size} px' if size else ''}"
    yield "First weights", describe_weights(content)
    if stages := list(_count_epochs(content)):
        yield "Epochs", ", ".join(stages)
    checkpoint = content.checkpoint
    if checkpoint:
        digest = str(checkpoint.get("sha256", ""))[:12]
        stage = name_stage(str(checkpoint.get("stage", "")))
        code = f", sha256 {digest}…" if digest else ""
        yield "Checkpoint", f"{stage}, epoch {checkpoint.get('epoch', '?')}{code}"
    controls = control_values(content, "test", metric="auroc")
    if controls and "test" in content.summaries:
        listed = [f"{name.lower()} {format_score(value)}" for name, value in controls.items()]
        yield "To beat, TEST AUROC", ", ".join(listed)
    for item in content.inferences:
        if item["topic"] in _FIRST_SCREEN_TOPICS and item["found"] != "none":
            yield item["topic"].capitalize(), f"{item['found']} ({item['certainty']})"
    if content.split:
        counts = [
            f"{format_count(sum(r['split'] == s for r in content.split))} {name_split(s)}"
            for s in ("train", "val", "test")
        ]
        yield "Images", ", ".join(counts)
        yield "Groups", format_count(len({r["group"] for r in content.split}))
        yield "Rejected files", format_count(len(content.rejected))
    if content.test_log:
        yield "TEST scored", f"{len(content.test_log)} time{'s' * (len(content.test_log) > 1)}"
    yield "Seed", format_setting(config.get("seed"))


def _count_epochs(content: RunContent) -> Iterator[str]:
    """Yield the epochs of each stage; where fewer are done than were planned, both."""
    for stage in ("head", "finetune"):
        planned = content.config.get(f"{stage}_epochs")
        if planned is None:
            continue
        done = sum(row["stage"] == stage for row in content.history)
        is_whole = done == planned or not content.history
        count = f"{planned}" if is_whole else f"{done} of {planned}"
        yield f"{count} {name_stage(stage).lower()}"


def _weights_report(content: RunContent) -> Json:
    for source in (content.provenance, content.environment):
        for key in ("weights", "weights_report"):
            report = as_mapping(source.get(key))
            if report:
                return report
    return {}


def _pending(content: RunContent) -> Iterator[str]:
    resumed = quote_words("medimg", "run", "--resume", content.name)
    if not content.history:
        yield "No epoch has ended yet."
    if content.is_stopped:
        yield f"Training was stopped before its end: {resumed} does the rest."
    counted = None if content.evaluation is None else content.evaluation.test_evaluations
    if len(content.test_log) > (counted or 0):
        yield f"The last evaluation was interrupted: {resumed} completes it."
    elif not content.summaries:
        yield f"Not evaluated yet: {resumed} does that and the rest."
    elif "test" not in content.summaries:
        yield "TEST has not been scored yet: the figures here are those of VAL."
    if content.mistakes and not any(content.panels.values()):
        flag = ["--anonymous-ids"] if content.config.get("anonymous_ids") else []
        command = quote_words("medimg", "explain", *flag, content.name)
        yield f"The mistakes have no Grad-CAM panels yet. The next command is {command}."
