"""Train a classifier in stages: the head first, then everything. The loop over epochs is here.

Turns a model, images and settings into best.pt, best_head.pt, last.pt, history.csv and
timings.csv. An interrupted run resumes from its last finished epoch and ends with
bit-identical weights. Refuses to resume with other settings, or without last.pt.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor

from medimg_baseline_cls.errors import RunInterrupted, RunPruned, TrainingError
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.models.weights import fill_network
from medimg_baseline_cls.schema import Stage, TrainSettings
from medimg_baseline_cls.training.callbacks import Callback, telling_of_failure
from medimg_baseline_cls.training.checkpoint import (
    Snapshot,
    copy_weights,
    plain_settings,
    read_best,
    read_last,
    write_best,
    write_last,
)
from medimg_baseline_cls.training.history import (
    EpochRow,
    FitResult,
    Progress,
    Timings,
    read_history,
    write_history,
)
from medimg_baseline_cls.training.interrupts import catch_stop_signals
from medimg_baseline_cls.training.optimizer import mean_rate
from medimg_baseline_cls.training.pace import Pace
from medimg_baseline_cls.training.sources import TrainData
from medimg_baseline_cls.training.stages import open_context, open_stage
from medimg_baseline_cls.training.steps import StageSetup, TrainingContext, run_epoch, stop_message
from medimg_baseline_cls.training.validation import (
    positive_index,
    validate,
    validate_stressed,
)
from medimg_baseline_cls.utils.distributed import any_rank, share_weights, wait_for_all
from medimg_baseline_cls.utils.log import SILENT, RowPrinter, RunLog
from medimg_baseline_cls.utils.quantities import say_count

_STRESSED = "stressed AP"
_TABLE = (
    *("stage", "epoch", "lr", "train loss", "val loss", "val AP", "val AUROC", _STRESSED),
    *("images/s", ""),
)


@dataclass(frozen=True)
class _TrainingRun:
    """A training in progress."""

    context: TrainingContext
    model: Classifier
    data: TrainData
    settings: TrainSettings
    identity: dict[str, Any]
    progress: Progress
    timings: Timings
    table: RowPrinter
    callbacks: Sequence[Callback]

    @property
    def is_main(self) -> bool:
        return self.context.accelerator.is_main_process


def fit(
    model: Classifier,
    data: TrainData,
    *,
    settings: TrainSettings,
    run_dir: Path,
    accelerator: Accelerator,
    log: RunLog = SILENT,
    resume: bool = False,
) -> FitResult:
    """Train a model in the stages of the settings.

    Args:
        model: trained in place; afterwards it has the weights of the best epoch.
        data: the images.
        settings: stages, rates and the rest.
        run_dir: where the files are written.
        accelerator: device, precision and processes.
        log: gets a row per epoch.
        resume: resume from the last finished epoch of this run folder.

    Returns:
        Which epoch was best, and how many there were.

    Raises:
        TrainingError: a loss is not finite, memory ran out, or the run cannot be resumed.
        RunInterrupted: a stop signal has come, or a sweep stops this trial; the run folder can be
            resumed.
    """
    if not any(stage.epochs for stage in settings.stages):
        raise TrainingError("No stage has an epoch; set head_epochs or finetune_epochs above 0.")
    # Module by module, as train() would also wake layers that were in eval mode on purpose.
    modes = [(module, module.training) for module in model.modules()]
    model.move(accelerator.device)
    own_log = log if accelerator.is_main_process else SILENT
    identity = _identify(data, settings)
    snapshot = _find_snapshot(run_dir, identity, log=own_log) if resume else None
    callbacks = data.callbacks if accelerator.is_main_process else ()
    with catch_stop_signals() as stop, telling_of_failure(callbacks):
        context = open_context(
            data, settings, run_dir=run_dir, accelerator=accelerator, log=own_log, stop=stop
        )
        progress = Progress() if snapshot is None else snapshot.progress
        run = _TrainingRun(
            context=context,
            model=model,
            data=data,
            settings=settings,
            identity=identity,
            progress=progress,
            timings=Timings(run_dir, progress),
            table=own_log.growing_table(
                [name for name in _TABLE if name != _STRESSED or data.stresses], width=8
            ),
            callbacks=callbacks,
        )
        _restore(run, snapshot)
        for callback in callbacks:
            callback.on_start(run_dir)
        for stage in _stages_ahead(run):
            _train_stage(run, stage, snapshot=snapshot)
            snapshot = None  # the next stage has its own optimizer and average
        _take_best(run, stage=None)
    for module, mode in modes:
        module.training = mode
    result = _summarize(run)
    for callback in callbacks:
        callback.on_end(result)
    return result


def _identify(data: TrainData, settings: TrainSettings) -> dict[str, Any]:
    """Return the settings and counts that identify this run."""
    stresses = {"num_stresses": len(data.stresses)} if data.stresses else {}
    return plain_settings(
        settings,
        batch_size=data.train.batch_size,
        num_train=data.train.num_images,
        num_val=data.val.num_images,
        **stresses,
    )


def _find_snapshot(run_dir: Path, identity: Mapping[str, Any], *, log: RunLog) -> Snapshot | None:
    """Return the state of the run; None if it was stopped before its first epoch ended."""
    path = run_dir / "last.pt"
    if not path.exists() and not (run_dir / "history.csv").exists():
        log.info("no epoch was finished: training starts from the first")
        return None
    snapshot = read_last(path, settings=identity, history=read_history(run_dir))
    row = snapshot.progress.rows[-1]
    log.info(f"training resumes after stage {row.stage}, epoch {row.epoch}")
    return snapshot


def _restore(run: _TrainingRun, snapshot: Snapshot | None) -> None:
    """Restore model and files to the state of the snapshot, the same in every process."""
    if snapshot is not None:
        fill_network(run.model.net, snapshot.model, source=str(run.context.run_dir / "last.pt"))
        if run.is_main:
            # A run killed right after last.pt may lack the files that are written next.
            _write_after_last(run, {**snapshot.model, **(snapshot.average or {})})
    wait_for_all(run.context.accelerator)
    if snapshot is not None:  # a damaged checkpoint should stop the run now, not after hours
        for stage in {None, run.progress.rows[-1].stage} & {None, "head"}:
            _read_best(run, stage)
    share_weights(run.model.net, run.context.accelerator)


def _stages_ahead(run: _TrainingRun) -> list[Stage]:
    """Return the stages that are not finished."""
    names = [stage.name for stage in run.settings.stages]
    current = names.index(run.progress.rows[-1].stage) if run.progress.rows else 0
    return [
        stage
        for stage in run.settings.stages[current:]
        if not run.progress.is_done(stage, patience=run.settings.patience)
    ]


def _train_stage(run: _TrainingRun, stage: Stage, *, snapshot: Snapshot | None) -> None:
    """Train a stage epoch by epoch, from the snapshot on if it is of this stage."""
    context, num_done = run.context, len(run.progress.in_stage(stage.name))
    if not num_done and run.progress.rows:
        # Fine-tuning starts from the best epoch of the head, not from its last.
        _take_best(run, stage="head")
    with open_stage(context, run.model, stage=stage, data=run.data, settings=run.settings) as setup:
        if num_done and snapshot is not None:
            _restore_setup(setup, snapshot)
        sizes = setup.train.num_images, setup.val.num_images
        pace = Pace(context.log, stage=stage.name, sizes=sizes, num_left=stage.epochs - num_done)
        for epoch in range(num_done + 1, stage.epochs + 1):
            start = time.perf_counter()
            if setup.solve is None:
                train_loss = run_epoch(context, setup, epoch=epoch, pace=pace)
            else:
                train_loss = setup.solve()
            speed = setup.train.num_images / (time.perf_counter() - start)
            row, judged = _judge_epoch(run, setup, epoch=epoch, train_loss=train_loss)
            run.progress.rows.append(row)
            if run.is_main:
                seconds = time.perf_counter() - start
                run.timings.add(stage.name, epoch, seconds=seconds, images_per_second=speed)
                _write_epoch(run, setup, judged=judged)
                _tell_epoch(run, stage, speed=speed)
                _call_back(run)
            where = f"stage {stage.name} after epoch {epoch}"
            _stop_if_asked(context, where)
            _stop_if_hopeless(run, where)
            if run.progress.is_done(stage, patience=run.settings.patience):
                break
    _tell_end_of_stage(run, stage)


def _take_best(run: _TrainingRun, stage: str | None) -> None:
    """Load the best epoch into the network, of the head stage or of all."""
    path, content = _read_best(run, stage)
    fill_network(run.model.net, content["model"], source=str(path))


def _read_best(run: _TrainingRun, stage: str | None) -> tuple[Path, dict[str, Any]]:
    path = run.context.run_dir / ("best.pt" if stage is None else "best_head.pt")
    return path, read_best(path, row=run.progress.best(stage))


def _restore_setup(setup: StageSetup, snapshot: Snapshot) -> None:
    setup.optimizer.load_state_dict(snapshot.optimizer)
    if setup.average is not None:
        setup.average.load(snapshot.average or {})


def _judge_epoch(
    run: _TrainingRun, setup: StageSetup, *, epoch: int, train_loss: float
) -> tuple[EpochRow, dict[str, Tensor]]:
    """Return the metrics of VAL and the weights that were scored: the average if there is one."""
    positive = positive_index(run.settings)
    with nullcontext() if setup.average is None else setup.average.applied():
        scores = validate(run.context, setup, positive=positive)
        stressed = validate_stressed(run.context, setup, positive=positive)
        weights = copy_weights(run.model.net) if run.is_main else {}
    row = EpochRow(
        stage=setup.stage.name,
        epoch=epoch,
        lr=mean_rate(setup.stage, epoch=epoch, num_batches=setup.train.num_batches),
        train_loss=train_loss,
        val_loss=scores.log_loss,
        val_ap=scores.average_precision,
        val_auroc=scores.auroc,
        stressed_ap=stressed,
    )
    return row, weights


def _stop_if_asked(context: TrainingContext, where: str) -> None:
    """Wait for all processes; if one got a stop signal, stop all of them.

    Raises:
        RunInterrupted: a stop signal has come.
    """
    wait_for_all(context.accelerator)
    if any_rank(context.stop.is_set, context.accelerator):
        raise RunInterrupted(stop_message(context, where))


def _stop_if_hopeless(run: _TrainingRun, where: str) -> None:
    """Stop a trial that its sweep gives up, unless it is at its end anyway (decision 0041).

    Raises:
        RunPruned: it is given up.
    """
    is_hopeless = run.data.is_hopeless
    if is_hopeless is not None and _stages_ahead(run) and is_hopeless():
        raise RunPruned(f"pruned in {where}")


def _write_epoch(run: _TrainingRun, setup: StageSetup, *, judged: Mapping[str, Tensor]) -> None:
    """Write last.pt, which makes the epoch count as finished, and then the files it implies."""
    snapshot = Snapshot(
        settings=run.identity,
        progress=run.progress,
        model=copy_weights(run.model.net),
        optimizer=setup.optimizer.state_dict(),
        average=None if setup.average is None else setup.average.state(),
    )
    write_last(run.context.run_dir / "last.pt", snapshot)
    _write_after_last(run, judged)


def _write_after_last(run: _TrainingRun, judged: Mapping[str, Tensor]) -> None:
    """Write the files that last.pt implies: the best checkpoints and history.csv."""
    run_dir, row = run.context.run_dir, run.progress.rows[-1]
    is_best_head = row.stage == "head" and run.progress.is_last_best("head")
    targets = {"best.pt": run.progress.is_last_best(), "best_head.pt": is_best_head}
    for name, is_new in targets.items():
        if is_new:
            write_best(
                run_dir / name,
                run.model,
                weights=judged,
                row=row,
                header=run.settings.checkpoint_header,
            )
    write_history(run_dir, run.progress)


def _tell_epoch(run: _TrainingRun, stage: Stage, *, speed: float) -> None:
    row = run.progress.rows[-1]
    stressed = (_show(row.stressed_ap),) if run.data.stresses else ()
    run.table.row(
        (
            row.stage,
            f"{row.epoch}/{stage.epochs}",
            f"{row.lr:.1e}",
            f"{row.train_loss:.4f}",
            f"{row.val_loss:.4f}",
            _show(row.val_ap),
            _show(row.val_auroc),
            *stressed,
            f"{speed:,.0f}",
            "best" if run.progress.is_last_best() else "",
        )
    )


def _show(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"


def _call_back(run: _TrainingRun) -> None:
    """Call the callbacks after an epoch whose files are written."""
    for callback in run.callbacks:
        callback.on_epoch(run.progress.rows[-1])
        if run.progress.is_last_best():
            callback.on_best(run.progress.rows[-1])


def _tell_end_of_stage(run: _TrainingRun, stage: Stage) -> None:
    """Log the best epoch of a stage, and why the stage ended early if it did."""
    best, num_epochs = run.progress.best(stage.name), len(run.progress.in_stage(stage.name))
    assert best is not None
    scores = f"val loss {best.val_loss:.4f}"
    if best.val_ap is not None:
        scores = f"val AP {best.val_ap:.4f}, {scores}"
    if best.stressed_ap is not None:
        scores = f"AP {best.stressed_ap:.4f} on stressed VAL, {scores}"
    ending = ""
    if num_epochs < stage.epochs:
        patience = say_count(run.settings.patience, "epochs")
        ending = f"; stopped early at epoch {num_epochs}: no improvement for {patience}"
    run.context.log.info(f"best of stage {stage.name}: epoch {best.epoch} ({scores}){ending}")


def _summarize(run: _TrainingRun) -> FitResult:
    best = run.progress.best()
    assert best is not None
    if best.stage == "head" and run.settings.stages[-1].epochs:
        message = "kept: the head-only model, as no epoch of fine-tuning is better on VAL"
        run.context.log.info(message)
    num_epochs = {s.name: len(run.progress.in_stage(s.name)) for s in run.settings.stages}
    return FitResult(
        best_epoch=best.epoch,
        best_stage=best.stage,
        best_val_ap=best.val_ap,
        num_epochs=sum(num_epochs.values()),
        stopped_early=any(num_epochs[s.name] < s.epochs for s in run.settings.stages),
    )
