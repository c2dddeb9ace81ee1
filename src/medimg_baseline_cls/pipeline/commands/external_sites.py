"""The external command for several data sets: each is scored as if alone, then they are compared.

The joint result is the folder `sites` next to those of the data sets, and covers exactly the ones
that were given.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

from torch import nn

from medimg_baseline_cls.errors import MedimgError
from medimg_baseline_cls.evaluation.inverted import INVERTED
from medimg_baseline_cls.pipeline.commands.external import Reading, external
from medimg_baseline_cls.pipeline.commands.report import report_joint
from medimg_baseline_cls.pipeline.steps.external_data import SITES
from medimg_baseline_cls.pipeline.steps.external_sites import (
    FILE,
    compare_sites,
    name_sets,
    open_joint,
)
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.plots.forest import draw_forest
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import write_json
from medimg_baseline_cls.utils.locks import hold_folder
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.runs import find_run
from medimg_baseline_cls.utils.seals import seal_results


@ending_plainly(is_resumable=False)
def external_sites(
    run: Path | str,
    data: Sequence[Path | str],
    *,
    output_dir: Path = Path("outputs"),
    model: nn.Module | None = None,
    **how: Unpack[Reading],
) -> RunResult:
    """Score a finished run on several labeled data sets with `external`, and compare them.

    Args:
        run: an evaluated run folder, or "latest".
        data: folders of class folders, or tables of images; each is named as its folder or file.
        output_dir: where `latest` is looked up; results go there if the run is read-only.
        model: a network of the class that the run was trained with, if that was passed.
        **how: maps, table and panels, see `Reading`, for all of them; a label that is mapped need
            not be in each.

    Returns:
        The folder of the comparison, and the content of sites.json; `status` is 3 where the
        classes seem to be inverted in one of them.

    Raises:
        ConfigError: two data sets have the same name, or a mapping is not possible.
        DataError: a data set, a label or a file is not as it must be; the message names the data
            sets whose results were written.
        RunError: the run was not evaluated, or what decides was changed since.
    """
    sets, run_dir = name_sets([Path(place) for place in data]), find_run(run, output_dir)
    how["has_shared_maps"] = True
    results: dict[str, RunResult] = {}
    for name, place in sets.items():
        kept = f"the results on {', '.join(results)} are kept, and nothing was compared."
        with naming(place, kept=kept if results else ""):
            results[name] = external(run_dir, place, output_dir=output_dir, model=model, **how)
    folders = {name: result.run_dir for name, result in results.items()}
    first = next(iter(folders))
    place = open_joint(folders[first], name=first)
    log = open_log(place / "log.txt")
    with hold_folder(place, command="medimg external", log=log):
        summary = compare_sites(run_dir, folders)
        content = summary.to_json()
        write_json(place / FILE, content)
        seal_results(place, (FILE,))
        draw_forest(summary, place / "forest.png")
    for warning in summary.warnings:
        log.warn(warning)
    log.info(f"{len(sets)} sites: {place / FILE}")
    report_joint(place, SITES)
    is_inverted = any(result.status == INVERTED for result in results.values())
    return RunResult(place, content, status=INVERTED if is_inverted else 0)


@contextmanager
def naming(what: object, *, kept: str) -> Generator[None, None, None]:
    """Say in a refusal which data set, or run, it is about, and what was written before."""
    try:
        yield
    except MedimgError as error:
        first, *more = error.args
        text = f"{what}: {first}"
        if kept and text.endswith(":"):  # a list follows
            more.append(kept[0].upper() + kept[1:])
        elif kept:
            text = f"{text.rstrip('.')}; {kept}"
        error.args = (text, *more)
        raise
