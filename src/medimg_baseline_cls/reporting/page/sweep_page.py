"""What the page of a cross-validation or a sweep of seeds shows."""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from medimg_baseline_cls.catalogue import (
    DECISIONS,
    HEADLINE_DECISIONS,
    HEADLINE_SCORES,
    SCORES,
    name_rule,
    word_of,
)
from medimg_baseline_cls.records.comparisons import name_metric
from medimg_baseline_cls.records.estimates import UNKNOWN, Estimate, Spread
from medimg_baseline_cls.records.spreads import SpreadBlock, SpreadSummary
from medimg_baseline_cls.records.summaries import Average, MetricKey, OperatingPoint, SplitSummary
from medimg_baseline_cls.reporting.joint_results import MemberRun, SweepContent, list_warnings
from medimg_baseline_cls.reporting.page.headline import describe_task
from medimg_baseline_cls.reporting.page.metric_scales import Statistic, draw_scales
from medimg_baseline_cls.reporting.page.performance import show_estimate
from medimg_baseline_cls.reporting.page.pictures import list_figures
from medimg_baseline_cls.reporting.page.run_settings import keep_common, tabulate_differences
from medimg_baseline_cls.reporting.page.tables import Row, Table, arrange_tables
from medimg_baseline_cls.reporting.text.format import (
    UNDEFINED,
    capitalize,
    count_images,
    count_of,
    format_count,
    format_interval,
    format_score,
    group_settings,
)
from medimg_baseline_cls.reporting.text.names import name_block

_KICKERS = {"cv": "Cross-validation", "seeds": "Several seeds"}
# What a sweep sets itself, so that its runs differ in it.
_OWN_SETTINGS = ("project", "fold", "fold_repeat", "test_site", "seed", "split_sha256")
_NOTES = {
    "cv": (
        "SD and range describe how the runs differ. They are not a confidence interval: the runs "
        "share most of their training images, so they are not independent.",
        "Thresholds were chosen on the VAL images of each run.",
    ),
    "seeds": (
        "All runs share one split and are tested on the same TEST images. SD and range show what "
        "the training seed alone changes; they are not a confidence interval.",
        "The interval shown is that of the mean: seeds and patients are resampled together.",
        "Thresholds were chosen on VAL, for each run and for the ensemble.",
    ),
}
_OF_FOLDS = (
    "All models are tested on the same images, of which none was trained on any: no prediction is "
    "out of fold. There is no ensemble: VAL of each run is in TRAIN of others.",
    "The interval shown is that of the mean: models and patients are resampled together.",
)


def describe_sweep(content: SweepContent) -> dict[str, Any]:
    """Return what the template of joint results shows of a sweep."""
    summary, unit = content.summary, "fold" if content.kind == "cv" else "seed"
    target = content.settings.get("target_sensitivity")
    tables = list(_tabulate_blocks(content, summary))
    by_patient = [] if content.patients is None else _tabulate_blocks(content, content.patients)
    (spreads, patients), notes = arrange_tables(tables, by_patient)
    differing = tabulate_differences(content.runs, without=_OWN_SETTINGS)
    is_of_folds = content.kind == "cv" and bool(content.external)
    return {
        "kicker": "External validation" if content.external else _KICKERS[content.kind],
        "title": str(content.settings["project"]),
        "name": content.name,
        "lede": _describe(content),
        "notes": (*_NOTES[content.kind], *(_OF_FOLDS if is_of_folds else ())),
        "groups": [("", list(draw_scales(tuple(_list_statistics(content, target)))))],
        "warnings": [*content.external.get("alarms", ()), *list_warnings(content.runs)],
        "run_tables": [_tabulate_runs(content, unit, target=target)],
        "metric_tables": spreads,
        "patient_tables": patients,
        "metric_notes": notes,
        "figures": list_figures(content.figures)["evaluation"],
        "figures_title": "Ensemble",
        "figures_note": "The mean of the networks, evaluated as one more model.",
        "differing": differing,
        "settings": group_settings(content.settings),
        "environment": keep_common([run.environment for run in content.runs]),
    }


