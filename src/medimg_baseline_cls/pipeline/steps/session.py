"""What every command needs before its first step: device, precision, run folder, log.

A run folder is opened either new (`open_session`) or again (`reopen_session`); in both
cases the settings come from one Config, and what the first stages inferred from the data
(classes, color, weights) is in config.json under "provenance".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from medimg_baseline_cls.config import Config, build_config, config_to_dict
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.models.build import MONAI3D_PREFIX
from medimg_baseline_cls.utils.device import (
    Precision,
    choose_device,
    choose_precision,
    make_accelerator,
    tune_allocator,
)
from medimg_baseline_cls.utils.distributed import any_rank, detecting_lost_ranks, wait_for_all
from medimg_baseline_cls.utils.files import read_json, write_json
from medimg_baseline_cls.utils.log import SILENT, RunLog, open_log
from medimg_baseline_cls.utils.runs import LATEST, create_run_folder, find_run, require_network

_STARTED_IN = "started_in"
_PLACES = ("data_dir", "manifest", "output_dir", "cache_dir", "weights")


@dataclass(frozen=True)
class RunResult:
    """The result of a command: its files, and the metrics it printed.

    Attributes:
        run_dir: the run folder.
        summary: the content of the JSON file that the command wrote, if any.
        outdated: files of a complete run that show earlier results now.
        status: the exit code of the command; 3 where the result is probably wrong.
    """

    run_dir: Path
    summary: Mapping[str, Any]
    outdated: tuple[str, ...] = ()
    status: int = 0


@dataclass(frozen=True)
class Session:
    """An open run folder on a device; `module` is a network of the user's own, None by a name."""

    config: Config
    run_dir: Path
    accelerator: Accelerator
    precision: Precision
    log: RunLog
    is_single_process: bool
    module: nn.Module | None = None

    @property
    def device(self) -> torch.device:
        """Return the device that models and batches are moved to."""
        return self.accelerator.device

    @property
    def is_main(self) -> bool:
        """Return whether this process writes files (rank 0)."""
        return self.accelerator.is_main_process

    @property
    def shard(self) -> tuple[int, int]:
        """Return (rank, number of processes) among those that work together."""
        if self.is_single_process:
            return 0, 1
        return self.accelerator.process_index, self.accelerator.num_processes

    @property
    def cache_dir(self) -> Path:
        """Return the folder of decoded pixels, shared by all runs of one output folder."""
        run_dir = self.run_dir.resolve()
        is_at_home = run_dir.parent.name == "runs"
        home = run_dir.parents[1] if is_at_home else self.config.output_dir
        return self.config.cache_dir or home / "cache"


def open_session(config: Config) -> Session:
    """Make a new run folder (on rank 0 alone) and open it."""
    accelerator, precision = _open_device(config)
    box: list[Path | None] = [None]
    with detecting_lost_ranks(accelerator):
        wait_for_all(accelerator)
        if accelerator.is_main_process:
            box[0] = create_run_folder(config.output_dir, config.project)
        broadcast_object_list(box)
        assert box[0] is not None
        # Rank 0 alone writes the folder, but all ranks read checkpoints in it (decision 0016).
        is_shared = not any_rank(not box[0].is_dir(), accelerator)
    if not is_shared:
        raise RunError(
            f"not every process of this run sees {box[0]}: set output_dir to a folder that all "
            f"machines share."
        )
    return _open(
        config, box[0], accelerator=accelerator, precision=precision, is_single_process=False
    )


def open_folder(config: Config, folder: Path) -> Session:
    """Open the folder of several runs, for this process alone."""
    accelerator, precision = _open_device(config)
    return _open(
        config, folder, accelerator=accelerator, precision=precision, is_single_process=True
    )


