"""Commands that are made of commands: the report, and everything in a row."""

from pathlib import Path

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.eval.dossier import DOSSIER_NAME, READINGS, read_readings
from medimg_baseline_cls.eval.test_log import is_completed, read_log
from medimg_baseline_cls.pipeline.anonymous import (
    PRIVATE_NAME,
    SHARED_FOLDER,
    load_pseudonyms,
    write_anonymous,
)
from medimg_baseline_cls.pipeline.evaluation import evaluate
from medimg_baseline_cls.pipeline.explanation import explain
from medimg_baseline_cls.pipeline.gaps import RESULTS, describe_state, find_gaps
from medimg_baseline_cls.pipeline.session import RunResult
from medimg_baseline_cls.pipeline.training import train
from medimg_baseline_cls.report.html import write_report
from medimg_baseline_cls.report.outdated import is_current
from medimg_baseline_cls.utils.env import is_main_process
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import read_json
from medimg_baseline_cls.utils.log import RunLog, open_log
from medimg_baseline_cls.utils.parsing import parsing
from medimg_baseline_cls.utils.runs import LATEST, find_run, hold_run, read_status


@ending_plainly(is_resumable=False)
def report(
    run: Path | str = "latest",
    *,
    output_dir: Path = Path("outputs"),
    anonymous_ids: bool = False,
) -> RunResult:
    """Write report.html, tables/, model_card.md and checklist.md from what the run folder holds.

    Args:
        run: a run folder, or "latest".
        output_dir: where `latest` is looked up.
        anonymous_ids: show pseudonyms instead of file names and patients, and write tables to
            share into anonymous/; so does the setting of this name.

    Raises:
        RunError: the folder is not a run, or another process writes to it.
    """
    run_dir = find_run(run, output_dir)
    log = open_log(run_dir / "log.txt")
    if str(run) == LATEST:
        log.info(f"latest: {run_dir}")
    with hold_run(run_dir, command="report", log=log):
        return _report(run_dir, log, anonymous_ids=anonymous_ids)


def _report(run_dir: Path, log: RunLog, *, anonymous_ids: bool) -> RunResult:
    stays_anonymous = _is_anonymous(run_dir)
    pseudonyms = load_pseudonyms() if anonymous_ids or stays_anonymous else None
    if pseudonyms is not None:
        write_anonymous(run_dir, pseudonyms)
    gaps = find_gaps(run_dir)
    # Last of all: with the page the run is complete.
    with parsing(lambda _: _refuse_contents(run_dir)):
        page = write_report(run_dir, pseudonyms=pseudonyms, gaps=gaps)
    if pseudonyms is not None:
        log.info(
            f"tables to share: {run_dir / SHARED_FOLDER}; {PRIVATE_NAME} says who is who: keep it"
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
    """Say once which words of the reader's column are none of the known ones."""
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


@ending_plainly(is_resumable=True)
def run(config: Config) -> RunResult:
    """Train, evaluate, explain and report.

    Returns:
        The run folder and the content of eval_summary.json.
    """
    if config.anonymous_ids:
        load_pseudonyms()  # a key that cannot be read must not cost a training and a look at TEST
    trained = train(config)
    run_dir = trained.run_dir
    if not is_main_process():
        return trained
    return finish(run_dir)


def finish(run_dir: Path) -> RunResult:
    """Evaluate, explain and report a trained run, as far as that was not done.

    Returns:
        The run folder and the content of eval_summary.json.
    """
    with hold_run(run_dir, command="run", log=open_log(run_dir / "log.txt")):
        if not is_evaluated(run_dir):
            evaluate(run_dir)
        if not is_current(run_dir):
            explain(run_dir)
            report(run_dir)
        return RunResult(run_dir, read_json(run_dir / "eval_summary.json"))


def is_evaluated(run_dir: Path) -> bool:
    """Return whether the last evaluation of a run came to its end, and its results are there."""
    if any(not (run_dir / name).is_file() for name in ("status.json", *RESULTS)):
        return False
    return read_status(run_dir) == "finished" and is_completed(run_dir, read_log(run_dir))
