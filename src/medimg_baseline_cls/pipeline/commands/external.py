"""The external command: a finished run, locked, on another labeled data set.

Nothing is chosen or fitted on the other data: checkpoint, thresholds and recalibration are those
of the run, whose files are not changed. The results are a folder like a run's, in which TEST is the
other data set. What an update on these data would gain is in a file of its own, updating.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from torch import nn

from medimg_baseline_cls.data.label_mapping import parse_maps
from medimg_baseline_cls.evaluation.eval_summary import summarize_evaluation
from medimg_baseline_cls.evaluation.external_difference import subtract_internal
from medimg_baseline_cls.evaluation.inverted import INVERTED, find_inverted
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.evaluation.updating import describe_updating
from medimg_baseline_cls.interpret.methods import DEFAULT, METHODS
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.commands.explain import draw_mistakes
from medimg_baseline_cls.pipeline.steps.anonymous import load_pseudonyms
from medimg_baseline_cls.pipeline.steps.earlier_results import keeping_earlier
from medimg_baseline_cls.pipeline.steps.evaluation import (
    print_results,
    write_images,
    write_metrics,
)
from medimg_baseline_cls.pipeline.steps.external_copies import (
    describe_copies,
    leave_out,
    list_copies,
)
from medimg_baseline_cls.pipeline.steps.external_data import (
    TableFlags,
    keep_bins,
    name_data,
    read_other,
    require_name,
    require_same_source,
    settings_of,
)
from medimg_baseline_cls.pipeline.steps.external_results import (
    ExternalJob,
    collect_scored,
    score_other,
)
from medimg_baseline_cls.pipeline.steps.external_shift import compare_mix, describe_shift
from medimg_baseline_cls.pipeline.steps.listing import require_outside_data
from medimg_baseline_cls.pipeline.steps.locked_run import open_place, read_locked
from medimg_baseline_cls.pipeline.steps.panel_folders import open_panel_folder
from medimg_baseline_cls.pipeline.steps.patient_level import print_patients, score_patients
from medimg_baseline_cls.pipeline.steps.run_images import measure_images, measure_run
from medimg_baseline_cls.pipeline.steps.run_model import load_model
from medimg_baseline_cls.pipeline.steps.session import RunResult, Session, reopen_session
from medimg_baseline_cls.records.comparisons import nest_estimates
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.reporting.page.report_page import write_report
from medimg_baseline_cls.schema import Mistake, Predictions
from medimg_baseline_cls.statistics.intervals import LEVEL
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import write_json
from medimg_baseline_cls.utils.locks import hold_folder
from medimg_baseline_cls.utils.runs import find_run, write_status
from medimg_baseline_cls.utils.seals import seal_results

_SUMMARIES = ("val_summary.json", "test_summary.json")
_SEALED = (
    *("external.json", "updating.json", "eval_summary.json", "thresholds.json", *_SUMMARIES),
    *("calibration.json", "recalibration.json", "prevalence.json", "subgroups.json"),
    *(f"patients/{name}" for name in _SUMMARIES),
)


class Reading(TypedDict, total=False):
    """How the other data set is read.

    Attributes:
        maps: texts such as "No Finding=NORMAL".
        table: its columns, where they are not those of the run.
        panels: draw Grad-CAM panels of the worst mistakes.
        has_shared_maps: `maps` is of several data sets, so that a label need not be in this one.
    """

    maps: Sequence[str]
    table: TableFlags
    panels: bool
    has_shared_maps: bool


@ending_plainly(is_resumable=False)
def external(
    run: Path | str,
    data: Path | str,
    *,
    name: str | None = None,
    output_dir: Path = Path("outputs"),
    model: nn.Module | None = None,
    **how: Unpack[Reading],
) -> RunResult:
    """Score a finished run on another labeled data set, with everything locked.

    Args:
        run: an evaluated run folder, or "latest".
        data: a folder of class folders, or a table of images.
        name: of the data set and of the folder of the results; None takes that of `data`.
        output_dir: where `latest` is looked up; results go there if the run is read-only.
        model: a network of the class that the run was trained with, if that was passed.
        **how: maps, table, panels and has_shared_maps, see `Reading`.

    Returns:
        The folder of the results, and the content of external.json; `status` is 3 where the
        classes seem to be inverted.

    Raises:
        ConfigError: a mapping or a name is not possible.
        DataError: the data set, a label or a file is not as it must be.
        RunError: the run was not evaluated, or what decides was changed since.
    """
    maps = parse_maps(how.get("maps", ()))
    place_name = name_data(Path(data)) if name is None else name
    run_dir = find_run(run, output_dir)
    with open_place(run_dir, require_name(place_name), output_dir=output_dir) as place:
        session = reopen_session(run_dir, output_dir=output_dir, log_dir=place)
        session = replace(session, module=model)
        with (
            hold_folder(place.parent, command="medimg external", log=session.log),
            keeping_earlier(place),
        ):
            is_repeated = require_same_source(place, run_dir, data=Path(data))
            job = _prepare(session, Path(data), place=place, maps=maps, how=how)
            if is_repeated:
                session.log.info(f"the earlier results of these data in {place} are replaced")
            return _evaluate(job, has_panels=how.get("panels", True))


def _prepare(
    session: Session, data: Path, *, place: Path, maps: Mapping[str, str], how: Reading
) -> ExternalJob:
    """Read the run and the other data set; nothing is scored."""
    run, flags = read_locked(session), how.get("table", TableFlags())
    config = settings_of(session.config, data, task=run.parts[0].task, flags=flags)
    config = replace(config, cache_dir=session.cache_dir)
    target = replace(session, run_dir=place, config=config)
    require_outside_data(replace(config, output_dir=place))
    may_lack = how.get("has_shared_maps", False)
    other = read_other(target, run.provenance, maps=maps, may_lack=may_lack)
    target = replace(target, config=keep_bins(config, other.data.split))
    own, found = measure_run(session), other.data
    measured = measure_images(target, found.split, pixels=found.pixels, rows=found.cache_rows)
    copies = list_copies(measured, own, progress=session.log.progress)
    if own.reason:
        session.log.warn(f"near copies of the run's images could not be looked for: {own.reason}")
    if copies:
        session.log.warn(f"{len(copies)} images are copies of images of the run: left out")
        found, measured = leave_out(found, measured, copies=copies)
    return ExternalJob(run, target, replace(other, data=found), maps, copies, own, measured)


def _evaluate(job: ExternalJob, *, has_panels: bool) -> RunResult:
    target, place = job.target, job.target.run_dir
    model, _ = load_model(job.run.session, "best.pt")
    test = score_other(job, model)
    scored = collect_scored(job, test)
    summaries = write_metrics(target, scored)
    mistakes = write_images(target, scored, summaries=summaries)
    overview = summarize_evaluation(
        summaries["val"],
        summaries["test"],
        checkpoint=job.run.checkpoint,
        thresholds=job.run.thresholds,
        mistakes=mistakes,
    )
    of_patients: Mapping[str, SplitSummary] = {}
    if (patients := scored.decision.patients) is not None:
        of_patients, found = score_patients(target, patients, test=test)
        overview = replace(overview, patients=found)
    alarms = find_inverted(summaries["test"], test)
    overview = replace(overview, warnings=(*alarms, *overview.warnings))
    content = _describe(job, test, alarms=alarms)
    write_json(place / "external.json", content)
    resampling = Resampling(target.config.num_resamples, target.config.seed)
    updating = describe_updating(test, job.run.thresholds, resampling=resampling)
    write_json(place / "updating.json", updating.to_json())
    if named := content["shift"].get("differs_in"):
        target.log.info(f"these images differ from TEST of the run in: {', '.join(named)}")
    if has_panels:
        _draw_panels(job, model=model, mistakes=mistakes)
    write_json(place / "eval_summary.json", overview.to_json())
    seal_results(place, _SEALED)
    write_status(place, "finished")
    title = "Results (VAL of the run; TEST is the other data set)"
    print_results(target, summaries, overview=overview, title=title)
    if overview.patients is not None:
        print_patients(target, of_patients, overview=overview.patients)
    page = write_report(
        place, pseudonyms=load_pseudonyms() if target.config.anonymous_ids else None
    )
    target.log.info(f"report: {page}")
    return RunResult(place, content, status=INVERTED if alarms else 0)


def _draw_panels(job: ExternalJob, *, model: Classifier, mistakes: Sequence[Mistake]) -> None:
    draw_mistakes(
        job.target,
        job.other.data,
        model=model,
        mistakes=mistakes,
        folder=open_panel_folder(job.target.run_dir, DEFAULT, method=METHODS[DEFAULT]),
        method=DEFAULT,
        is_anonymous=job.target.config.anonymous_ids,
    )


def _describe(job: ExternalJob, test: Predictions, *, alarms: Sequence[str]) -> dict[str, Any]:
    """Return the content of external.json."""
    config, run = job.target.config, job.run
    differences = subtract_internal(
        run.parts[1],
        test,
        thresholds=run.thresholds,
        positive_class=run.positive_class,
        resampling=Resampling(config.num_resamples, config.seed),
    )
    shown_name = load_pseudonyms().image if config.anonymous_ids else str
    return {
        "run": job.run.run_dir.resolve().name,
        "name": job.target.run_dir.name,
        "num_images": len(test.labels),
        "num_patients": len(set(test.groups)),
        "maps": dict(job.maps),
        "alarms": list(alarms),
        "duplicates": describe_copies(job.copies, job.own, shown_name=shown_name),
        "internal": {
            "num_images": len(run.parts[1].labels),
            "num_patients": len(set(run.parts[1].groups)),
        },
        "intervals": {
            "level": LEVEL,
            "method": "difference of two independent bootstraps of whole groups (patients), "
            "percentile; thresholds as stored",
            "num_resamples": config.num_resamples,
            "seed": config.seed,
        },
        "differences": nest_estimates(differences),
        "shift": describe_shift(job.own, job.seen, shown_name=shown_name),
        "case_mix": compare_mix(run.run_dir, job.target.run_dir),
    }