def reopen_session(
    run: Path | str,
    *,
    output_dir: Path = Path("outputs"),
    is_single_process: bool = True,
    log_dir: Path | None = None,
) -> Session:
    """Open an existing run folder with the settings that it remembers.

    Args:
        run: a run folder or "latest".
        output_dir: where `latest` is looked up.
        is_single_process: this process works alone, even if torchrun has started several.
        log_dir: the folder of log.txt; None takes the run folder.

    Raises:
        RunError: `run` is not a run folder.
    """
    run_dir = find_run(run, output_dir)
    require_network(run_dir)
    config = _find_again(build_config(run_dir / "config.json"), run_dir)
    accelerator, precision = _open_device(config)
    if not is_single_process:
        with detecting_lost_ranks(accelerator, run_dir):
            wait_for_all(accelerator)
    session = _open(
        config,
        run_dir,
        accelerator=accelerator,
        precision=precision,
        is_single_process=is_single_process,
        log_dir=log_dir,
    )
    if str(run) == LATEST:
        session.log.info(f"latest: {run_dir}")
    return session


def write_settings(session: Session, provenance: Mapping[str, Any]) -> None:
    """Write config.json: every setting, and what was inferred from the data."""
    here = {_STARTED_IN: Path.cwd().as_posix()}
    settings = config_to_dict(session.config) | {"provenance": {**provenance, **here}}
    write_json(session.run_dir / "config.json", settings)


def read_provenance(run_dir: Path) -> dict[str, Any]:
    """Return what the first stages inferred: classes, color, split strategy, weights."""
    settings = read_json(run_dir / "config.json")
    if not isinstance(settings.get("provenance"), dict):
        raise RunError(
            f"{run_dir / 'config.json'} has no provenance: the run stopped before its data "
            f"were prepared; start it again with `medimg train --config {run_dir}/config.json`."
        )
    return cast(dict[str, Any], settings["provenance"])


def find_started_in(run_dir: Path) -> Path | None:
    """Return the folder of the command that started a run; None where config.json lacks it."""
    provenance = read_json(run_dir / "config.json").get("provenance")
    place = provenance.get(_STARTED_IN) if isinstance(provenance, dict) else None
    return Path(place) if isinstance(place, str) else None


def _find_again(config: Config, run_dir: Path) -> Config:
    """Return the settings with relative paths resolved where the run was started. Missing files are
    looked for from here: a whole project may have been moved.
    """
    started_in = find_started_in(run_dir)
    if started_in is None:
        return config
    found: dict[str, Path] = {}
    for name in _PLACES:
        place: Path | None = getattr(config, name)
        if place is None or place.is_absolute():
            continue
        there = started_in / place
        if there.exists() or not place.exists():
            found[name] = there
    return replace(config, **found)


def count_threads(session: Session) -> int | None:
    """Return the threads that training computes with, for config.json; None on a GPU."""
    return torch.get_num_threads() if session.device.type == "cpu" else None


def warn_of_machine(session: Session) -> None:
    """Warn where a run was trained in another precision or, on a CPU, with other threads."""
    provenance, now = read_provenance(session.run_dir), count_threads(session)
    trained, precision = provenance.get("num_threads"), provenance.get("precision")
    if precision and precision != session.precision:
        session.log.warn(
            f"this run was trained in {precision}, but this machine computes in "
            f"{session.precision}: results can differ slightly from those of the machine it was "
            "trained on"
        )
    # The order of sums, and with it the last digits, depends on the threads (decision 0019).
    if trained and now and trained != now:
        session.log.warn(
            f"this run was trained with {trained} CPU threads, but {now} are used now: results can "
            f"differ in their last digits; set OMP_NUM_THREADS={trained} to get the same ones"
        )


def _open_device(config: Config) -> tuple[Accelerator, Precision]:
    tune_allocator()
    device = choose_device(config.device)
    precision = choose_precision(
        config.precision, device, is_3d=config.arch.startswith(MONAI3D_PREFIX)
    )
    return make_accelerator(device, precision), precision


def _open(
    config: Config,
    run_dir: Path,
    *,
    accelerator: Accelerator,
    precision: Precision,
    is_single_process: bool,
    log_dir: Path | None = None,
) -> Session:
    log = open_log((log_dir or run_dir) / "log.txt") if accelerator.is_main_process else SILENT
    return Session(config, run_dir, accelerator, precision, log, is_single_process)
