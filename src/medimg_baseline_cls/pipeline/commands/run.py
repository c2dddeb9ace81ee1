"""The run command: train, evaluate, explain and report in a row, or what is missing of it."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.evaluation.evaluation_log import is_completed, read_log
from medimg_baseline_cls.pipeline.commands.evaluate import evaluate
from medimg_baseline_cls.pipeline.commands.explain import explain
from medimg_baseline_cls.pipeline.commands.report import report
from medimg_baseline_cls.pipeline.commands.train import train
from medimg_baseline_cls.pipeline.steps.anonymous import load_pseudonyms
from medimg_baseline_cls.pipeline.steps.run_gaps import RESULTS
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.reporting.outdated import is_current
from medimg_baseline_cls.training.callbacks import Callback, GuardedCallback
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import read_json
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.rank import is_main_process
from medimg_baseline_cls.utils.runs import hold_run, read_status


@ending_plainly(is_resumable=True)
def run(
    config: Config,
    *,
    callbacks: Sequence[Callback] = (),
    model: nn.Module | None = None,
    time_limit: float | None = None,
) -> RunResult:
    """Train, evaluate, explain and report.

    Args:
        config: every setting; `data_dir` is required.
        callbacks: told how training goes, as in `train`.
        model: a network of your own, as in `train`.
        time_limit: minutes that all steps may take, as in `train`.

    Returns:
        The run folder and the content of eval_summary.json.
    """
    if config.anonymous_ids:
        load_pseudonyms()  # a key that cannot be read must not cost a training and a look at TEST
    trained = train(config, callbacks=callbacks, model=model, time_limit=time_limit)
    run_dir = trained.run_dir
    if not is_main_process():
        return trained
    return finish(run_dir, model=model, callbacks=callbacks)


def finish(
    run_dir: Path, *, model: nn.Module | None = None, callbacks: Sequence[Callback] = ()
) -> RunResult:
    """Evaluate, explain and report a trained run, as far as that was not done.

    Args:
        run_dir: the run.
        model: a network of the class that the run was trained with, if that was passed.
        callbacks: told that there are results.

    Returns:
        The run folder and the content of eval_summary.json.
    """
    log = open_log(run_dir / "log.txt")
    told = [GuardedCallback(callback, log) for callback in callbacks]
    with hold_run(run_dir, command="run", log=log):
        if not is_evaluated(run_dir):
            evaluate(run_dir, model=model)
        for callback in told:
            callback.on_results(run_dir)
        if not is_current(run_dir):
            explain(run_dir, model=model)
            report(run_dir)
        for callback in told:
            callback.on_results(run_dir)
        return RunResult(run_dir, read_json(run_dir / "eval_summary.json"))


def is_evaluated(run_dir: Path) -> bool:
    """Return whether the last evaluation of a run came to its end, and its results are there."""
    if any(not (run_dir / name).is_file() for name in ("status.json", *RESULTS)):
        return False
    return read_status(run_dir) == "finished" and is_completed(run_dir, read_log(run_dir))
