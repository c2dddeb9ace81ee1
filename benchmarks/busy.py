"""Each command on a quiet machine, and while two other programs compute with two threads each.

A state of the product is a folder of sources, with the variables it gets. Tables are in Markdown
and show medians (lowest-highest); states take turns. Run it where nothing else runs.

    python benchmarks/busy.py
    python benchmarks/busy.py --state "before=../old/src" --state "after=src" --repeats 5
    python benchmarks/busy.py --state "passive=src OMP_WAIT_POLICY=passive" --only fine-tuning

Without an older checkout, `before` is these sources with what the libraries choose by themselves:

    --state "before=src GOMP_SPINCOUNT=300000 OPENBLAS_NUM_THREADS=$(nproc)"
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from films import Counts, make_films
from harness import ROOT, describe_machine, median, spread, tell

COUNTS, SIDE = Counts(160, 40, 40), 96
NUM_NEIGHBORS, SETTLE_SECONDS = 2, 8.0
COMMANDS = ("check", "fine-tuning", "evaluate", "predict", "run")
_OURS = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_")
_NETWORK = ("--arch", "resnet18", "--no-pretrained", "--image-size", str(SIDE))
_TRAINING = (*_NETWORK, "--val-strategy", "folder", "--head-epochs", "0", "--finetune-epochs", "2")
# A small network in training: short parallel regions, as in any other program of the field.
_NEIGHBOR = """
import torch
from torch import nn
torch.set_num_threads(2)
body = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
net = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
images, labels = torch.rand(16, 3, 96, 96), torch.arange(16) % 2
while True:
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(images), labels).backward()
    optimizer.step()
"""


@dataclass(frozen=True)
class State:
    """One state of the product: a name, its sources and the variables that it gets."""

    name: str
    sources: Path
    variables: dict[str, str]

    def environment(self) -> dict[str, str]:
        rest = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
        return rest | {"PYTHONPATH": str(self.sources), "HF_HUB_OFFLINE": "1"} | self.variables


def read_state(text: str) -> State:
    """Read NAME=SOURCES [VARIABLE=VALUE ...]."""
    first, *rest = shlex.split(text)
    name, _, sources = first.partition("=")
    if not Path(sources, "medimg_baseline_cls").is_dir():
        raise argparse.ArgumentTypeError(f"{sources!r} has no folder medimg_baseline_cls")
    return State(name, Path(sources).resolve(), dict(part.split("=", 1) for part in rest))


@contextmanager
def neighbors(number: int) -> Iterator[None]:
    """Let other programs compute, in the same session: the kernel weighs threads, not programs."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
    started = [
        subprocess.Popen([sys.executable, "-c", _NEIGHBOR], env=plain) for _ in range(number)
    ]
    try:
        time.sleep(SETTLE_SECONDS if number else 0)
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def seconds_of(state: State, words: Sequence[str | Path], *, folder: Path) -> float:
    """Run one command of a state and return its wall time; `check` may end with warnings."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "medimg_baseline_cls", *map(str, words)]
    done = subprocess.run(
        command, env=state.environment(), cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{shlex.join(command)}: {done.returncode}\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def make_words(command: str, *, films: Path, run_dir: Path, output: Path) -> list[str | Path]:
    """Return the command line of one measurement; `run_dir` is a copy that it may write to."""
    given: list[str | Path] = ["--data-dir", films, "--output-dir", output]
    if command == "check":
        return ["check", *given, *_NETWORK]
    if command == "evaluate":
        return ["evaluate", run_dir]
    if command == "predict":
        return ["predict", run_dir, films / "test", "--output", output / "new.csv"]
    return ["train" if command == "fine-tuning" else "run", *given, *_TRAINING]


def measure(state: State, command: str, *, films: Path, trained: Path, num_neighbors: int) -> float:
    """Return the seconds of one command in a fresh folder, with or without neighbors."""
    with tempfile.TemporaryDirectory(dir=films.parent) as name:
        folder = Path(name)
        run_dir, output = folder / "runs" / "copy", folder / "outputs"
        shutil.copytree(trained, run_dir)
        output.mkdir()
        words = make_words(command, films=films, run_dir=run_dir, output=output)
        with neighbors(num_neighbors):
            return seconds_of(state, words, folder=folder)


def train_once(state: State, *, films: Path, folder: Path) -> Path:
    """Train and evaluate the run that `evaluate` and `predict` are measured on."""
    output = Path(tempfile.mkdtemp(dir=folder))
    given = ["--data-dir", films, "--output-dir", output]
    seconds_of(state, ["train", *given, *_TRAINING], folder=output)
    run_dir = next((output / "runs").glob("medimg_*"))
    seconds_of(state, ["evaluate", run_dir], folder=output)
    return run_dir


def print_table(states: Sequence[State], found: dict[tuple[str, str, int], list[float]]) -> None:
    """Print seconds quiet and busy, and how many times as long busy takes, of each state."""
    tell("\n| command | state | quiet, s | busy, s | busy to quiet |\n|---|---|---|---|---|")
    for command in dict.fromkeys(key[1] for key in found):
        for state in states:
            quiet, busy = (found[state.name, command, n] for n in (0, NUM_NEIGHBORS))
            times = median(busy) / median(quiet)
            tell(f"| {command} | {state.name} | {spread(quiet)} | {spread(busy)} | {times:.1f} |")


def measure_all(
    states: Sequence[State], commands: Sequence[str], *, repeats: int
) -> dict[tuple[str, str, int], list[float]]:
    """Return the seconds by (state, command, number of neighbors), a value per repeat."""
    found: dict[tuple[str, str, int], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench_busy_") as name:
        folder = Path(name)
        films = make_films(folder / "films", COUNTS, size=SIDE, real=None)
        trained = {state.name: train_once(state, films=films, folder=folder) for state in states}
        for number, command, others, state in product(
            range(repeats), commands, (0, NUM_NEIGHBORS), states
        ):
            seconds = measure(
                state, command, films=films, trained=trained[state.name], num_neighbors=others
            )
            found.setdefault((state.name, command, others), []).append(seconds)
            kind = "busy" if others else "quiet"
            tell(f"  round {number + 1}, {command}, {kind}, {state.name}: {seconds:.1f} s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--state", type=read_state, action="append", help="NAME=SOURCES [VARIABLE=VALUE ...]"
    )
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=COMMANDS)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    states = options.state or [State("now", ROOT / "src", {})]
    facts = describe_machine()
    cpu, packages = facts["processor"], facts["packages"]
    found = measure_all(states, options.only, repeats=options.repeats)
    tell(
        f"\n{cpu['model']}, {cpu['num_cores']} cores, torch {packages['torch']}, NumPy "
        f"{packages['numpy']}; {sum(n for _, n in COUNTS.items())} images of {SIDE} px, ResNet-18 "
        f"from random weights, 2 epochs; {options.repeats} runs of each."
    )
    print_table(states, found)


if __name__ == "__main__":
    main()
