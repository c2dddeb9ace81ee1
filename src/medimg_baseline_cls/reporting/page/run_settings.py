"""In what the runs of a joint result differ: settings and environments, as tables."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from medimg_baseline_cls.records.estimates import Json
from medimg_baseline_cls.reporting.joint_results import MemberRun
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import UNDEFINED, group_settings

_OF_ONE_START = ("created", "command")


def tabulate_differences(
    runs: Sequence[MemberRun], *, without: Collection[str] = ("project",)
) -> list[Table]:
    """Return the settings and facts of the environment that are not the same in all runs.

    Args:
        runs: of which those that are no longer there are left out.
        without: names of settings that differ by design.
    """
    settings = {run.title: run.settings for run in runs}
    environments = {run.title: run.environment for run in runs}
    tables = (
        _tabulate("Settings that differ", settings, without=without),
        _tabulate("Environments that differ", environments, without=_OF_ONE_START),
    )
    return [table for table in tables if table.rows]


def keep_common(contents: Sequence[Json]) -> dict[str, dict[str, str]]:
    """Return what is the same in all of some JSON objects, empty ones left out, in groups."""
    grouped = [group_settings(content) for content in contents if content]
    first, *others = grouped or [{}]
    common = {
        title: {n: t for n, t in group.items() if all(o.get(title, {}).get(n) == t for o in others)}
        for title, group in first.items()
    }
    return {title: group for title, group in common.items() if group}


def _tabulate(title: str, contents: Mapping[str, Json], *, without: Collection[str]) -> Table:
    known = {run: group_settings(content) for run, content in contents.items() if content}
    grouped = list(known.values())
    # An ensemble has no provenance of its own.
    shared = {group for group in ("", *chain(*grouped)) if all(group in g for g in grouped)}
    texts = [
        {
            f"{group}.{name}" if group else name: text
            for group, found in groups.items()
            for name, text in found.items()
            if group in shared and name not in without
        }
        for groups in grouped
    ]
    names = dict.fromkeys(name for found in texts for name in found)
    rows = [Row((name, *(found.get(name, UNDEFINED) for found in texts))) for name in names]
    return Table(
        title=title,
        header=("Name", *known),
        rows=tuple(row for row in rows if len(set(row.cells[1:])) > 1),
        num_text=1 + len(known),
    )
