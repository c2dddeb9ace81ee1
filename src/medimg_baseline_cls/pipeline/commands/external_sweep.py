"""The external command for a finished sweep of seeds or cross-validation: its runs are scored.

The joint result is a folder like that of the sweep, in its external/NAME, and names the folders of
the scored runs. The ensemble of seeds decides at its own thresholds, as they were chosen on VAL.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.inverted import INVERTED
from medimg_baseline_cls.pipeline.commands import cross_validate, run_seeds
from medimg_baseline_cls.pipeline.commands.compare import ENSEMBLE
from medimg_baseline_cls.pipeline.commands.external import Reading, external
from medimg_baseline_cls.pipeline.commands.external_sites import naming
from medimg_baseline_cls.pipeline.commands.report import find_joint
from medimg_baseline_cls.pipeline.steps.earlier_results import keeping_earlier, set_aside
from medimg_baseline_cls.pipeline.steps.external_data import name_data, require_name
from medimg_baseline_cls.pipeline.steps.locked_run import open_place
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.pipeline.sweep import SweepPlan
from medimg_baseline_cls.reporting.joint_results import list_beside
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import read_json, sha256_file
from medimg_baseline_cls.utils.locks import hold_folder
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.parsing import parsing
from medimg_baseline_cls.utils.runs import find_run

SWEEPS = (run_seeds.KIND.subfolder, cross_validate.KIND.subfolder)


@ending_plainly(is_resumable=False)
def external_sweep(
    sweep: Path | str,
    data: Path | str,
    *,
    name: str | None = None,
    output_dir: Path = Path("outputs"),
    model: nn.Module | None = None,
    **how: Unpack[Reading],
) -> RunResult:
    """Score each run of a sweep of seeds, or of a cross-validation, on another labeled data set.

    Args:
        sweep: the folder of a finished one.
        data, name, output_dir, model: as in `external`, for each run.
        **how: maps, table and panels, see `Reading`, for each run.

    Returns:
        The folder of the joint results and the content of its summary; `status` is 3 where the
        classes seem to be inverted for one of the runs or for the ensemble.

    Raises:
        ConfigError: a mapping or a name is not possible.
        DataError: the data set, a label or a file is not as it must be.
        RunError: the sweep is not finished, or what decides was changed since; the message names
            the runs whose results were written.
    """
    found = find_joint(sweep, output_dir, kinds=SWEEPS)
    if found is None:
        raise RunError(f"{find_run(sweep, output_dir)} is a single run: `external` scores it.")
    folder, is_of_seeds = found[0], found[1] == run_seeds.KIND.subfolder
    read = run_seeds.read_seeds if is_of_seeds else cross_validate.read_folds
    plan: SweepPlan[Any] = read(folder)
    runs = _find_members(folder, [entry.run for entry in plan.entries])
    if is_of_seeds:
        _require_locked(folder, runs)
    place_name = require_name(name_data(Path(data)) if name is None else name)
    with open_place(folder, place_name, output_dir=output_dir) as place:
        results: list[RunResult] = []
        for entry, run in zip(plan.entries, runs, strict=True):
            done = ", ".join(e.title for e in plan.entries[: len(results)])
            kept = f"the results of {done} are kept, and nothing was summarized."
            with naming(entry.title, kept=kept if done else ""):
                scored = external(
                    run, data, name=place_name, output_dir=output_dir, model=model, **how
                )
            results.append(scored)
        log = open_log(place / "log.txt")
        with (
            hold_folder(place.parent, command="medimg external", log=log),
            keeping_earlier(place),
        ):
            set_aside(place, result=plan.kind.summary_file)
            joint = _name_scored(plan, place, results=results)
            joint.write()
            joined = run_seeds.summarize_models(
                joint, [result.run_dir for result in results], log=log, locked=folder
            )
    is_inverted = INVERTED in (joined.status, *(result.status for result in results))
    return replace(joined, status=INVERTED if is_inverted else 0)


def _find_members(folder: Path, runs: Sequence[str]) -> list[Path]:
    """Return the folders of the runs: all next to the sweep, else all where they were made.

    Where a sweep was copied, its runs are never taken from both places.

    Raises:
        RunError: one is gone.
    """

    def find(places: Sequence[Path]) -> Path | None:
        return next((place for place in places if (place / "config.json").is_file()), None)

    found = {run: find(list_beside(folder, run)) for run in runs}
    is_elsewhere = not any(found.values())
    if is_elsewhere:
        found = {run: find([Path(run)]) for run in runs}
    gone = next((run for run in runs if found[run] is None), None)
    if gone is not None:
        raise RunError(f"{gone}, a run of {folder}, is not there: restore it; nothing was scored.")
    if is_elsewhere:
        home = Path(runs[0]).parent
        open_log(None).warn(f"the runs of {folder} are in {home}: their results are written there")
    return [place for place in found.values() if place is not None]


def _require_locked(folder: Path, runs: Sequence[Path]) -> None:
    """Refuse an ensemble whose networks or thresholds are not those that TEST was scored with.

    Raises:
        RunError: with the command that makes it again.
    """
    home = folder / ENSEMBLE
    refusal = RunError(
        f"{home} is not what TEST was scored with: restore its files and best.pt of the runs, or "
        f"run `{run_seeds.KIND.resume} {folder}` first; nothing was scored."
    )
    with parsing(lambda _: refusal):
        points, test = (read_json(home / f"{name}.json") for name in ("thresholds", "test_summary"))
        is_same = (points["predictions_val_sha256"], points["checkpoint_sha256"]) == (
            sha256_file(home / "predictions_val.csv"),
            run_seeds.digest_checkpoints(runs),
        )
        for name, rules in points["classes"].items():
            measured = test["classes"][name]["operating_points"]
            is_same &= all(measured[r]["threshold"] == rules[r]["threshold"] for r in rules)
    if not is_same:
        raise refusal


def _name_scored(
    plan: SweepPlan[Any], place: Path, *, results: Sequence[RunResult]
) -> SweepPlan[Any]:
    """Return the plan that names the folders of the results instead of the runs."""
    entries = tuple(
        replace(entry, run=result.run_dir.as_posix())
        for entry, result in zip(plan.entries, results, strict=True)
    )
    first = results[0].summary
    about = {key: first[key] for key in ("name", "num_images", "num_patients")}
    about["sweep"] = plan.folder.resolve().name
    about["predictions_sha256"] = [
        sha256_file(result.run_dir / "predictions_test.csv") for result in results
    ]
    return replace(plan, folder=place, entries=entries, facts={**plan.facts, "external": about})
