"""model_card.md: what the model is, what it saw, how well it does, and its limits.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. Everything is read from
the run folder; what only the authors know (who annotated, ethics) goes into checklist.md.
"""

from collections.abc import Iterator, Mapping

from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.documents.methods import list_methods
from medimg_baseline_cls.reporting.documents.sentences import describe_data, describe_performance
from medimg_baseline_cls.reporting.documents.table_files import list_exports
from medimg_baseline_cls.reporting.page.headline import summarize_run
from medimg_baseline_cls.reporting.page.performance import tabulate_controls
from medimg_baseline_cls.reporting.page.tables import Table, tabulate_inferences, tabulate_rejected
from medimg_baseline_cls.reporting.text.markdown import (
    escape_markdown,
    format_markdown_list,
    format_markdown_table,
)
from medimg_baseline_cls.reporting.text.measures import Measure, list_metrics, list_points
from medimg_baseline_cls.reporting.text.names import name_split

_OF_MAPS = (
    "A heat map shows attribution: neither localization nor cause. A map over a lesion does not "
    "prove that the network used the lesion; a map elsewhere does not prove a shortcut."
)
_OF_THRESHOLDS = (
    "A threshold chosen on VAL may not suit data from elsewhere: compare its VAL and TEST rows."
)
_OF_PREDICTIONS = (
    "Only predictions were judged: what the model is, what it was trained on, and whether TEST was "
    "used for that, is not known here."
)
LIMITS = (
    "Research use only. This is not a medical device, and no result here supports a decision "
    "about a patient.",
    _OF_MAPS,
    "The metrics apply to the population, devices and prevalence of this TEST set. PPV, NPV, F1 "
    "and average precision change with prevalence.",
    _OF_THRESHOLDS,
    "This is a single training run: another seed gives other results.",
)
_USES = (
    "For: research on data like those named above; a baseline for comparison with other models.",
    "Not for: diagnosis, triage or any other decision about a patient; images of another kind, "
    "body part or population than those of TRAIN; classes other than those listed.",
    "Users: researchers who can judge the metrics and the limits below.",
)
_ENVIRONMENT = ("Software", "Hardware")
_POINT_KEYS = ("threshold", "sensitivity", "specificity", "ppv", "npv")


def list_limits(content: RunContent) -> tuple[str, ...]:
    """Return the limits of a run; of judged predictions those that apply to any model."""
    if not content.is_judged:
        return LIMITS
    never = {_OF_MAPS, *(() if "val" in content.splits else (_OF_THRESHOLDS,))}
    return (_OF_PREDICTIONS, *(limit for limit in LIMITS if limit not in never))


def format_model_card(content: RunContent, hashes: Mapping[str, str]) -> str:
    """Return the model card of a run as Markdown.

    Args:
        content: the run; stages that have not run yet are left out.
        hashes: file name to sha256, of the files that the metrics depend on.
    """
    answer = summarize_run(content)
    facts = list_methods(content)
    model = [fact for fact in facts if fact[0] not in _ENVIRONMENT]
    software = [fact[1:] for fact in facts if fact[0] in _ENVIRONMENT]
    lines = [
        f"# Model card: {escape_markdown(answer.project)}",
        "",
        escape_markdown(answer.lede),
        "",
        f"Run {escape_markdown(content.name)}. Research use only.",
        *_section("Intended use", format_markdown_list(() if content.is_judged else _USES)),
        *_section("Data", _describe_data(content)),
        *_section("Model and training", format_markdown_table(("Part", "Setting", "Value"), model)),
        *_section("Performance", _describe_performance(content)),
        *_section("Operating points", _tabulate(_chosen_points(content), content)),
        *_section("Controls", _print_table(tabulate_controls(content))),
        *_section("Limitations", format_markdown_list((*answer.warnings, *list_limits(content)))),
        *_section("Environment", format_markdown_table(("Name", "Version"), software)),
        *_section(
            "Hashes (SHA-256)", format_markdown_table(("File", "SHA-256"), [*hashes.items()])
        ),
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, body: Iterator[str]) -> list[str]:
    lines = list(body)
    has_content = any(not line.startswith("|") for line in lines) or len(lines) > 2
    return ["", f"## {title}", "", *lines] if has_content else []


def _describe_data(content: RunContent) -> Iterator[str]:
    text = describe_data(content)
    if text:
        yield escape_markdown(text)
        yield ""
    for export in list_exports(content):
        if export.name == "data":
            yield from format_markdown_table(export.header, export.rows)
    for table in (tabulate_inferences(content.listed_inferences), tabulate_rejected(content)):
        if table is not None:
            yield ""
            yield from _print_table(table)


def _describe_performance(content: RunContent) -> Iterator[str]:
    sentences = describe_performance(content)
    if not sentences:
        return
    yield from format_markdown_list(sentences)
    yield ""
    yield from _tabulate(list_metrics(content), content)
    yield ""
    yield "More: tables/, figures/ and report.html."


def _chosen_points(content: RunContent) -> list[Measure]:
    return [m for m in list_points(content) if m.key in _POINT_KEYS]


def _tabulate(measures: list[Measure], content: RunContent) -> Iterator[str]:
    has_rule = any(measure.rule for measure in measures)
    header = ["Class", *["Operating point"] * has_rule, "Metric"]
    rows = [
        (
            measure.owner,
            *[measure.rule] * has_rule,
            measure.name,
            *(measure.print_short(split) for split in content.summaries),
        )
        for measure in measures
    ]
    yield from format_markdown_table((*header, *map(name_split, content.summaries)), rows)


def _print_table(table: Table | None) -> Iterator[str]:
    if table is None:
        return
    rows = [[cell.replace("\n", " ") for cell in row.cells] for row in table.rows]
    yield from format_markdown_table(table.header, rows)
    yield ""
    yield from format_markdown_list(table.notes)
