"""Run on disks that are too small, then make room and complete the runs.

Each size is a tmpfs of its own. In every second case the whole run is on a small disk, of a few
pages to a little more than the run leaves behind; in the others the disk fills up after training,
which needs more than what follows. `medimg run` must either be done, or end with exit code 2 and
one sentence that says that the disk is full. What is left must be readable. Then the disk grows,
and the command that the sentence names must complete the run: with the results of a run on a large
disk, bit for bit, one row in the log of TEST, and nothing else in the folder. The program believes
that there is room at first, as where another one fills the disk later.

    sudo python benchmarks/damage_disk.py [--sizes 21] [--seed 0] [--json FILE]

It mounts file systems, so it needs Linux and root. The images are noise.
"""

import argparse
import json
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from damage_runs import Child, Damage, describe_state, has_settings, load_libraries

PAGE = 4096
SMALLEST = 16 * PAGE
LARGE = 1 << 30


def believe_in_room() -> None:
    """Let the estimate before a run find a large disk, so that it is begun on a small one."""
    from medimg_baseline_cls.utils import space

    space.shutil = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(total=LARGE, free=LARGE))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, default=21, help="disks that are tried")
    parser.add_argument("--seed", type=int, default=0, help="of the shares")
    parser.add_argument("--json", type=Path, help="file for the counts")
    options = parser.parse_args(argv)
    load_libraries()
    believe_in_room()
    with tempfile.TemporaryDirectory(prefix="medimg-disk-") as name:
        damage = Damage(Path(name), random.Random(options.seed))
        draw = random.Random(options.seed)
        for number in range(options.sizes):
            share = (number + draw.random()) / options.sizes
            fill_one(damage, share, is_trained=number % 2 == 1)
    return damage.report(options.json)


def fill_one(damage: Damage, share: float, *, is_trained: bool) -> None:
    """Run on a disk with a share of the room that is needed, and complete the run with more."""
    with small_disk(damage.work / "disk", LARGE) as disk:
        output_dir = disk / "out"
        command = damage.run_command(output_dir)
        resume = ["run", "--resume", "--output-dir", str(output_dir)]
        if is_trained:
            damage.expect(Child(["train", *command[1:]]), 0, "trained on a large disk")
            command = resume
        used = max(SMALLEST, size_of(disk))
        needed = size_of(damage.work / "whole") - used
        resize(disk, used + int(1.05 * share * needed))
        child = Child(command)
        damage.look_for_tracebacks(child)
        where = "done" if child.code == 0 else f"full {describe_state(output_dir)}"
        damage.counts[where] += 1
        name = f"{share:.2f} of what is needed, {where}"
        is_told = child.code == 2 and "the disk is full" in child.said.splitlines()[-1]
        damage.tell(is_told or child.code == 0, "told or done", f"{name}: {child.said}")
        unreadable = list(find_unreadable(output_dir))
        damage.tell(not unreadable, "readable", f"{name}: {unreadable}")
        resize(disk, LARGE)
        if child.code == 0:
            damage.check(name, output_dir)
            return
        is_named = "run --resume" in child.said.splitlines()[-1]
        is_begun = has_settings(output_dir)
        damage.tell(is_named == is_begun, "told how to go on", f"{name}: {child.said}")
        damage.expect(Child(resume if is_begun else command), 0, "completed by one command")
        damage.check(name, output_dir)


def find_unreadable(output_dir: Path) -> Iterator[Path]:
    """Yield each file that is not whole: checkpoints, JSON, and tables that end within a line."""
    import torch

    for path in (p for p in output_dir.rglob("*") if p.is_file() and not p.name.startswith(".")):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".pt":
                torch.load(path, weights_only=True)
            elif path.suffix == ".csv" and not path.read_bytes().endswith(b"\n"):
                yield path
        except Exception:
            yield path


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a file system of so many bytes for the block."""
    folder.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def resize(folder: Path, size: int) -> None:
    mount("-o", f"remount,size={size}", str(folder))


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mount {' '.join(words)}: {done.stderr.strip()}; this needs root.")


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder, in whole pages."""
    sizes = (path.lstat().st_size for path in folder.rglob("*"))
    return sum(-(-size // PAGE) * PAGE for size in sizes)


if __name__ == "__main__":
    raise SystemExit(main())
