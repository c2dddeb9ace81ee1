"""The first screen: what was trained on what, how well it does, and what to beware of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

from medimg_baseline_cls.catalogue import PROPORTIONS
from medimg_baseline_cls.records.comparisons import Comparison
from medimg_baseline_cls.records.estimates import UNKNOWN
from medimg_baseline_cls.records.sites import SitesSummary
from medimg_baseline_cls.records.spreads import SpreadSummary
from medimg_baseline_cls.records.summaries import OperatingPoint
from medimg_baseline_cls.reporting.content import Json, RunContent, as_mapping
from medimg_baseline_cls.reporting.page.external_cautions import list_cautions
from medimg_baseline_cls.reporting.page.metric_scales import (
    Statistic,
    describe_point,
    draw_scales,
    list_rates,
    list_scores,
)
from medimg_baseline_cls.reporting.page.performance import (
    class_block,
    control_values,
    list_rules,
    name_class,
    operating_points,
    rule_name,
    show_estimate,
    shown_classes,
    tabulate_confusion,
    with_interval,
)
from medimg_baseline_cls.reporting.page.pictures import Error, Figure, Gallery, list_figures
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import (
    count_images,
    format_count,
    format_score,
    format_setting,
    hide_paths,
)
from medimg_baseline_cls.reporting.text.names import name_split, name_stage
from medimg_baseline_cls.utils.quantities import format_threshold
from medimg_baseline_cls.utils.runs import is_trial
from medimg_baseline_cls.utils.visible import quote_words

_FIRST_SCREEN_TOPICS = ("positive class", "patients")
_NUM_MISTAKES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The content of the first screen.

    Attributes:
        lede: what was trained; `sentence` is the same with the images that it was trained on.
        scores: the large metrics without a threshold.
        rates: sensitivity and specificity of two classes at the operating point, named by `point`.
        controls: what classifiers that do not see the anatomy reach.
        classes: of more than two classes, the metrics of each.
        matrix: the confusion matrix of more than two classes.
        roc: the picture.
        mistakes: three of them at the operating point, with their panels.
        heading: of the mistakes, with the number of all at the operating point.
    """

    project: str
    lede: str
    sentence: str
    scores: tuple[Statistic, ...]
    rates: tuple[Statistic, ...]
    point: str
    controls: str
    classes: Table | None
    matrix: Table | None
    roc: Figure | None
    mistakes: tuple[Error, ...]
    heading: str
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    pending: tuple[str, ...]


def summarize_run(content: RunContent, galleries: Sequence[Gallery] = ()) -> Answer:
    """Return the first screen; with VAL in place of TEST while TEST has not been scored.

    Args:
        content: the run.
        galleries: the mistakes of each kind, of which three are on the first screen.
    """
    split = next((s for s in ("test", "val") if s in content.summaries), "")
    inferred = [item["warning"] for item in content.inferences if item["warning"]]
    # The warnings of an evaluation repeat them.
    listed = inferred if content.evaluation is None else content.evaluation.warnings
    scores = tuple(list_scores(content, split)) if split else ()
    drawn = draw_scales((*scores, *list_rates(content, split)))
    has_classes = bool(split) and content.positive_class is None
    arch = content.config.get("arch", "a network")
    if content.is_judged:
        arch = "A model of which only the predictions are known"
    task = describe_task(content, arch=arch)
    volumes = f"; each image is a volume of {content.num_slices} slices" * bool(content.num_slices)
    mistakes = _choose_mistakes(content, galleries)
    return Answer(
        project=str(content.config.get("project", content.name)),
        lede=f"{task}{volumes}.",
        sentence=f"{task}{_describe_images(content)}{volumes}.",
        scores=drawn[: len(scores)],
        rates=drawn[len(scores) :],
        point=describe_point(content, split) if split else "",
        controls=_list_controls(content),
        classes=_tabulate_classes(content, split) if has_classes else None,
        matrix=tabulate_confusion(content, split) if has_classes else None,
        roc=next((f for f in list_figures(_select_roc(content))["evaluation"]), None),
        mistakes=mistakes,
        heading=_name_mistakes(content, len(mistakes)),
        facts=tuple(_facts(content)),
        warnings=tuple(
            hide_paths(format_setting(item))
            for item in (*content.gaps, *list_cautions(content), *listed)
        ),
        pending=tuple(_pending(content)),
    )


