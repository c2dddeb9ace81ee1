"""One command that completes a run, wherever it was stopped: `medimg run --resume`.

It does what is missing of training, evaluation, explanation and report, of a single run or of a
sweep of seeds. A run that was stopped before its settings were written cannot be resumed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import nn

from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.pipeline.commands import run_seeds as seeds
from medimg_baseline_cls.pipeline.commands.run import finish, is_evaluated
from medimg_baseline_cls.pipeline.commands.train import resume
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.pipeline.sweep import is_in_one_process, list_unfinished
from medimg_baseline_cls.reporting.outdated import is_current, list_outdated
from medimg_baseline_cls.training.callbacks import Callback
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.rank import is_main_process
from medimg_baseline_cls.utils.runs import (
    age_key,
    find_run,
    is_judged,
    is_of_sweep,
    is_trained,
    list_runs,
    read_status,
    require_network,
    require_newest_begun,
)


@ending_plainly(is_resumable=True)
def resume_run(
    run: Path | str | None = None,
    *,
    output_dir: Path = Path("outputs"),
    callbacks: Sequence[Callback] = (),
    model: nn.Module | None = None,
) -> RunResult:
    """Do what is missing of a run, or of a sweep of seeds.

    Args:
        run: its folder; None takes the newest one under `output_dir` of which something is missing.
        output_dir: where runs and sweeps are looked for.
        callbacks: told how training goes, as in `train` and `run_seeds`.
        model: a network of the class that a single run was started with, if that was passed.

    Returns:
        The run folder and the content of eval_summary.json; of a sweep, its own.

    Raises:
        RunError: there is none; or it is alive, or was stopped before its settings were written.
        ConfigError: several processes would each have to find the newest one.
    """
    if run is None and not is_in_one_process():
        raise ConfigError("--resume under torchrun takes the name of the run: --resume RUN.")
    wanted = run
    if wanted is None:
        wanted = _find_newest(output_dir)
        is_old = is_trained(wanted) and is_evaluated(wanted) and list_outdated(wanted)
        why = " (evaluated again since its report was written)" if is_old else ""
        open_log(None).info(f"the newest that is unfinished: {wanted}{why}")
    homes = (Path(wanted), output_dir / seeds.KIND.subfolder / wanted)
    if any((home / seeds.KIND.plan_file).is_file() for home in homes):
        return seeds.resume_seeds(wanted, output_dir=output_dir, callbacks=callbacks)
    run_dir = find_run(wanted, output_dir)
    require_network(run_dir)
    if not is_trained(run_dir):
        resume(run_dir, callbacks=callbacks, model=model)
    elif _is_complete(run_dir):
        open_log(None).info(f"{run_dir} is complete: nothing of it is missing")
    if not is_main_process():
        return RunResult(run_dir, {})
    return finish(run_dir, model=model, callbacks=callbacks)


def _find_newest(output_dir: Path) -> Path:
    """Return the newest incomplete run or sweep that is not in use."""
    runs = [(age_key(run), run) for run in _list_incomplete(output_dir)]
    sweeps = [(age_key(sweep), sweep) for sweep in list_unfinished(output_dir, kind=seeds.KIND)]
    newest = max((*runs, *sweeps), default=(None, None))[1]
    require_newest_begun(output_dir, newest, command="medimg run --resume")
    if newest is None:
        raise RunError(
            f"no unfinished run or sweep of seeds is in {output_dir}: name one, as "
            "`medimg run --resume RUN`, or start a new one."
        )
    return newest


def _list_incomplete(output_dir: Path) -> Iterator[Path]:
    """Yield the single runs of which something is missing; a run of a sweep belongs to that."""
    for run in list_runs(output_dir):
        can_resume = all((run / name).is_file() for name in ("config.json", "status.json"))
        if is_of_sweep(run.name) or not can_resume or read_status(run) == "training":
            continue
        if not (is_judged(run) or _is_complete(run)):
            yield run


def _is_complete(run: Path) -> bool:
    return is_trained(run) and is_evaluated(run) and is_current(run)
