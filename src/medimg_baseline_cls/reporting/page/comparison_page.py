"""What the page of a comparison shows: paired differences, with their intervals and p-values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from medimg_baseline_cls.records.comparisons import ComparedMetric, name_metric
from medimg_baseline_cls.records.estimates import PairedDifference
from medimg_baseline_cls.reporting.joint_results import ComparisonContent, list_warnings
from medimg_baseline_cls.reporting.page.headline import describe_task
from medimg_baseline_cls.reporting.page.metric_scales import Statistic, draw_differences
from medimg_baseline_cls.reporting.page.performance import show_estimate
from medimg_baseline_cls.reporting.page.pictures import list_figures
from medimg_baseline_cls.reporting.page.run_settings import keep_common, tabulate_differences
from medimg_baseline_cls.reporting.page.tables import Row, Table, arrange_tables
from medimg_baseline_cls.reporting.text.format import (
    UNDEFINED,
    capitalize,
    count_images,
    format_difference,
    format_difference_interval,
    format_score,
)
from medimg_baseline_cls.reporting.text.names import name_block
from medimg_baseline_cls.utils.quantities import format_p

_TEST_NAMES = {"delong": "DeLong", "mcnemar": "McNemar"}
_MAX_LARGE = 4
_DASH_NOTE = (
    "A dash: no interval, because the resamples do not vary or too few define the metric. The "
    "report of each run has Clopper and Pearson's of a proportion of 0 or 1."
)
_NOTES = (
    "Each difference is the value of a model minus that of the reference on the same images, each "
    "at its own stored thresholds. Intervals resample whole patients, the same ones for all "
    "models; those of AUROC are DeLong's, with the images of a patient as a cluster. McNemar's "
    "test takes images as independent.",
    "An interval that contains 0 does not show that the models are equally good.",
)


def describe_comparison(content: ComparisonContent) -> dict[str, Any]:
    """Return what the template of joint results shows of a comparison."""
    comparison, runs = content.comparison, content.runs
    settings = next((run.settings for run in runs if run.settings), {})
    rule, target = str(settings.get("operating_point", "")), settings.get("target_sensitivity")
    names = [model.name for model in comparison.models]
    word = f"{comparison.split.upper()} image"
    images = count_images(comparison.num_images, comparison.num_groups, word=word)
    task = describe_task(comparison, arch=f"{len(names)} models")
    chosen = comparison.choose_metrics(rule=rule)
    has_classes = comparison.positive_class is None
    statistics = [
        tuple(
            _describe(compared, number, name=_name(compared, target, has_class=has_classes))
            for compared in chosen[:_MAX_LARGE]
        )
        for number in range(len(names) - 1)
    ]
    drawn = iter(draw_differences([item for group in statistics for item in group]))
    groups = [
        (f"{name} minus {names[0]}", [next(drawn) for _ in group])
        for name, group in zip(names[1:], statistics, strict=True)
    ]
    blocks = dict.fromkeys(compared.key.block for compared in comparison.list_metrics())
    (shown, tables), notes = arrange_tables(
        [
            _tabulate(
                content,
                {_name(c, target, has_class=has_classes): c for c in chosen},
                title="Differences",
            )
        ],
        [
            _tabulate(
                content,
                {
                    _name(c, target, has_class=False): c
                    for c in comparison.list_metrics()
                    if c.key.block == block
                },
                title=f"All metrics, {name_block(block)}",
                about=name_block(block),
            )
            for block in blocks
        ],
    )
    tests = comparison.tests
    return {
        "kicker": "Comparison",
        "title": " and ".join(names) if len(names) == 2 else f"{len(names)} models",
        "name": content.name,
        "lede": f"{task}, on the same {images}; {names[0]} is the reference.",
        "notes": (
            *_NOTES,
            f"p after Holm: corrected for all {tests['num_tests']} tests, {tests['family']}.",
        ),
        "groups": groups,
        "warnings": [*comparison.warnings, *list_warnings(runs)],
        "run_tables": [_tabulate_models(content)],
        "metric_tables": [*shown, *(replace(table, is_open=False) for table in tables)],
        "patient_tables": [],
        "metric_notes": notes,
        "figures": list_figures(content.figures)["evaluation"],
        "figures_title": "Figure",
        "figures_note": "",
        "differing": tabulate_differences(runs),
        "settings": keep_common([run.settings for run in runs]),
        "environment": keep_common([run.environment for run in runs]),
    }


def _describe(compared: ComparedMetric, number: int, *, name: str) -> Statistic:
    gap, own, first = compared.gaps[number], compared.entries[number + 1], compared.entries[0]
    interval = format_difference_interval(gap.bounds)
    parts = [f"95 % CI {interval}" if interval else "", _describe_test(gap)]
    parts.append(f"{format_score(own.value)} against {format_score(first.value)}")
    return Statistic(
        label=name,
        text=format_difference(gap.value),
        detail="; ".join(filter(None, (*parts, gap.reason))),
        estimate=gap,
    )


def _name(compared: ComparedMetric, target: Any, *, has_class: bool) -> str:
    name = name_metric(compared.key, target)
    return f"{name_block(compared.key.block)}: {name}" if has_class else capitalize(name)


def _describe_test(gap: PairedDifference) -> str:
    if not gap.test:
        return ""
    value, corrected = format_p(gap.p_value), f"{format_p(gap.p_holm)} after Holm"
    sign = f"< {value[1:]}" if value.startswith("<") else f"= {value}"
    return f"p {sign} ({_TEST_NAMES.get(gap.test, gap.test)}), {corrected}"


def _tabulate_models(content: ComparisonContent) -> Table:
    rows: list[Row] = []
    for number, run in enumerate(content.runs):
        arch = str(run.settings.get("arch", UNDEFINED))
        rows.append(Row((run.title, "model" if number else "reference", arch), link=run.link))
    return Table(title="Models", header=("Run", "Role", "Network"), rows=tuple(rows), num_text=3)


def _tabulate(
    content: ComparisonContent,
    metrics: Mapping[str, ComparedMetric],
    *,
    title: str,
    about: str = "",
) -> Table:
    """Return a table of metrics, which are given by name: a line for each model."""
    names = [model.name for model in content.comparison.models]
    rows = [row for name, found in metrics.items() for row in _rows(name, found, names=names)]
    has_dash = any(cell.endswith(f"\n{UNDEFINED}") for row in rows for cell in row.cells)
    return Table(
        title=title,
        header=("Metric", "Model", "Value", "Difference", "Test", "p", "p (Holm)"),
        rows=tuple(rows),
        num_text=2,
        notes=("Second lines: 95 % confidence intervals.", *([_DASH_NOTE] if has_dash else [])),
        about=about,
    )


def _rows(label: str, compared: ComparedMetric, *, names: Sequence[str]) -> Iterator[Row]:
    for number, name in enumerate(names):
        gap = compared.gaps[number - 1] if number else None
        cells = ("reference", "", "", "") if gap is None else _gap_cells(gap)
        value = show_estimate(compared.entries[number])
        yield Row(("" if number else label, name, value, *cells), "" if number else "start")


def _gap_cells(gap: PairedDifference) -> tuple[str, ...]:
    value, interval = format_difference(gap.value), format_difference_interval(gap.bounds)
    cells = (format_p(gap.p_value), format_p(gap.p_holm)) if gap.test else ("", "")
    return (f"{value}\n{interval}" if interval else value, _TEST_NAMES.get(gap.test, ""), *cells)
