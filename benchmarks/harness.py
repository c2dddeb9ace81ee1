"""What the benchmarks share: programs take turns, each in a process of its own; then a table.

A program is a command that reads a job (a JSON file) and writes what it found into the file
that the job names. Its wall time and the memory of it and its children are taken from outside.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from medimg_baseline_cls.utils.env import collect_environment
from medimg_baseline_cls.utils.log import format_table

ROOT = Path(__file__).resolve().parents[1]
JOBS = ROOT / "benchmarks" / "jobs"
RESULTS = ROOT / "docs" / "benchmarks"
OURS, RIVALS = ROOT / ".venv" / "bin", ROOT / ".venv-rivals" / "bin"
# Reading the share of each page walks them all, which slows a program of some GiB down.
POLL_SECONDS = 2.0
# No program may look for the network, and none gets other threads than it takes by itself.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "PYTHONWARNINGS": "ignore",
    "MPLBACKEND": "Agg",
}


@dataclass(frozen=True)
class Outcome:
    """What a program took and what it wrote.

    Attributes:
        seconds: from its start to its end.
        peak_mib: of it and its children.
        facts: what it tells of itself.
        lines: of its output, with the seconds after which each came.
    """

    seconds: float
    peak_mib: float
    facts: dict[str, Any]
    lines: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Program:
    """One contestant: a name and what it runs for a job."""

    name: str
    run: Callable[[dict[str, Any]], Outcome]


@dataclass
class Answer:
    """What a question found, as a table and as figures to reuse.

    Attributes:
        name: of the files.
        title: what was asked.
        header, rows: the table.
        ratios: name -> (found, wanted), where wanted is a text such as ">= 3.0".
        notes: what must be said beside it.
        facts: everything measured.
    """

    name: str
    title: str
    header: list[str]
    rows: list[list[str]]
    ratios: dict[str, tuple[float, str]]
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def run_command(command: Sequence[str | Path], *, folder: Path, seconds: float = 1800) -> Outcome:
    """Run a command; return its wall time and the peak memory of its processes.

    Memory is the proportional set size, so that pages which several processes share, or which
    fork has not copied, count once.

    Raises:
        SystemExit: The command failed; the end of its output is shown.
    """
    variables = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    variables |= QUIET | {"YOLO_CONFIG_DIR": str(folder)}
    lines: list[tuple[float, str]] = []
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=variables,
        cwd=folder,
    )
    peak, alarm = _Peak(process.pid), threading.Timer(seconds, process.kill)
    alarm.start()
    assert process.stdout is not None
    for line in process.stdout:
        lines.append((time.perf_counter() - start, line))
    code = process.wait()
    taken = time.perf_counter() - start
    alarm.cancel()
    peak.stop()
    if code:
        shown = "".join(line for _, line in lines)[-3000:]
        raise SystemExit(f"{' '.join(map(str, command))} ended with {code}:\n{shown}")
    return Outcome(seconds=taken, peak_mib=peak.mib, facts={}, lines=tuple(lines))


def run_job(python: Path, script: str, job: dict[str, Any]) -> Outcome:
    """Run one of the scripts in jobs/ on a job and return what it wrote."""
    with tempfile.TemporaryDirectory(prefix="bench_") as name:
        folder = Path(name)
        result = folder / "result.json"
        (folder / "job.json").write_text(json.dumps(job | {"result": str(result)}, default=str))
        outcome = run_command([python, JOBS / script, folder / "job.json"], folder=folder)
        facts = json.loads(result.read_text())
    return Outcome(outcome.seconds, outcome.peak_mib, facts)


def take_turns(
    programs: Sequence[Program], job: dict[str, Any], *, repeats: int
) -> dict[str, list[Outcome]]:
    """Run the programs one after the other, several times round, so that all meet the same load."""
    found: dict[str, list[Outcome]] = {program.name: [] for program in programs}
    for number in range(repeats):
        for program in programs:
            outcome = program.run(job)
            found[program.name].append(outcome)
            tell(f"  round {number + 1}, {program.name}: {outcome.seconds:.1f} s")
    return found


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Say a median and what lies around it: "12.3 (11.8-13.0)"."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def write_answer(answer: Answer) -> None:
    """Print the table with its ratios and write it into docs/benchmarks/ as JSON and figure."""
    tell("\n" + answer.title)
    tell("\n".join(format_table(answer.header, answer.rows)))
    for name, (found, wanted) in answer.ratios.items():
        tell(f"  {name}: {found:.3g} (wanted {wanted})")
    for note in answer.notes:
        tell(f"  {note}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {
        "title": answer.title,
        "command": " ".join(["python", *map(_relative, sys.argv)]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "header": answer.header,
        "rows": answer.rows,
        "ratios": {k: {"found": f, "wanted": w} for k, (f, w) in answer.ratios.items()},
        "notes": answer.notes,
        "facts": answer.facts,
    }
    path = RESULTS / f"{answer.name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    draw_answer(answer)


def draw_answer(answer: Answer) -> None:
    """Draw the first column of figures as bars, the longest on top."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    labels = [row[0] for row in answer.rows]
    lengths = [float(row[1].split()[0].replace(",", "")) for row in answer.rows]
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.34 * len(labels)), layout="constrained")
    colors = ["#1b6ca8" if "medimg" in label else "#b8c4ce" for label in labels]
    bars = axes.barh(labels, lengths, color=colors)
    axes.bar_label(bars, [row[1] for row in answer.rows], padding=4, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.28)
    axes.set_xlim(left=0)
    axes.set_xlabel(answer.header[1])
    figure.suptitle(answer.title, x=0.01, ha="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / f"{answer.name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def describe_machine() -> dict[str, Any]:
    """Return what a reader must know of this machine and its software."""
    facts = collect_environment([])
    packages = ("torch", "torchvision", "timm", "monai", "numpy", "scikit-learn", "pillow")
    return {
        "processor": facts["cpu"],
        "memory_gib": facts["system"]["memory_gib"],
        "system": platform.system(),
        "python": facts["python"]["version"],
        "packages": {name: _version(name) for name in packages},
        "rivals": _rival_versions(),
    }


@contextmanager
def workplace() -> Iterator[Path]:
    """Give a folder for data and runs, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench_data_") as name:
        yield Path(name)


def tell(text: str) -> None:
    print(text, flush=True)


class _Peak:
    """Watches the memory of a process and its children."""

    def __init__(self, pid: int) -> None:
        self.mib = 0.0
        self._pid, self._is_over = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(POLL_SECONDS):
            self.mib = max(self.mib, _tree_mib(self._pid))


def _tree_mib(pid: int) -> float:
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total = 0
    for member in family:
        try:
            total += _private_and_anonymous(member.pid)
        except (psutil.Error, OSError):
            continue
    return total / 1024


def _private_and_anonymous(pid: int) -> int:
    """Return the KiB of a process that belong to it: its share of anonymous memory.

    Pages of mapped files can be taken away by the system at any time, whoever maps them.
    """
    kib = {"Pss_Anon": 0, "Pss_Shmem": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in kib:
            kib[name] = int(rest.split()[0])
    return sum(kib.values())


def _rival_versions() -> Mapping[str, str]:
    pins = (ROOT / "benchmarks" / "rivals.txt").read_text().splitlines()
    pairs = [line.split("==") for line in pins if "==" in line]
    names = {"captum", "fastai", "grad-cam", "pytorch-ignite", "ultralytics"}
    return {name: pin for name, pin in pairs if name in names}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _relative(argument: str) -> str:
    try:
        return str(Path(argument).resolve().relative_to(ROOT))
    except ValueError:
        # A folder elsewhere is nobody's business; its name says which data it was.
        return Path(argument).name
