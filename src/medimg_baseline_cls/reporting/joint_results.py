"""The files of a result of several runs, read into plain values: folds, seeds, or models compared.

Nothing but its folder and the folders of its runs is opened. A run that is no longer there has no
values of its own; the summary of all runs is whole without it.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from medimg_baseline_cls.records.comparisons import Comparison
from medimg_baseline_cls.records.estimates import Json
from medimg_baseline_cls.records.sites import SitesSummary
from medimg_baseline_cls.records.spreads import SpreadSummary
from medimg_baseline_cls.records.summaries import SplitSummary, read_summary
from medimg_baseline_cls.reporting.anonymous import hide_content
from medimg_baseline_cls.reporting.content import read_run, show_content
from medimg_baseline_cls.utils.files import read_json, sha256_file
from medimg_baseline_cls.utils.pseudonyms import Pseudonyms
from medimg_baseline_cls.utils.seals import require_sealed
from medimg_baseline_cls.utils.visible import show_all

SUMMARY_FILES = {
    "cv": "cv_summary.json",
    "seeds": "seeds_summary.json",
    "compare": "comparison.json",
    "sites": "sites.json",
    "sweep": "sweep_summary.json",
}
_ENSEMBLE = "ensemble"

PseudonymFinder = Callable[[Json], Pseudonyms | None]


def use_names(_: Json) -> None:
    """Return no pseudonyms, whatever the settings of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRun:
    """One of the runs.

    Attributes:
        title: its name on the page.
        link: to its report, from the folder of the joint result; "" where that is not known.
        summary: of TEST; None where the folder of the run is gone, or has newer results.
        settings, environment: of the run; empty likewise.
        warnings: of its evaluation.
        is_newer: it was scored again since, so that its values are not those of the joint result.
    """

    title: str
    link: str = ""
    summary: SplitSummary | None = None
    settings: Json
    environment: Json
    warnings: tuple[str, ...] = ()
    is_newer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepContent:
    """A cross-validation ("cv") or a sweep of seeds ("seeds").

    Attributes:
        kind: which of them.
        name: of the folder.
        summary: over its runs; `patients` is the same per patient.
        settings: of all runs.
        facts: the other entries of the summary file.
        runs: in their order.
        ensemble: TEST summary of the mean of the networks; None where there is none.
        figures: of the ensemble, by file name.
    """

    kind: str
    name: str
    summary: SpreadSummary
    patients: SpreadSummary | None
    settings: Json
    facts: Json
    runs: tuple[MemberRun, ...]
    ensemble: SplitSummary | None
    figures: Mapping[str, Path]

    @property
    def external(self) -> Json:
        """Return what the runs were scored on if that is not their own TEST; else nothing."""
        return self.facts.get("external", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonContent:
    """A comparison, its runs in the order of its models, and its picture."""

    name: str
    comparison: Comparison
    runs: tuple[MemberRun, ...]
    figures: Mapping[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class SitesContent:
    """Sites that are compared, the addresses of their pages by name, and the forest plot.

    `run_link` is that of the run, "" where it is elsewhere; `warnings` are of files that are not
    there, or that were written again.
    """

    summary: SitesSummary
    links: Mapping[str, str]
    run_link: str
    warnings: tuple[str, ...]
    figures: Mapping[str, Path]


def read_sites(folder: Path) -> SitesContent:
    """Read what `medimg external` wrote for several data sets.

    Raises:
        RunError: it was edited since.
    """
    require_sealed(folder)
    summary = SitesSummary.from_json(show_all(read_json(folder / SUMMARY_FILES["sites"])))
    lead = folder.resolve().name.removesuffix("sites")  # "", or the run's name and "-"
    places = {site.name: folder.resolve().with_name(lead + site.name) for site in summary.external}
    run = folder.resolve().parents[1]
    warnings: list[str] = []
    for site in summary.external:
        path = places[site.name] / "predictions_test.csv"
        if not path.is_file():
            warnings.append(f"{site.name}: the folder with its results is not there.")
        elif sha256_file(path) != site.predictions_sha256:
            warnings.append(
                f"{site.name} was scored again since: this page shows its earlier results."
            )
    return SitesContent(
        summary=summary,
        links={name: _link(place, folder) for name, place in places.items()},
        run_link="" if lead or not (run / "test_summary.json").is_file() else _link(run, folder),
        warnings=tuple(warnings),
        figures=_list_pictures(folder),
    )


def read_sweep(
    folder: Path, kind: str, *, find_pseudonyms: PseudonymFinder = use_names
) -> SweepContent:
    """Read a finished sweep.

    Args:
        folder: of the sweep.
        kind: "cv" or "seeds".
        find_pseudonyms: returns what is shown instead of the file names in a run's warnings, from
            its settings; None for these names.

    Raises:
        RunError: results on other data were edited since.
    """
    require_sealed(folder)
    content = show_all(read_json(folder / SUMMARY_FILES[kind]))
    plan = read_json(folder / f"{kind}.json")
    digests = plan.get("external", {}).get("predictions_sha256", [])
    runs = tuple(
        _read_member(
            _name_entry(entry, num_repeats=int(content.get("repeats") or 1)),
            [*list_beside(folder, entry["run"]), Path(entry["run"])],
            home=folder,
            find_pseudonyms=find_pseudonyms,
            digest=digest,
        )
        for entry, digest in zip_longest(plan["runs"], digests)
    )
    patients, ensemble = content.get("patients"), folder / _ENSEMBLE
    return SweepContent(
        kind=kind,
        name=folder.resolve().name,
        summary=SpreadSummary.from_json(content),
        patients=None if patients is None else SpreadSummary.from_json(patients),
        settings=show_all(plan["settings"]),
        facts=content,
        runs=runs,
        ensemble=_read_test_summary(ensemble) if ensemble.is_dir() else None,
        figures=_list_pictures(ensemble / "figures"),
    )


def read_comparison(
    folder: Path, *, find_pseudonyms: PseudonymFinder = use_names
) -> ComparisonContent:
    """Read what `medimg compare` wrote.

    Args:
        folder: of the comparison.
        find_pseudonyms: returns what is shown instead of the file names in a run's warnings, from
            its settings; None for these names.
    """
    content = read_json(folder / SUMMARY_FILES["compare"])
    runs = tuple(
        _read_member(
            str(show_all(name)),
            [Path(run), *list_beside(folder, run)],
            home=folder,
            find_pseudonyms=find_pseudonyms,
        )
        for name, run in content["runs"].items()
    )
    return ComparisonContent(
        name=folder.resolve().name,
        comparison=Comparison.from_json(show_all(content)),
        runs=runs,
        figures=_list_pictures(folder),
    )


def list_missing(runs: Sequence[MemberRun]) -> list[str]:
    """Return warnings that name the runs whose folders are gone, or have newer results."""
    gone = [run.title for run in runs if run.summary is None and not run.is_newer]
    what = "its run folder is" if len(gone) == 1 else "their run folders are"
    warnings = [f"{', '.join(gone)}: {what} not there."] if gone else []
    if newer := ", ".join(run.title for run in runs if run.is_newer):
        warnings.append(
            f"{newer}: scored again since, so the values are not shown here, and those of all runs "
            "together are of the earlier results: run `medimg external` for all of them again."
        )
    return warnings


def list_warnings(runs: Sequence[MemberRun]) -> Iterator[str]:
    """Yield each warning of an evaluation once, with the runs that have it."""
    titles: dict[str, list[str]] = {}
    for run in runs:
        for text in run.warnings:
            titles.setdefault(text, []).append(run.title)
    for text, found in titles.items():
        yield f"{'All runs' if len(found) == len(runs) else ', '.join(found)}: {text}"


def _read_member(
    title: str,
    places: Sequence[Path],
    *,
    home: Path,
    find_pseudonyms: PseudonymFinder,
    digest: str | None = None,
) -> MemberRun:
    """Return a run from the first place where it is; an ensemble has the settings of its sweep.

    Its values are left out where its predictions do not have the sha256 `digest`, if that is known.
    """
    found = (p for p in places if (p / "test_summary.json").is_file())
    run = next(found, None)
    if run is None:
        return MemberRun(title=title, settings={}, environment={})
    path = run / "predictions_test.csv"
    if digest is not None and path.is_file() and sha256_file(path) != digest:
        return MemberRun(
            title=title, link=_link(run, home), settings={}, environment={}, is_newer=True
        )
    require_sealed(run)
    summary = _read_test_summary(run)
    if run.name == _ENSEMBLE:
        plan = read_json(run.parent / "seeds.json")
        seeds = {"seed": [entry["seed"] for entry in plan["runs"]]}
        link, settings = _link(run.parent, home), show_all(plan["settings"] | seeds)
        return MemberRun(title=title, link=link, summary=summary, settings=settings, environment={})
    content = read_run(run)
    pseudonyms = find_pseudonyms(content.config)
    if pseudonyms is not None:
        content = hide_content(content, pseudonyms)
    content = show_content(content)
    return MemberRun(
        title=title,
        link=_link(run, home),
        summary=summary,
        settings=content.settings,
        environment=content.environment,
        warnings=() if content.evaluation is None else content.evaluation.warnings,
    )


def _read_test_summary(run: Path) -> SplitSummary:
    return show_all(read_summary(run / "test_summary.json"))


def _link(run: Path, home: Path) -> str:
    """Return where the report of a run is, unless that would name folders above the results."""
    if not (run / "report.html").is_file():
        return ""
    if not run.resolve().is_relative_to(_find_root(home)):
        return ""
    path = Path(os.path.relpath(run.resolve(), home.resolve()))
    return (path / "report.html").as_posix()


def list_beside(folder: Path, run: str) -> list[Path]:
    """Return where a run of a joint result may be if all results were moved together.

    It is runs/RUN, external/RUN-NAME, seeds/SWEEP/ensemble, runs/RUN/external/NAME, or
    seeds/SWEEP/external/NAME/ensemble.
    """
    root, parts = _find_root(folder), Path(run).relative_to(Path(run).anchor).parts
    return [root.joinpath(*parts[-n:]) for n in (5, 4, 3, 2)]


def _find_root(folder: Path) -> Path:
    """Return the folder of all results: that of seeds/SWEEP, or of seeds/SWEEP/external/NAME."""
    home = folder.resolve()
    is_inside = home.parent.name == "external" and any(
        (home.parents[1] / f"{kind}.json").is_file() for kind in ("cv", "seeds")
    )
    return home.parents[3 if is_inside else 1]


def _name_entry(entry: Json, *, num_repeats: int) -> str:
    if "seed" in entry:
        return f"Seed {entry['seed']}"
    if entry.get("site") is not None:
        return str(show_all(entry["site"]))
    fold = f"Fold {entry['fold']}"
    return f"Repeat {entry['repeat']}, {fold.lower()}" if num_repeats > 1 else fold


def _list_pictures(folder: Path) -> dict[str, Any]:
    return {path.name: path for path in sorted(folder.glob("*.png"))}
