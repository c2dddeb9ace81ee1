"""Commands that are made of commands: the report, and everything in a row."""

from pathlib import Path

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.pipeline.evaluation import evaluate
from medimg_baseline_cls.pipeline.explanation import explain
from medimg_baseline_cls.pipeline.session import RunResult
from medimg_baseline_cls.pipeline.training import train
from medimg_baseline_cls.report.html import write_report
from medimg_baseline_cls.utils.env import is_main_process
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.runs import LATEST, find_run


def report(run: Path | str = "latest", *, output_dir: Path = Path("outputs")) -> RunResult:
    """Write report.html, tables/, model_card.md and checklist.md from what the run folder holds.

    Raises:
        RunError: the folder is no run.
    """
    run_dir = find_run(run, output_dir)
    log = open_log(run_dir / "log.txt")
    if str(run) == LATEST:
        log.info(f"latest: {run_dir}")
    page = write_report(run_dir)
    log.info(f"report: {page}")
    return RunResult(run_dir, {"report": str(page)})


def run(config: Config) -> RunResult:
    """Train, evaluate, explain and report.

    Returns:
        The run folder and the content of eval_summary.json.
    """
    trained = train(config)
    run_dir = trained.run_dir
    if not is_main_process():
        return trained
    result = evaluate(run_dir)
    explain(run_dir)
    report(run_dir)
    return result
