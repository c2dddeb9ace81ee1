"""Two launches of torchrun, as on two machines: one run, written by one process, outliving one."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from medimg_baseline_cls.phantom.image_folder import write_phantoms

SOURCE = Path(__file__).parents[2] / "src"

# Python runs it at its start: notes what each process but the first opens or makes in a run folder.
WATCH = """
import os, sys
def watch(event, args):
    if event in ("os.mkdir", "os.rename", "os.remove", "os.symlink", "shutil.rmtree"):
        changed = args[:2]
    elif event == "open" and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        changed = args[:1]
    else:
        return
    for path in changed:
        if "/runs" in str(path):
            os.write(2, f"rank {os.environ['RANK']} changes {path}\\n".encode())
if "RANK" in os.environ:
    sys.addaudithook(watch)
"""


# The second process is killed when the first epoch is on disk.
DIE = """
import glob, os, signal, threading, time
def die():
    while not glob.glob("outputs/runs/medimg_*/last.pt"):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
if os.environ.get("RANK") == "1":
    threading.Thread(target=die, daemon=True).start()
"""


def launch_twice(folder: Path, *, at_start: str, epochs: int) -> tuple[list[str], list[int]]:
    """Train on two machines; returns what was written to stderr and the exit codes."""
    write_phantoms(folder / "films", num_train=24, num_test=8, image_size=32, seed=3)
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(at_start, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = f"{folder / 'watch'}{os.pathsep}{SOURCE}"
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    train = (
        "train --data-dir films --arch test_resnet --no-pretrained --image-size 32 --device cpu "
        f"--head-epochs 0 --finetune-epochs {epochs} --batch-size 8 --batchnorm sync "
        "--val-fraction 0.25"
    )
    launches = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"),
                *("--node-rank", str(machine), "--nproc-per-node", "1"),
                *("--master-addr", "127.0.0.1", "--master-port", str(port)),
                *("-m", "medimg_baseline_cls", *train.split()),
            ],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for machine in range(2)
    ]
    errors = [launch.communicate(timeout=120)[1] for launch in launches]
    return errors, [launch.returncode for launch in launches]


def read_history(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "history.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], list[int]]:
    """The folder, what was written to stderr, and the exit codes of both launches."""
    folder = tmp_path_factory.mktemp("machines")
    return folder, *launch_twice(folder, at_start=WATCH, epochs=1)


def test_two_launches_make_one_whole_run(launched: tuple[Path, list[str], list[int]]) -> None:
    folder, errors, codes = launched
    assert codes == [0, 0], errors
    runs = [path for path in (folder / "outputs" / "runs").iterdir() if not path.is_symlink()]
    assert len(runs) == 1
    assert json.loads((runs[0] / "status.json").read_text(encoding="utf-8"))["state"] == "trained"
    settings = json.loads((runs[0] / "config.json").read_text(encoding="utf-8"))
    assert settings["batchnorm"] == "sync"
    assert len(read_history(runs[0])) == 1


def test_the_first_process_alone_changes_the_run_folder(
    launched: tuple[Path, list[str], list[int]],
) -> None:
    changes = [line for text in launched[1] for line in text.splitlines() if " changes " in line]
    assert any("last.pt" in line for line in changes), "the watch sees what is written"
    assert [line for line in changes if not line.startswith("rank 0 ")] == []


def test_a_run_outlives_a_machine(tmp_path: Path) -> None:
    errors, codes = launch_twice(tmp_path, at_start=DIE, epochs=20)
    assert all(codes), errors
    (run_dir,) = (path for path in (tmp_path / "outputs/runs").iterdir() if not path.is_symlink())
    assert "another process of this run is gone" in errors[0]
    assert f"medimg run --resume outputs/runs/{run_dir.name}" in " ".join(errors[0].split())
    # torchrun's own report of its process
    assert re.search(r"exitcode\s*: 2\b", errors[0]), errors[0]
    assert len(read_history(run_dir)) < 20
    resume = [sys.executable, "-m", "medimg_baseline_cls", "train", "--resume", run_dir]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    subprocess.run(resume, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert [row["epoch"] for row in read_history(run_dir)] == [str(n) for n in range(1, 21)]
