"""One self-contained page for a result of several runs, report.html in its folder.

It is next to cv_summary.json, seeds_summary.json, comparison.json or sites.json and shows what they
contain; the reports of the runs are linked. No script, no network.
"""

from collections.abc import Callable
from pathlib import Path

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.reporting.joint_results import (
    SUMMARY_FILES,
    PseudonymFinder,
    list_missing,
    read_comparison,
    read_sites,
    read_sweep,
    use_names,
)
from medimg_baseline_cls.reporting.outdated import PAGE
from medimg_baseline_cls.reporting.page.comparison_page import describe_comparison
from medimg_baseline_cls.reporting.page.sites_page import describe_sites
from medimg_baseline_cls.reporting.page.sweep_page import describe_sweep
from medimg_baseline_cls.reporting.page.template import render_page
from medimg_baseline_cls.reporting.page.trials_page import describe_trials
from medimg_baseline_cls.reporting.text.format import hide_paths
from medimg_baseline_cls.utils.files import write_text_atomic
from medimg_baseline_cls.utils.parsing import parsing


def write_joint_page(
    folder: Path,
    kind: str,
    *,
    find_pseudonyms: PseudonymFinder = use_names,
    warn: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write report.html into the folder of a joint result and return its path.

    Args:
        folder: with its JSON files.
        kind: "cv", "seeds", "compare", "sites" or "sweep".
        find_pseudonyms: returns what is shown instead of the file names in a run's warnings, from
            its settings; None for these names.
        warn: is told which runs are gone.

    Raises:
        RunError: a file was changed.
    """
    is_sweep = kind in ("cv", "seeds", "sweep")
    files = f"{folder / SUMMARY_FILES[kind]}{f' or {kind}.json' * is_sweep}"
    with parsing(lambda _: RunError(f"{files} is not as it was written: restore it.")):
        if kind == "sites":
            sites = read_sites(folder)
            missing, values = list(sites.warnings), describe_sites(sites)
        elif kind == "sweep":
            missing, values = [], describe_trials(folder)
        elif kind == "compare":
            comparison = read_comparison(folder, find_pseudonyms=find_pseudonyms)
            missing, values = list_missing(comparison.runs), describe_comparison(comparison)
        else:
            sweep = read_sweep(folder, kind, find_pseudonyms=find_pseudonyms)
            missing, values = list_missing(sweep.runs), describe_sweep(sweep)
    for text in missing:
        warn(text)
    values["warnings"] = [hide_paths(text) for text in (*missing, *values["warnings"])]
    path = folder / PAGE
    write_text_atomic(path, render_page("joint.html.j2", **values))
    return path