def _describe(content: SweepContent) -> str:
    """Return what was trained on what, and how often, in one sentence."""
    task = describe_task(content.summary, arch=content.settings.get("arch"))
    number, first = len(content.runs), next((r.summary for r in content.runs if r.summary), None)
    if other := content.external:
        images = count_images(other["num_images"], other["num_patients"])
        return (
            f"{task}: models of {count_of(number, 'fold' if content.kind == 'cv' else 'seed')}. "
            f"TEST on this page is {other['name']}, {images}, scored by each model as it is; "
            "nothing was fitted or chosen on them."
        )
    if content.kind == "seeds":
        tested = ""
        if first is not None:
            tested = f", each tested on the same {count_images(first.num_images, first.num_groups)}"
        return f"{task}: {count_of(number, 'run')} from different seeds on one split{tested}."
    entries = content.facts["runs"]
    once = [entry for entry in entries if entry["repeat"] == 0]
    images, groups = (sum(e[name] for e in once) for name in ("num_images", "num_groups"))
    how = f"{content.facts['num_folds']}-fold cross-validation"
    if content.facts["by_site"]:
        how = f"leaving out one of {number} sites at a time"
    repeats = content.facts["repeats"]
    again = f", the folds drawn {repeats} times" if repeats > 1 else ""
    part = "site" if content.facts["by_site"] else "fold"
    return (
        f"{task}: {how} of {count_images(images, groups)}{again}; {count_of(number, 'run')}, each "
        f"tested on the {part} that it was not trained on."
    )


def _headline_keys(content: SweepContent) -> list[MetricKey]:
    """Return what the first screen shows, as that of a run does."""
    positive, rule = content.summary.positive_class, content.settings.get("operating_point")
    block = Average.MACRO if positive is None else positive
    keys = [MetricKey(block, None, metric) for metric in HEADLINE_SCORES]
    if content.summary.overall is not None:
        keys.insert(0, MetricKey(Average.OVERALL, None, "quadratic_weighted_kappa"))
    if positive is not None:
        keys += [MetricKey(block, rule, metric) for metric in HEADLINE_DECISIONS]
    return [key for key in keys if content.summary.look_up(key) is not None]


def _value_of(summary: SplitSummary | None, key: MetricKey) -> Estimate:
    return UNKNOWN if summary is None else summary.look_up(key)


def _place(item: tuple[str, Spread]) -> int:
    """Return the place of a metric in tables; those of others come last."""
    order = (*SCORES, *DECISIONS)
    return order.index(item[0]) if item[0] in order else len(order)


def _name(key: MetricKey, target: Any) -> str:
    return f"{'macro ' * (key.block is Average.MACRO)}{name_metric(key, target)}"


def _list_statistics(content: SweepContent, target: Any) -> Iterator[Statistic]:
    for key in _headline_keys(content):
        spread = content.summary.look_up(key)
        assert spread is not None
        values = [(run.title, _value_of(run.summary, key)) for run in content.runs]
        known = [(title, v.value) for title, v in values if v.value is not None]
        yield Statistic(
            label=f"TEST {_name(key, target)}, mean",
            text=format_score(spread.mean),
            detail="; ".join(_describe_spread(content, key, spread=spread)),
            estimate=Estimate(value=spread.mean, interval=spread.interval),
            floor=_find_floor(key, [value for _, value in values]),
            values=tuple((f"{title}: {format_score(value)}", value) for title, value in known),
        )


def _describe_spread(content: SweepContent, key: MetricKey, *, spread: Spread) -> Iterator[str]:
    if spread.mean is None or spread.minimum is None or spread.maximum is None:
        yield "undefined in every run"
        return
    interval = None if spread.interval is None else format_interval(spread.interval.bounds)
    if interval:
        yield f"95 % CI of the mean {interval}"
    yield f"SD {format_score(spread.sd)}"
    yield f"range {format_interval((spread.minimum, spread.maximum))}"
    if spread.num_defined < content.summary.num_runs:
        yield f"defined in {spread.num_defined} of {content.summary.num_runs} runs"
    if content.ensemble is not None:
        yield f"ensemble {format_score(_value_of(content.ensemble, key).value)}"
    block = content.summary.blocks[key.block]
    point = block.operating_points.get(key.rule or "")
    if point is not None and point.pooled is not None:
        yield f"pooled {format_score(point.pooled.metrics[key.metric].value)}"


