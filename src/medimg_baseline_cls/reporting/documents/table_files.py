"""tables/ of a run folder: each table as CSV for a spreadsheet and as LaTeX for a manuscript.

The CSV has numbers at full precision and, next to them, the text a journal prints; the
LaTeX has that text. No text cell of the CSV can start a formula (decision 0014).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.summaries import Average
from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.documents.methods import list_methods
from medimg_baseline_cls.reporting.page.performance import (
    count_resamples,
    list_rules,
    rule_name,
    shown_classes,
)
from medimg_baseline_cls.reporting.page.tables import count_labels
from medimg_baseline_cls.reporting.text.format import format_count
from medimg_baseline_cls.reporting.text.latex import format_table
from medimg_baseline_cls.reporting.text.measures import Measure, list_metrics, list_points
from medimg_baseline_cls.reporting.text.names import name_block, name_split
from medimg_baseline_cls.reporting.text.publication_format import format_proportion
from medimg_baseline_cls.utils.files import write_csv, write_text_atomic
from medimg_baseline_cls.utils.spreadsheet_cells import guard_cell

_FIGURE_HEADER = ("metric", "value", "lower", "upper", "method", "part", "whole", "printed")
# What a table of several classes shows of each, so that it fits on a page.
_SHORT = frozenset({"auroc", "average_precision"})
_SHORT_POINT = frozenset({"threshold", "sensitivity", "specificity"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One table in both forms.

    Attributes:
        name: of the files, without suffix; also the label.
        caption: above the LaTeX table.
        header: of the LaTeX table; `rows` are its cells as plain text.
        notes: below the LaTeX table.
        wraps_last: whether the last column of the LaTeX table contains sentences.
        fields: the header of the CSV; `records` are its cells, numbers as numbers.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    fields: tuple[str, ...]
    records: tuple[tuple[object, ...], ...]
    notes: tuple[str, ...] = ()
    wraps_last: bool = False


def write_tables(content: RunContent, folder: Path) -> tuple[Path, ...]:
    """Write every table that the run has metrics for, as CSV and as LaTeX.

    Returns:
        The files that were written.
    """
    written: list[Path] = []
    for export in list_exports(content):
        path = folder / f"{export.name}.csv"
        rows = [[guard_cell(cell) for cell in record] for record in export.records]
        write_csv(path, export.fields, rows=rows)
        text = format_table(
            export.header,
            export.rows,
            caption=export.caption,
            label=export.name.replace("_", "-"),
            notes=export.notes,
            wraps_last=export.wraps_last,
        )
        write_text_atomic(path.with_suffix(".tex"), text)
        written += [path, path.with_suffix(".tex")]
    return tuple(written)


def list_exports(content: RunContent) -> list[Export]:
    """Return the tables of a run; one without rows is left out."""
    per_patient = replace(content, summaries=content.patient_summaries)
    exports = [
        _export_data(content),
        _export_methods(content),
        _export_performance(content),
        _export_points(content),
        _export_performance(per_patient, suffix="_patients"),
        _export_points(per_patient, suffix="_patients"),
    ]
    return [export for export in exports if export.rows]


def _export_performance(content: RunContent, suffix: str = "") -> Export:
    measures = list_metrics(content)
    has_many = len(shown_classes(content)) > 1
    whole = name_block(Average.OVERALL)
    shown = [m for m in measures if not has_many or m.key in _SHORT or m.owner == whole]
    of = "each class against the rest" if has_many else "".join(shown_classes(content))
    return Export(
        name=f"performance{suffix}",
        caption=f"Performance without a threshold, {of}{_unit(suffix)}. {_brackets(shown)}",
        header=("Class", "Metric", *map(name_split, content.summaries)),
        rows=tuple(_print_rows(shown, content, by="owner")),
        fields=("split", "class", *_FIGURE_HEADER),
        records=tuple(
            (split, m.owner, *_record(m, split)) for m in measures for split in m.estimates
        ),
        notes=("Average precision by chance is the prevalence.", *_describe_resampling(content)),
    )


def _export_points(content: RunContent, suffix: str = "") -> Export:
    measures, rules = list_points(content), list_rules(content)
    has_many = len(shown_classes(content)) > 1
    first = rule_name(content, rules[0]) if rules else ""
    shown = [m for m in measures if not has_many or (m.rule == first and m.key in _SHORT_POINT)]
    title = f"Performance at {first}" if has_many else "Performance at each operating point"
    return Export(
        name=f"operating_points{suffix}",
        caption=f"{title}{_unit(suffix)}; thresholds chosen on VAL. {_brackets(shown)}",
        header=(
            "Class" if has_many else "Operating point",
            "Metric",
            *map(name_split, content.summaries),
        ),
        rows=tuple(_print_rows(shown, content, by="owner" if has_many else "rule")),
        fields=("split", "class", "operating_point", *_FIGURE_HEADER),
        records=tuple(
            (split, m.owner, m.rule, *_record(m, split)) for m in measures for split in m.estimates
        ),
        notes=tuple(_describe_resampling(content)),
    )


def _export_data(content: RunContent) -> Export:
    splits = {
        split: [r for r in content.split if split in ("all", r["split"])]
        for split in (*content.splits, "all")
    }
    counts = {split: count_labels(content, records) for split, records in splits.items()}
    groups = {split: len({r["group"] for r in records}) for split, records in splits.items()}
    rows = [
        ("Images", *(format_count(len(records)) for records in splits.values())),
        ("Groups", *(format_count(number) for number in groups.values())),
    ]
    rows += [
        (name, *(_share(parts[k], wholes[k]) for parts, wholes in counts.values()))
        for k, name in enumerate(content.class_names)
    ]
    return Export(
        name="data",
        caption="Images, groups and classes of each split.",
        header=("", *map(name_split, content.splits), "All"),
        rows=tuple(rows) if content.split else (),
        fields=("split", "images", "groups", *(f"images_{n}" for n in content.class_names)),
        records=tuple(
            (split, len(records), groups[split], *counts[split][0])
            for split, records in splits.items()
        ),
        notes=(
            "A group is a patient where known, else a file; each group is in one split. "
            "Classes: images and their share"
            + (" of those where the finding is known." if content.has_findings else "."),
        ),
    )


def _export_methods(content: RunContent) -> Export:
    facts = list_methods(content)
    parts = [part for part, *_ in facts]
    return Export(
        name="training",
        caption="Model, training and software.",
        header=("", "Setting", "Value"),
        rows=tuple(
            ("" if i and parts[i - 1] == part else part, name, _cut_hash(value))
            for i, (part, name, value) in enumerate(facts)
        ),
        fields=("part", "setting", "value"),
        records=tuple(facts),
        wraps_last=True,
    )


def _print_rows(
    measures: Sequence[Measure], content: RunContent, *, by: Literal["owner", "rule"]
) -> Iterator[tuple[str, ...]]:
    """Yield a row for each metric; its class or operating point is named where it changes."""
    before = None
    for measure in measures:
        lead = measure.owner if by == "owner" else measure.rule
        texts = (measure.print_short(split) for split in content.summaries)
        yield ("" if lead == before else lead, measure.name, *texts)
        before = lead


def _record(measure: Measure, split: str) -> tuple[object, ...]:
    estimate = measure.estimates[split]
    low, high = estimate.bounds or (None, None)
    method = estimate.interval.method if estimate.interval and estimate.bounds else ""
    part, whole = measure.counts.get(split, (None, None))
    printed = measure.print_long(split)
    return (measure.key, estimate.value, low, high, method, part, whole, printed)


def _describe_resampling(content: RunContent) -> Iterator[str]:
    number = count_resamples(content)
    if number is None:
        return
    how, more = "", ""
    if list_rules(content):
        how = ", thresholds re-selected in each"
        more = (
            " VAL metrics at a threshold chosen on VAL are too optimistic and have no interval; "
            "see TEST."
        )
    yield (
        f"Intervals: percentiles of {format_count(number)} resamples of whole groups "
        f"within each class{how}; where these do not vary, "
        f"Clopper and Pearson's, with groups as trials.{more}"
    )


def _brackets(measures: Sequence[Measure]) -> str:
    estimates = [found for measure in measures for found in measure.estimates.values()]
    parts = ["counts"] * any(measure.counts for measure in measures)
    parts += ["95% confidence interval"] * any(found.bounds for found in estimates)
    return f"In brackets: {', '.join(parts)}." if parts else ""


def _cut_hash(text: str) -> str:
    return f"{text[:12]}…" if re.fullmatch(r"[0-9a-f]{40,}", text) else text


def _unit(suffix: str) -> str:
    return ", per patient" if suffix else ""


def _share(part: int, whole: int) -> str:
    share = format_proportion(Estimate(value=part / whole if whole else None))
    return f"{format_count(part)} ({share})"
