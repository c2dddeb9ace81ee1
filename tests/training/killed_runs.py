"""A script of runs that die by SIGKILL at named points and are resumed; writes them to a folder.

torch is imported once and a fresh process forked for each run, so that a dozen real kills
cost seconds.
"""

import json
import os
import signal
import sys
from pathlib import Path

from toy import fork, make_data, make_settings, train_toy, wait_for

# 40 images in batches of 8 and 3 epochs per stage: 15 batches per stage.
KILLS_AT_BATCH = {"head_first": 3, "head_middle": 9, "tune_first": 17, "tune_middle": 23}
KILLS_AT_WRITE = {
    "last_of_head": ("write_last", 3),  # the last epoch of the head is trained, not written
    "best_of_head": ("write_best", "head"),  # last.pt is written, what follows is not
    "best_of_tune": ("write_best", "finetune"),  # of the epoch that stays the best
    "between": ("write_history", 3),  # all files of the head are written
    "before_history": ("write_history", 5),
}
KILL_SETTINGS = {"ema_decay": 0.9, "patience": 4, "label_smoothing": 0.1}


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_until_kill(run_dir: Path, name: str) -> None:
    """Train, and die by SIGKILL at the named point."""
    data = make_data()
    if name in KILLS_AT_BATCH:
        calls = iter(range(1000))
        # The head's cached features still ask for the order of each of their batches.
        data.train.on_batch = lambda: kill_self() if next(calls) == KILLS_AT_BATCH[name] else None
    else:
        kill_at_write(*KILLS_AT_WRITE[name])
    train_toy(run_dir, data=data, settings=make_settings(**KILL_SETTINGS))


def kill_at_write(writer: str, when: int | str) -> None:
    from medimg_baseline_cls.training import fit as room

    genuine = getattr(room, writer)

    def dying(first, second, *rest, **keywords):
        if writer == "write_history" and len(second.rows) == when:
            genuine(first, second)
            kill_self()
        if writer == "write_last" and len(second.progress.rows) == when:
            kill_self()
        if writer == "write_best" and keywords["row"].stage == when and keywords["row"].epoch == 3:
            kill_self()
        return genuine(first, second, *rest, **keywords)

    setattr(room, writer, dying)


def run_kills(folder: Path) -> None:
    def whole(run_dir: Path, *, resume: bool) -> None:
        train_toy(run_dir, settings=make_settings(**KILL_SETTINGS), resume=resume)

    codes = {"whole": wait_for(fork(lambda: whole(folder / "whole", resume=False)))}
    for name in [*KILLS_AT_BATCH, *KILLS_AT_WRITE]:
        run_dir = folder / name
        died = wait_for(fork(lambda run_dir=run_dir, name=name: run_until_kill(run_dir, name)))
        resumed = wait_for(fork(lambda run_dir=run_dir: whole(run_dir, resume=True)))
        codes[name] = died + resumed
    (folder / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    run_kills(Path(sys.argv[1]))