def describe_weights(content: RunContent, *, has_hash: bool = True) -> str:
    """Return where the network's initial weights came from, and which file they are."""
    report = _weights_report(content)
    kind, source = report.get("kind"), report.get("source")
    if not kind:
        wanted = content.config.get("weights")
        pretrained = bool(content.config.get("pretrained"))
        kind = "file" if wanted else ("hub" if pretrained else "random")
        source = wanted
    digest = f", sha256 {str(report['sha256'])[:12]}…" if has_hash and report.get("sha256") else ""
    name = hide_paths(str(source)).removeprefix("…/") if source else ""
    if kind == "random":
        return "random (not pretrained)"
    where = " from the model hub" if kind == "hub" else ""
    how = f", tensors matched {report['renamed']}" if report.get("renamed") else ""
    return f"pretrained{where}{', ' + name if name else ''}{digest}{how}"


def describe_task(
    content: RunContent | SpreadSummary | Comparison | SitesSummary, *, arch: object
) -> str:
    """Return which network was trained to do what; it can be followed by how."""
    names, positive = content.class_names, content.positive_class
    if positive is not None and len(names) == 2:
        other = names[1 - names.index(positive)]
        return f"{arch}, trained to distinguish {positive} from {other}"
    if positive is not None:
        return f"{arch}, trained to distinguish {positive} from {len(names) - 1} other classes"
    listed = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "its classes"
    if content.has_findings:
        return f"{arch}, trained to find {listed}"
    if content.has_grades:
        return f"{arch}, trained to grade {' < '.join(names)}"
    return f"{arch}, trained to distinguish {listed}"


def _describe_images(content: RunContent) -> str:
    """Return the images that it was trained and tested on; "" before there is a split."""
    parts: list[str] = []
    for split, verb in (("train", "on"), ("test", "tested on")):
        rows = [row for row in content.split if row["split"] == split]
        if not rows or (split == "test" and "test" not in content.summaries):
            continue
        groups = len({row["group"] for row in rows})
        parts.append(f"{verb} {count_images(len(rows), groups, unit=content.unit)}")
    lead = ";" if content.is_judged else ""
    if not lead and parts and parts[0].startswith("tested"):  # on other data than the run's
        lead = ","
    return f"{lead} {'; '.join(parts)}" if parts else ""


def _select_roc(content: RunContent) -> dict[str, Path]:
    return {name: path for name, path in content.figures.items() if name == "roc.png"}


def _choose_mistakes(content: RunContent, galleries: Sequence[Gallery]) -> tuple[Error, ...]:
    """Return three mistakes at the run's operating point that have a panel.

    The most confident ones come first, of each kind by turns.
    """
    rules = {rule_name(content, rule) for rule in list_rules(content)[:1]}
    kinds = [
        [e for e in gallery.shown if e.picture is not None and rules.intersection(e.rules)]
        for gallery in galleries
    ]
    by_turns = (error for turn in zip_longest(*reversed(kinds)) for error in turn)
    return tuple(islice(filter(None, by_turns), _NUM_MISTAKES))


