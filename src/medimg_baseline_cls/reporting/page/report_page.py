"""One self-contained page, report.html, from a run folder alone.

The page needs no network; its one script sorts the mistakes, and the page is whole without it.
Absolute paths are cut down to their last name. The same run folder gives the same bytes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medimg_baseline_cls.reporting.anonymous import hide_content
from medimg_baseline_cls.reporting.content import KINDS, RunContent, read_run, show_content
from medimg_baseline_cls.reporting.documents import write_documents
from medimg_baseline_cls.reporting.documents.model_card import list_limits
from medimg_baseline_cls.reporting.documents.sentences import describe_performance
from medimg_baseline_cls.reporting.outdated import PAGE, unmark_tables
from medimg_baseline_cls.reporting.page.calibration import tabulate_probabilities
from medimg_baseline_cls.reporting.page.data_flow import draw_flow
from medimg_baseline_cls.reporting.page.error_review import describe_cases
from medimg_baseline_cls.reporting.page.evaluation_log import tabulate_hashes, tabulate_test_log
from medimg_baseline_cls.reporting.page.external import describe_external, tabulate_external
from medimg_baseline_cls.reporting.page.gallery import offer_filter
from medimg_baseline_cls.reporting.page.headline import summarize_run
from medimg_baseline_cls.reporting.page.performance import (
    shown_classes,
    tabulate_confusion,
    tabulate_controls,
    tabulate_metrics,
    tabulate_micro_points,
    tabulate_overall,
    tabulate_points,
)
from medimg_baseline_cls.reporting.page.pictures import Figure, list_errors, list_figures
from medimg_baseline_cls.reporting.page.subgroups import tabulate_subgroups
from medimg_baseline_cls.reporting.page.tables import (
    Table,
    arrange_tables,
    tabulate_gain,
    tabulate_inferences,
    tabulate_rejected,
    tabulate_split,
    tabulate_stages,
)
from medimg_baseline_cls.reporting.page.template import render_page
from medimg_baseline_cls.reporting.page.updating import describe_updating, tabulate_updating
from medimg_baseline_cls.reporting.text.format import group_settings
from medimg_baseline_cls.reporting.text.names import KIND_NAMES, PATIENT_RULES
from medimg_baseline_cls.utils.files import write_text_atomic
from medimg_baseline_cls.utils.pseudonyms import Pseudonyms


def write_report(
    run_dir: Path, *, pseudonyms: Pseudonyms | None = None, gaps: Mapping[str, str] | None = None
) -> Path:
    """Write report.html, tables/, model_card.md and checklist.md, from what the run has so far.

    Stages that have not run yet are left out, and named at the top of the page.

    Args:
        run_dir: the run folder.
        pseudonyms: shown instead of file names and patients; None shows these.
        gaps: names of files that are not read, missing or faulty ones, each with a warning.

    Returns:
        The path of report.html.

    Raises:
        RunError: config.json is missing, or a file of the run is garbled.
    """
    content, path = read_run(run_dir, gaps=gaps or {}), run_dir / PAGE
    if pseudonyms is not None:
        content = hide_content(content, pseudonyms)
    content = show_content(content)
    write_documents(content, run_dir)
    unmark_tables(run_dir)
    write_text_atomic(path, render_report(content))
    return path


def render_report(content: RunContent) -> str:
    """Return the page of a run as text."""
    sections = _sections(content)
    script = "gallery.js" if sections["galleries"] else None
    return render_page("report.html.j2", script=script, **sections)


def _sections(content: RunContent) -> dict[str, Any]:
    figures = list_figures(content.figures)
    galleries = [list_errors(content, kind) for kind in KINDS] if _is_mined(content) else []
    answer = summarize_run(content, galleries)
    return {
        "run_name": content.name,
        "answer": answer,
        "external": describe_external(content),
        "tested_on": str(content.external.get("name", "")),
        "external_tables": tabulate_external(content),
        **_measure(content),
        "roc_anchor": next(_find_anchors(figures["evaluation"], answer.roc), ""),
        "evaluation_figures": figures["evaluation"],
        "sentences": describe_performance(content),
        "patient_rule": PATIENT_RULES.get(str(content.config.get("aggregate")), ""),
        "galleries": galleries,
        "maps": content.maps,
        "cases": describe_cases(content, galleries),
        "gallery_filter": offer_filter(galleries),
        "kind_names": KIND_NAMES,
        "probability_figures": figures["probabilities"],
        "subgroup_figures": figures["subgroups"],
        "has_split": bool(content.split) and not content.is_judged,
        "is_judged": content.is_judged,
        "has_thresholds": bool(content.thresholds),
        "has_rejected": bool(content.rejected),
        "flow": draw_flow(content),
        "data_tables": _present(
            tabulate_split(content),
            tabulate_inferences(content.listed_inferences),
            tabulate_rejected(content),
        ),
        "data_figures": figures["data"],
        "training_tables": _present(tabulate_stages(content), tabulate_gain(content)),
        "training_figures": figures["training"],
        "limits": list_limits(content),
        "settings": group_settings(content.settings),
        "environment": group_settings({**content.environment, **_list_hashes(content)}),
        "hash_tables": _present(tabulate_hashes(content)),
        "log_tables": _present(tabulate_test_log(content)),
    }


def _measure(content: RunContent) -> dict[str, Any]:
    """Return the tables of performance, probabilities and subgroups, and the notes of each."""
    by_patient = replace(content, summaries=content.patient_summaries)
    (images, matrices, patients), notes = arrange_tables(
        [*_tabulate_performance(content), *_present(tabulate_controls(content))],
        _present(*(tabulate_confusion(content, split) for split in content.summaries)),
        _tabulate_performance(by_patient),
    )
    (probabilities,), probability_notes = arrange_tables(tabulate_probabilities(content))
    (subgroups,), subgroup_notes = arrange_tables(tabulate_subgroups(content))
    (updates,), updating_notes = arrange_tables(tabulate_updating(content))
    return {
        "performance_tables": images,
        "matrix_tables": matrices,
        "patient_tables": patients,
        "performance_notes": notes,
        "probability_tables": probabilities,
        "probability_notes": probability_notes,
        "subgroup_tables": subgroups,
        "subgroup_notes": subgroup_notes,
        "updating": describe_updating(content),
        "updating_tables": updates,
        "updating_notes": updating_notes,
    }


def _tabulate_performance(content: RunContent) -> list[Table]:
    points = [tabulate_points(content, name) for name in shown_classes(content)]
    return _present(
        tabulate_metrics(content),
        tabulate_overall(content),
        tabulate_micro_points(content),
        *points,
    )


def _find_anchors(figures: Iterable[Figure], wanted: Figure | None) -> Iterator[str]:
    """Yield where on the page a picture is, as the template names it."""
    for number, figure in enumerate(figures, start=1):
        if figure == wanted:
            yield f"figure-evaluation-{number}"


def _list_hashes(content: RunContent) -> dict[str, Any]:
    """Return the sha256 of the evaluated checkpoint, where it is known."""
    digest = content.checkpoint.get("sha256")
    return {"sha256": {"checkpoint": digest}} if digest else {}


def _is_mined(content: RunContent) -> bool:
    return bool(content.mistakes) or any(content.panels.values())


def _present(*tables: Table | None) -> list[Table]:
    return [table for table in tables if table is not None]
