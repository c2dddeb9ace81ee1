"""The script for SLURM, with a scheduler and a launcher of a few lines in place of the real."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "slurm" / "train.sbatch"

FAKES = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": 'if [ "$1" = show ]; then echo node1; echo node2; else echo "$@" >>requeued; fi',
    # The first start makes a run folder and trains until it is stopped.
    "torchrun": """echo "$@" >>started
[ -e outputs ] && exit ${CODE:-0}
mkdir -p outputs/runs/medimg-71_1 outputs/runs/medimg-7_1
touch outputs/runs/medimg-7{1,}_1/config.json
trap 'echo TERM >>ended; exit ${CODE:-130}' TERM
touch ready
while true; do sleep 0.05; done""",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    if shutil.which("bash") is None:
        pytest.skip("SLURM's script needs bash")
    (tmp_path / "bin").mkdir()
    for name, text in FAKES.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def start(place: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_NODEID": "1"}
    return subprocess.Popen(
        ["bash", str(SCRIPT), *arguments],
        cwd=place,
        env={**os.environ, "PATH": path, "SLURM_GPUS_ON_NODE": "4", **job, **environment},
        stderr=subprocess.DEVNULL,
    )


def wait_for(path: Path) -> None:
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


def test_bash_can_read_it() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_preempted_job_is_queued_again_and_goes_on_with_its_run(
    place: Path, number: signal.Signals
) -> None:
    job = start(place, "--data-dir", "two words")
    wait_for(place / "ready")
    job.send_signal(number)
    assert job.wait(timeout=20) == 0
    assert (place / "ended").read_text() == "TERM\n"
    assert (place / "requeued").read_text() == "requeue 7\n"
    assert start(place, "--data-dir", "two words").wait(timeout=20) == 0
    launch = "--nnodes 2 --node-rank 1 --nproc-per-node 4 --master-addr node1 --master-port 20007"
    module = "-m medimg_baseline_cls train"
    assert (place / "started").read_text().splitlines() == [
        f"{launch} {module} --project medimg-7 --output-dir outputs --data-dir two words",
        f"{launch} {module} --resume outputs/runs/medimg-7_1",
    ]
    assert (place / "requeued").read_text() == "requeue 7\n", "a whole run is not queued again"


def test_training_that_ended_with_the_signal_is_not_queued_again(place: Path) -> None:
    job = start(place, CODE="0")
    wait_for(place / "ready")
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=20) == 0
    assert (place / "ended").exists()
    assert not (place / "requeued").exists()


def test_a_named_run_goes_on_and_a_failure_is_told(place: Path) -> None:
    (place / "outputs").mkdir()
    assert start(place, RUN="outputs/runs/old", CODE="2").wait(timeout=20) == 2
    assert "--resume outputs/runs/old" in (place / "started").read_text()
    assert not (place / "requeued").exists()
