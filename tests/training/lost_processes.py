"""A script of runs of three processes of which one is lost; writes what the others say."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from process_groups import run_group, start_group
from toy import build_toy, make_data, make_settings, open_accelerator, train_toy, wait_for

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.utils import device
from medimg_baseline_cls.utils import distributed as processes

FATES = ("killed", "raising", "stopped", "late")
LOST_AT_BATCH = 23  # of 15 per stage: in the second epoch of stage finetune
PATIENT_SECONDS = 4


def meet_fate(fate: str) -> None:
    if fate == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fate == "raising":
        raise ValueError("a mistake in one process")
    else:
        os.kill(os.getpid(), signal.SIGSTOP)


def train_member(folder: Path, shard: tuple[int, int], *, fate: str = "", resume=False) -> None:
    """Train, and lose the last process in the middle, unless it has no fate."""
    data, calls, begin = make_data(shard=shard), iter(range(1000)), time.monotonic()

    def tick() -> None:
        if next(calls) == LOST_AT_BATCH and shard[0] == 2:
            meet_fate(fate)

    if fate:
        data.train.on_batch = tick
    run_dir = folder / fate if fate else folder
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.json").touch()
    try:
        with processes.detecting_lost_ranks(open_accelerator(), run_dir):
            train_toy(run_dir, data=data, model=plain_toy(), settings=SETTINGS, resume=resume)
        said = "trained"
    except TrainingError as error:
        said = str(error)
    report = {"said": said, "seconds": time.monotonic() - begin}
    (folder / f"{fate or 'resumed'}_{shard[0]}.json").write_text(json.dumps(report))


def plain_toy():
    return build_toy(has_norm=False, dropout=0.0)


SETTINGS = make_settings(ema_decay=0.5)


def wait_late(folder: Path, shard: tuple[int, int]) -> None:
    """Let the first process decode for longer than others wait for one another in a step."""
    accelerator, begin = open_accelerator(), time.monotonic()
    with processes.main_process_first(accelerator):
        if shard[0] == 0:
            time.sleep(PATIENT_SECONDS)
    processes.any_rank(False, accelerator)
    report = {"said": "waited", "seconds": time.monotonic() - begin}
    (folder / f"late_{shard[0]}.json").write_text(json.dumps(report))


def run_fate(folder: Path, fate: str) -> list[int]:
    """Run three processes and lose one; returns the exit codes."""
    # Nobody waits a minute for a test: a stopped process has three seconds to answer.
    if fate in ("stopped", "late"):
        device.ANSWER_SECONDS = 3
        processes.ANSWER_SECONDS = 3
    if fate == "late":
        return wait_for(*start_group(3, lambda shard: wait_late(folder, shard)))
    pids = start_group(3, lambda shard: train_member(folder, shard, fate=fate))
    codes = wait_for(*pids[:2])
    if fate == "stopped":
        os.kill(pids[2], signal.SIGKILL)
    return codes + wait_for(pids[2])


if __name__ == "__main__":
    where = Path(sys.argv[1])
    found = {fate: run_fate(where, fate) for fate in FATES}
    (where / "codes.json").write_text(json.dumps(found))
    device.ANSWER_SECONDS = 60
    run_group(2, lambda shard: train_member(where / "killed", shard, resume=True))
    run_group(1, lambda shard: train_member(where / "whole", shard))