def _find_floor(key: MetricKey, values: list[Estimate]) -> float | None:
    """Return what chance reaches; of average precision, in the mean over the runs."""
    if key.metric == "average_precision":
        chances = [value.chance for value in values if value.chance is not None]
        return fmean(chances) if chances else None
    return {"auroc": 0.5, "quadratic_weighted_kappa": 0.0}.get(key.metric)


def _tabulate_runs(content: SweepContent, unit: str, *, target: Any) -> Table:
    keys = _headline_keys(content)
    rows = [_row(run, keys) for run in content.runs]
    spreads = [content.summary.look_up(key) for key in keys]
    means = [f"{format_score(s.mean)}\nSD {format_score(s.sd)}" for s in spreads if s is not None]
    rows.append(Row(("Mean", "", "", *means), "total"))
    if content.ensemble is not None:
        ensemble = MemberRun(
            title="Ensemble", summary=content.ensemble, settings={}, environment={}
        )
        rows.append(_row(ensemble, keys))
    return Table(
        title=f"TEST of each {unit}",
        header=("Run", "Images", "Patients", *(capitalize(_name(key, target)) for key in keys)),
        rows=tuple(rows),
        notes=("Second lines of a run: its own 95 % confidence interval. Links: the reports.",),
    )


def _row(run: MemberRun, keys: list[MetricKey]) -> Row:
    found = run.summary
    sizes = (None, None) if found is None else (found.num_images, found.num_groups)
    cells = [show_estimate(_value_of(run.summary, key)) for key in keys]
    return Row((run.title, *map(format_count, sizes), *cells), link=run.link)


def _tabulate_blocks(content: SweepContent, summary: SpreadSummary) -> Iterator[Table]:
    """Yield a table for each class and average: every metric over the runs."""
    is_single = summary.positive_class is not None
    for block, spreads in summary.blocks.items():
        if is_single and block != summary.positive_class:
            continue
        title = name_block(block)
        ensemble = content.ensemble if summary is content.summary else None
        table = _tabulate_block(content, spreads, block=block, ensemble=ensemble)
        yield Table(
            title=title if not is_single else f"{title} positive",
            about="" if is_single else title,
            **table,
        )


def _tabulate_block(
    content: SweepContent,
    spreads: SpreadBlock,
    *,
    block: str | Average,
    ensemble: SplitSummary | None,
) -> dict[str, Any]:
    has_interval = bool(content.summary.intervals)
    has_pooled = content.kind == "cv" and not content.external
    header = ["Operating point", "Metric", "Mean", "SD", "Minimum", "Maximum"]
    header += ["95 % CI of the mean"] * has_interval + ["Pooled"] * has_pooled
    header += ["Ensemble"] * (ensemble is not None) + ["Runs"]
    target = content.settings.get("target_sensitivity")
    points: Mapping[str | None, tuple[Mapping[str, Spread], OperatingPoint | None]] = {
        None: (spreads.metrics, None),
        **{rule: (p.metrics, p.pooled) for rule, p in spreads.operating_points.items()},
    }
    rows: list[Row] = []
    for rule, (metrics, pooled) in points.items():
        for number, (metric, spread) in enumerate(sorted(metrics.items(), key=_place)):
            cells = ["" if number or rule is None else name_rule(rule, target)]
            cells += [capitalize(word_of(metric))]
            ends = (spread.mean, spread.sd, spread.minimum, spread.maximum)
            cells += map(format_score, ends)
            if has_interval:
                found = None if spread.interval is None else spread.interval.bounds
                cells.append(format_interval(found) or UNDEFINED)
            if has_pooled:
                joint = UNKNOWN if pooled is None else pooled.metrics.get(metric, UNKNOWN)
                cells.append(format_score(joint.value))
            if ensemble is not None:
                joint = _value_of(ensemble, MetricKey(block, rule, metric))
                cells.append(format_score(joint.value))
            rows.append(Row((*cells, str(spread.num_defined)), "" if number else "start"))
    notes = ["SD: of a sample (n - 1). Runs: in how many the metric is defined."]
    if has_pooled:
        notes.append(
            "Pooled: from the summed counts of all runs, each at its own thresholds. AUROC and AP "
            "are not pooled: scores of different networks are not on one scale."
        )
    return {"header": tuple(header), "rows": tuple(rows), "num_text": 2, "notes": tuple(notes)}
