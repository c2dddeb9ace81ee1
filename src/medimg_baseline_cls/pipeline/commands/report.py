"""The report command: a run folder in, report.html, tables, model card and checklist out.

The folder of a cross-validation, a sweep of seeds or a comparison gets its report.html alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation.error_review import DOSSIER_NAME, READINGS, read_readings
from medimg_baseline_cls.pipeline.steps.anonymous import (
    PRIVATE_NAME,
    SHARED_FOLDER,
    load_pseudonyms,
    write_anonymous,
)
from medimg_baseline_cls.pipeline.steps.run_gaps import describe_state, find_gaps
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.reporting.joint_results import SUMMARY_FILES
from medimg_baseline_cls.reporting.page.joint_page import write_joint_page
from medimg_baseline_cls.reporting.page.report_page import write_report
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import read_json
from medimg_baseline_cls.utils.locks import hold_folder
from medimg_baseline_cls.utils.log import RunLog, open_log
from medimg_baseline_cls.utils.parsing import parsing
from medimg_baseline_cls.utils.pseudonyms import Pseudonyms
from medimg_baseline_cls.utils.runs import LATEST, REPEAT_EXTERNAL, find_run, hold_run, is_external
from medimg_baseline_cls.utils.seals import require_sealed
from medimg_baseline_cls.utils.visible import quote_words

# The file with the results of several runs, and the command that makes it.
_JOINT = {
    "cv": (SUMMARY_FILES["cv"], "medimg cv --resume"),
    "seeds": (SUMMARY_FILES["seeds"], "medimg run --resume"),
    "compare": (SUMMARY_FILES["compare"], ""),
    "sites": (SUMMARY_FILES["sites"], ""),
    "sweep": (SUMMARY_FILES["sweep"], "medimg sweep --resume"),
}


@ending_plainly(is_resumable=False)
def report(
    run: Path | str = "latest",
    *,
    output_dir: Path = Path("outputs"),
    anonymous_ids: bool = False,
) -> RunResult:
    """Write report.html, tables/, model_card.md and checklist.md from the run folder.

    Args:
        run: a run folder, or "latest"; or the folder of a cross-validation, a sweep of seeds, a
            comparison of runs or one of sites.
        output_dir: where `latest` is looked up.
        anonymous_ids: show pseudonyms instead of file names and patients, and write tables to
            share into anonymous/; so does the setting of this name.

    Raises:
        RunError: the folder is not a run, or another process writes to it.
    """
    if (joint := find_joint(run, output_dir)) is not None:
        return report_joint(*joint, anonymous_ids=anonymous_ids)
    run_dir = find_run(run, output_dir)
    log = open_log(run_dir / "log.txt")
    if str(run) == LATEST:
        log.info(f"latest: {run_dir}")
    with hold_run(run_dir, command="report", log=log):
        return _report(run_dir, log, anonymous_ids=anonymous_ids)


def report_joint(folder: Path, kind: str, *, anonymous_ids: bool = False) -> RunResult:
    """Write report.html of several runs.

    Args:
        folder: of a finished cross-validation ("cv"), sweep of seeds ("seeds"), comparison of
            runs ("compare") or of sites ("sites"), or sweep over settings ("sweep").
        kind: which of them.
        anonymous_ids: show pseudonyms instead of file names in warnings; so does the setting of
            this name in a run.

    Raises:
        RunError: a file was changed.
    """

    def find_pseudonyms(settings: Mapping[str, Any]) -> Pseudonyms | None:
        is_anonymous = anonymous_ids or settings.get("anonymous_ids") is True
        return load_pseudonyms() if is_anonymous else None

    log = open_log(folder / "log.txt")
    with hold_folder(folder, command="medimg report", log=log):
        page = write_joint_page(folder, kind, find_pseudonyms=find_pseudonyms, warn=log.warn)
    log.info(f"report: {page}")
    return RunResult(folder, {"report": str(page)})


def find_joint(
    run: Path | str, output_dir: Path, *, kinds: Sequence[str] = tuple(_JOINT)
) -> tuple[Path, str] | None:
    """Return the folder of several runs that is meant, and its kind; None for a single run.

    Raises:
        RunError: it is not finished.
    """
    for kind in kinds:
        name, resume = _JOINT[kind]
        for folder in (Path(run), output_dir / kind / run) if str(run).strip() else ():
            if (folder / name).is_file():
                return folder, kind
            if resume and (folder / f"{kind}.json").is_file():
                command = quote_words(*resume.split(), str(folder))
                raise RunError(f"{folder} is not finished, so it has no results yet: {command}")
    return None


def _report(run_dir: Path, log: RunLog, *, anonymous_ids: bool) -> RunResult:
    ends = ("external.json", "status.json")
    if is_external(run_dir) and not all((run_dir / name).is_file() for name in ends):
        raise RunError(f"{run_dir} has unfinished results on other data: {REPEAT_EXTERNAL}.")
    stays_anonymous = _is_anonymous(run_dir)
    pseudonyms = load_pseudonyms() if anonymous_ids or stays_anonymous else None
    if pseudonyms is not None:
        write_anonymous(run_dir, pseudonyms)
    gaps = find_gaps(run_dir)
    require_sealed(run_dir, known_bad=gaps)
    # Last of all: with the page the run is complete.
    with parsing(lambda _: _refuse_contents(run_dir)):
        page = write_report(run_dir, pseudonyms=pseudonyms, gaps=gaps)
    if pseudonyms is not None:
        log.info(
            f"tables to share: {run_dir / SHARED_FOLDER}; {PRIVATE_NAME} maps them back: keep "
            "it private"
        )
        if not stays_anonymous:
            log.info(
                "this report shows pseudonyms; panels in gradcam/ show real names unless "
                "explain had --anonymous-ids"
            )
    _note_odd_readings(run_dir, log)
    for warning in (*gaps.values(), *filter(None, [describe_state(run_dir)])):
        log.warn(warning)
    log.info(f"report: {page}")
    return RunResult(run_dir, {"report": str(page)})


def _refuse_contents(run_dir: Path) -> RunError:
    return RunError(
        f"the report of {run_dir} cannot be made from what its files contain: if one of them was "
        "edited, restore it or run `medimg evaluate` again; if not, this is a mistake of medimg."
    )


def _note_odd_readings(run_dir: Path, log: RunLog) -> None:
    """Log once which words of the reader's column are unknown."""
    words = {reading["reader"].strip() for reading in read_readings(run_dir).values()}
    odd = sorted(word for word in words if word and word.lower() not in READINGS)
    if odd:
        log.info(
            f"{DOSSIER_NAME}: {', '.join(map(repr, odd[:5]))} in the column reader is none of "
            f"{', '.join(READINGS)}; it is kept as it is"
        )


def _is_anonymous(run_dir: Path) -> bool:
    path = run_dir / "config.json"
    return path.is_file() and read_json(path).get("anonymous_ids") is True
