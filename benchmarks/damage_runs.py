"""Kill runs at random moments and complete them; evaluate one run several times at once.

Each `medimg run` is killed by SIGKILL, half of them at a random moment and half at a random write
(before the n-th file is opened, renamed or made), and every fourth is killed once more while it is
resumed. Then one command, `medimg run --resume`, must complete it: with the results of an
uninterrupted run, bit for bit, one row in the log of TEST, and no temporary file left. A run that
was killed before its settings were written must say so, and is started again.

    python benchmarks/damage_runs.py [--kills 96] [--evaluations 7] [--seed 0] [--json FILE]

The images are noise, and the libraries are imported once: each run is a forked process.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SETTINGS = (
    "--image-size 64 --arch test_resnet --no-pretrained --head-epochs 1 --finetune-epochs 2 "
    "--num-resamples 50 --batch-size 8 --device cpu --precision fp32 --num-workers 0 "
    "--group-regex none --num-hard-examples 2"
).split()
# What differs between two uninterrupted runs too: times, places, and pages that show them.
NOT_COMPARED = frozenset(
    "log.txt timings.csv env_report.json config.json test_log.csv report.html model_card.md "
    "checklist.md training.csv training.tex".split()
)
LITTER = re.compile(r"\..*\.tmp|\..*\.waiting|\.building-.*|\.lock")
UNSTARTED = ("no unfinished run", "before its settings were written")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=96, help="runs that are killed")
    parser.add_argument("--evaluations", type=int, default=7, help="evaluations at once")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, help="file for the counts")
    options = parser.parse_args(argv)
    load_libraries()
    with tempfile.TemporaryDirectory(prefix="medimg-damage-") as name:
        damage = Damage(Path(name), random.Random(options.seed))
        for number in range(options.kills):
            damage.kill_one(number, of=options.kills)
        if options.evaluations:
            damage.evaluate_at_once(options.evaluations)
    return damage.report(options.json)


class Damage:
    """The runs, what became of them, and what should not have."""

    def __init__(self, work: Path, random_numbers: random.Random) -> None:
        self.work = work
        self.random = random_numbers
        self.counts: Counter[str] = Counter()
        self.mistakes: list[str] = []
        self.data = write_images(work / "data")
        start = time.monotonic()
        whole = work / "whole"
        child = Child(self.run_command(whole), counting=whole)
        self.expect(child, 0, "an uninterrupted run")
        self.seconds = time.monotonic() - start
        self.num_writes = child.num_writes()
        self.results = read_results(only_run(whole))
        self.files = list_files(whole)

    def run_command(self, output_dir: Path) -> list[str]:
        return ["run", "--data-dir", str(self.data), *SETTINGS, "--output-dir", str(output_dir)]

    def kill_one(self, number: int, *, of: int) -> None:
        output_dir = self.work / f"out{number}"
        commands = [self.run_command(output_dir)]
        resume = ["run", "--resume", "--output-dir", str(output_dir)]
        commands += [resume] if number % 4 == 3 else []
        for command in commands:
            share = (number + self.draw()) / of
            self.kill(command, output_dir, by_time=number % 2 == 0, share=share)
        self.counts["killed: " + describe_state(output_dir)] += 1
        child = Child(resume)
        is_unstarted = child.code == 2 and any(words in child.said for words in UNSTARTED)
        if is_unstarted and not has_settings(output_dir):
            self.counts["told that nothing was begun, and started again"] += 1
            for run in (output_dir / "runs").glob("*"):
                self.check_named(run)
                shutil.rmtree(run)
            child, is_unstarted = Child(self.run_command(output_dir)), False
        if not is_unstarted:  # else: killed after its end
            self.expect(child, 0, "completed by one command")
        self.check(f"run {number}", output_dir)
        shutil.rmtree(output_dir)

    def draw(self) -> float:
        return self.random.random()

    def kill(self, command: list[str], output_dir: Path, *, by_time: bool, share: float) -> None:
        """Run a command until its moment has come."""
        share = share if command[1] != "--resume" else self.draw()
        if by_time:
            child = Child(command, seconds=share * self.seconds * 1.05)
        else:
            child = Child(command, counting=output_dir, die_at=int(share * self.num_writes))
        self.counts["SIGKILL" if child.code == -signal.SIGKILL else "ended before its SIGKILL"] += 1
        self.look_for_tracebacks(child)

    def check(self, name: str, output_dir: Path) -> None:
        """Compare a run with the uninterrupted one; `name` is for what is wrong."""
        run = only_run(output_dir)
        results = read_results(run)
        differing = sorted(
            file
            for file in {*results, *self.results}
            if results.get(file) != self.results.get(file)
        )
        rows = (run / "test_log.csv").read_text().count("\n") - 1
        litter = [file for file in list_files(output_dir) if LITTER.fullmatch(Path(file).name)]
        extra = sorted(set(map(nameless, list_files(output_dir))) ^ set(map(nameless, self.files)))
        self.tell(not differing, "results identical", f"{name}: other results: {differing}")
        self.tell(rows == 1, "one row in the log of TEST", f"{name}: {rows} rows")
        self.tell(not litter, "no litter", f"{name}: litter: {litter}")
        self.tell(not extra, "the same files", f"{name}: other files: {extra[:5]}")

    def check_named(self, run: Path) -> None:
        """A run that was killed too early says so, if it is named."""
        child = Child(["run", "--resume", str(run)])
        is_told = child.code == 2 and "before its settings were written" in child.said
        self.tell(is_told or run.is_symlink(), "told too early", f"{run.name}: {child.said}")

    def evaluate_at_once(self, count: int) -> None:
        output_dir = self.work / "at_once"
        self.expect(Child(["train", *self.run_command(output_dir)[1:]]), 0, "training")
        run = only_run(output_dir)
        gate = os.pipe()
        children = [Child(["evaluate", str(run)], gate=gate, wait=False) for _ in range(count)]
        os.close(gate[0])
        os.close(gate[1])
        codes = Counter(child.wait() for child in children)
        for child in children:
            self.look_for_tracebacks(child)
            is_named = "is being written by process" in child.said
            self.tell(child.code == 0 or is_named, "evaluations answered", child.said)
        rows = (run / "test_log.csv").read_text().count("\n") - 1
        self.counts[f"of {count} evaluations at once: {codes[0]} done, {codes[2]} refused"] += 1
        self.tell(rows == codes[0] > 0, "as many rows as evaluations", f"{rows} rows, {codes}")
        self.expect(Child(["evaluate", str(run)]), 0, "evaluation afterwards")

    def expect(self, child: "Child", code: int, words: str) -> None:
        self.tell(child.code == code, words, f"code {child.code}: {child.said}")
        self.look_for_tracebacks(child)

    def look_for_tracebacks(self, child: "Child") -> None:
        self.tell("Traceback" not in child.said, "commands without a traceback", child.said)

    def report(self, target: Path | None) -> int:
        """Print what was counted, write it as JSON where that is wanted; return the exit code."""
        for line in self.mistakes:
            print("FAIL", line)
        for words, count in sorted(self.counts.items()):
            print(f"{count:5d}  {words}")
        if target:
            found = {"counts": self.counts, "mistakes": self.mistakes}
            target.write_text(json.dumps(found), encoding="utf-8")
        return 1 if self.mistakes else 0

    def tell(self, is_right: bool, words: str, mistake: str) -> None:
        if is_right:
            self.counts[words] += 1
        else:
            self.mistakes.append(f"{words}: {mistake}")


class Child:
    """A medimg command in a forked process, killed at its moment if it has one.

    Args:
        command: without "medimg".
        seconds: when to kill it.
        counting: the folder in which its writes are counted.
        die_at: the write at which it kills itself.
        gate: a pipe; it starts when the other end is closed.
        wait: whether to wait for its end.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        seconds: float | None = None,
        counting: Path | None = None,
        die_at: int | None = None,
        gate: tuple[int, int] | None = None,
        wait: bool = True,
    ) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._written = tempfile.TemporaryFile()  # noqa: SIM115
        sys.stdout.flush()
        self._pid = os.fork()
        if not self._pid:
            self._become(command, counting=counting, die_at=die_at, gate=gate)
        self.code = 0
        self.said = ""
        if seconds is not None:
            self._kill_after(seconds)
        if wait:
            self.wait()

    def wait(self) -> int:
        _, status = os.waitpid(self._pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        self._said.seek(0)
        self.said = self._said.read().decode(errors="replace")
        self._said.close()
        return self.code

    def num_writes(self) -> int:
        return os.fstat(self._written.fileno()).st_size

    def _kill_after(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                return
            time.sleep(0.002)
        os.kill(self._pid, signal.SIGKILL)

    def _become(
        self,
        command: Sequence[str],
        *,
        counting: Path | None,
        die_at: int | None,
        gate: tuple[int, int] | None,
    ) -> None:
        for number in (1, 2):
            os.dup2(self._said.fileno(), number)
        if counting is not None:
            sys.addaudithook(make_hook(counting, self._written.fileno(), die_at=die_at))
        if gate is not None:
            os.close(gate[1])
            os.read(gate[0], 1)
        from medimg_baseline_cls.cli import main as medimg

        code = 70
        try:
            code = medimg(list(command))
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def make_hook(
    folder: Path, counter_file: int, *, die_at: int | None
) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that counts what changes a folder, and kills its process in time."""
    counter = iter(range(10**9))
    prefix = str(folder)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        is_write = event in ("os.rename", "os.mkdir", "os.remove", "os.symlink", "shutil.rmtree")
        is_write |= event == "open" and bool((args[2] or 0) & (os.O_WRONLY | os.O_RDWR))
        if not is_write or not any(str(arg).startswith(prefix) for arg in args[:2]):
            return
        if next(counter) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if die_at is None:
            os.write(counter_file, b".")

    return hook


def load_libraries() -> None:
    """Import what every command needs, so that forked processes need not."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    from importlib import import_module

    for name in ("training", "evaluation", "explanation", "commands", "resuming"):
        import_module(f"medimg_baseline_cls.pipeline.{name}")
    import_module("medimg_baseline_cls.cli.commands")


def write_images(folder: Path) -> Path:
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for split, number in (("train", 20), ("test", 10)):
        for name in ("normal", "sick"):
            (folder / split / name).mkdir(parents=True)
            for i in range(number):
                pixels = generator.integers(0, 200, (64, 64)).astype("uint8")
                pixels += 30 * (name == "sick")
                Image.fromarray(pixels).save(folder / split / name / f"{name}{split}{i}.png")
    return folder


def only_run(output_dir: Path) -> Path:
    (run,) = (path for path in (output_dir / "runs").iterdir() if not path.is_symlink())
    return run


def has_settings(output_dir: Path) -> bool:
    return any((output_dir / "runs").glob("*/config.json"))


def describe_state(output_dir: Path) -> str:
    """Return in which stage the first run was when it died."""
    for name, words in (
        ("report.html", "after its end"),
        ("eval_summary.json", "in explanation or report"),
        ("thresholds.json", "in evaluation"),
        ("config.json", "in training"),
    ):
        if any((output_dir / "runs").glob(f"*/{name}")):
            return words
    return "before its settings were written"


def read_results(run: Path) -> dict[str, str]:
    """Return the sha256 of each file of a run that must be the same."""
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in NOT_COMPARED)
    return {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def list_files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*")]


def nameless(name: str) -> str:
    """Return a path without the time in the name of a run."""
    return re.sub(r"_\d{8}-\d{6}(-\d+)?", "", name)


if __name__ == "__main__":
    raise SystemExit(main())