def _name_mistakes(content: RunContent, num_shown: int) -> str:
    """Return the heading of the mistakes: how many of how many, at which operating point."""
    rules = list_rules(content)[:1]
    points = [
        operating_points(content, "test", class_name=name).get(rule)
        for name in shown_classes(content)
        for rule in rules
    ]
    counts = [
        point.fp + point.fn
        for point in points
        if point is not None and point.fp is not None and point.fn is not None
    ]
    of_all = f" of {format_count(sum(counts))}" if counts else ""
    where = f" at {rule_name(content, rules[0])}" if rules else ""
    return f"{num_shown}{of_all} mistake{'s' * (sum(counts) != 1)}{where}"


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
        notes=(f"Thresholds: {rule}, chosen on VAL. AP baseline: the prevalence.",) if rule else (),
    )


def _threshold(point: OperatingPoint | None) -> float | None:
    return None if point is None else point.threshold


def _fraction(point: OperatingPoint | None, metric: str) -> str:
    """Return a proportion with its counts: 0.979 (382/390)."""
    if point is None:
        return format_score(None)
    part, whole = PROPORTIONS[metric]
    estimate = point.metrics.get(metric, UNKNOWN)
    text = format_score(estimate.value)
    if point.tp is not None:
        text = f"{text} ({point.counts(part)}/{point.counts(whole)})"
    return with_interval(text, estimate)


def _list_controls(content: RunContent) -> str:
    """Return the TEST AUROC of the controls; "" where there are none."""
    controls = control_values(content, "test", metric="auroc")
    if not controls or "test" not in content.summaries:
        return ""
    listed = [f"{name.lower()} {format_score(value)}" for name, value in controls.items()]
    return f"AUROC of the controls, which do not see the anatomy: {', '.join(listed)}"


def _facts(content: RunContent) -> Iterator[tuple[str, str]]:
    config, size = content.config, content.config.get("image_size")
    if not content.is_judged:
        yield "Network", f"{config.get('arch', 'unknown')}{f', {size} × {size} px' if size else ''}"
        yield "Initial weights", describe_weights(content, has_hash=False)
    if stages := list(_count_epochs(content)):
        yield "Epochs", ", ".join(stages)
    checkpoint = content.checkpoint
    if checkpoint:
        stage = name_stage(str(checkpoint.get("stage", "")))
        yield "Checkpoint", f"{stage}, epoch {checkpoint.get('epoch', '?')}"
    for item in content.listed_inferences:
        if item["topic"] in _FIRST_SCREEN_TOPICS and item["found"] != "none":
            yield item["topic"].capitalize(), f"{item['found']} ({item['certainty']})"
    if content.split:
        counts = [
            f"{format_count(sum(r['split'] == s for r in content.split))} {name_split(s)}"
            for s in content.splits
        ]
        yield "Images", ", ".join(counts)
        yield (
            f"{content.unit.capitalize()}s",
            format_count(len({r["group"] for r in content.split})),
        )
        if not content.is_judged:
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
        if planned and content.config.get(f"{stage}_fit") == "logistic":
            planned = 1  # it is solved
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
    if content.is_judged:
        if content.evaluation is None:
            yield "Judging was stopped before its end: start its command again."
        return
    resumed = quote_words("medimg", "run", "--resume", content.name)
    if not content.history:
        yield "No epoch is complete yet."
    if content.is_stopped:
        yield f"Training was interrupted: {resumed} completes the run."
    counted = None if content.evaluation is None else content.evaluation.test_evaluations
    if len(content.test_log) > (counted or 0):
        yield f"The last evaluation was interrupted: {resumed} completes it."
    elif not content.summaries and is_trial(content.name) and not content.selection:
        yield "A trial of a sweep, which chose another one on VAL: TEST has not been scored."
    elif not content.summaries:
        yield f"Not evaluated yet: {resumed} completes the run."
    elif "test" not in content.summaries:
        yield "TEST has not been scored yet: these are the metrics on VAL."
    if content.mistakes and not content.external and not any(content.panels.values()):
        flag = ["--anonymous-ids"] if content.config.get("anonymous_ids") else []
        command = quote_words("medimg", "explain", *flag, content.name)
        yield f"The mistakes have no heat maps yet: {command} draws them."
