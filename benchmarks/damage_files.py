"""Flip bits in a run's files, put foreign files in their place, and count how each command ends.

    python benchmarks/damage_files.py [--num-flips 600] [--num-files 600] [--num-cache 100]

A small run is made of phantoms. Flips are shared between best.pt (then `predict`) and last.pt
(then `train --resume`), foreign files also go to `train --weights`. Each command ends in one of

    refused    one sentence and exit code 2, with no advice to load the file regardless
    harmless   exit code 0, and what the file contains is the same to the bit
    repaired   exit code 0, the same results, and the log says what was made again (the cache)
    SILENT     exit code 0 with anything else
    TRACEBACK  anything else: an exception, another exit code, more than one line

and the exit code of this program is 1 if one of the last two was seen.
"""

import argparse
import io
import json
import pickle
import random
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as save_safetensors

from medimg_baseline_cls import run
from medimg_baseline_cls.cli import main as run_command
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.utils.runs import write_status

SETTINGS = {
    "arch": "test_resnet",
    "image_size": 64,
    "batch_size": 16,
    "pretrained": False,
    "head_epochs": 1,
    "finetune_epochs": 2,
    "num_resamples": 50,
    "device": "cpu",
}
OUTCOMES = ("refused", "harmless", "repaired", "SILENT", "TRACEBACK")


class Bench:
    """A finished run, and one copy of it that is damaged again and again."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "phantoms"
        write_phantoms(self.data, num_train=48, num_test=24, image_size=64, seed=3)
        config = Config(data_dir=self.data, output_dir=folder / "outputs", **SETTINGS)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            self.whole = run(config).run_dir
        self.copy, self.folder = folder / "outputs" / "runs" / "copy", folder
        self.images = [str(path) for path in sorted((self.data / "test").rglob("*.png"))]
        self.restore()
        status, said = call("predict", str(self.copy), *self.images, "--output", str(self.table))
        assert status == 0, said
        self.expected = self.table.read_bytes()

    @property
    def table(self) -> Path:
        return self.folder / "new.csv"

    def restore(self) -> None:
        """Bring the copy to the state of the whole run."""
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.whole, self.copy)

    def predict(self) -> tuple[str, bool]:
        """Predict by the copy; return how it ended and whether the results are the same."""
        self.table.unlink(missing_ok=True)
        status, said = call("predict", str(self.copy), *self.images, "--output", str(self.table))
        same = self.table.is_file() and self.table.read_bytes() == self.expected
        return judge(status, said), same

    def resume(self) -> tuple[str, bool]:
        """Resume the copy, which has no epoch to go; return the same as `predict`."""
        write_status(self.copy, "interrupted")
        status, said = call("train", "--resume", str(self.copy))
        names = ("best.pt", "best_head.pt", "history.csv")
        same = all((self.copy / n).read_bytes() == (self.whole / n).read_bytes() for n in names)
        return judge(status, said), same

    def train(self, weights: Path) -> tuple[str, bool]:
        """Train from a weights file; none is expected to be taken."""
        flags = ["--data-dir", str(self.data), "--output-dir", str(self.folder / "new")]
        flags += ["--arch", "test_resnet", "--image-size", "64", "--weights", str(weights)]
        return judge(*call("train", *flags, "--head-epochs", "1", "--finetune-epochs", "0")), False


def main() -> None:
    """Print the counts of every kind of damage, and what was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-flips", type=int, default=600)
    parser.add_argument("--num-files", type=int, default=600)
    parser.add_argument("--num-cache", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        draw = random.Random(options.seed)
        flips, files = options.num_flips // 2, options.num_files // 3
        counts = {
            "bit flips in best.pt": count(flip_checkpoint(bench, "best.pt", draw), flips),
            "bit flips in last.pt": count(flip_checkpoint(bench, "last.pt", draw), flips),
            "foreign --weights": count(put_weights(bench, draw), files),
            "foreign best.pt": count(put_checkpoint(bench, "best.pt", draw), files),
            "foreign last.pt": count(put_checkpoint(bench, "last.pt", draw), files),
            "bit flips in the cache": count(flip_cache(bench, draw), options.num_cache),
        }
    print(f"{'':24}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES))
    for kind, found in counts.items():
        print(f"{kind:24}" + "".join(f"{found[outcome]:10}" for outcome in OUTCOMES))
    sys.exit(any(found["SILENT"] + found["TRACEBACK"] for found in counts.values()))


def count(trials: Iterator[tuple[str, str]], number: int) -> Counter[str]:
    """Return how often each outcome was seen; say every one that must not be."""
    found: Counter[str] = Counter()
    for _, (outcome, what) in zip(range(number), trials, strict=False):
        if outcome.isupper():
            print(f"{outcome}: {what}", flush=True)
        found[outcome] += 1
    return found


def flip_checkpoint(bench: Bench, name: str, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Flip one bit after the other in a checkpoint."""
    whole = (bench.whole / name).read_bytes()
    content = torch.load(bench.whole / name, weights_only=True)
    while True:
        data = bytearray(whole)
        at, bit = draw.randrange(len(data)), draw.randrange(8)
        data[at] ^= 1 << bit
        bench.restore()
        (bench.copy / name).write_bytes(data)
        outcome, same = bench.predict() if name == "best.pt" else bench.resume()
        if outcome == "done":
            outcome = "harmless" if same and is_same(read(data), content) else "SILENT"
        yield outcome, f"bit {bit} of byte {at} of {name}"


def put_checkpoint(bench: Bench, name: str, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Put one foreign file after the other in the place of a checkpoint."""
    for kind, data in foreign_files(bench, draw):
        bench.restore()
        place(bench.copy / name, data)
        outcome, _ = bench.predict() if name == "best.pt" else bench.resume()
        yield ("SILENT" if outcome == "done" else outcome), f"{kind} as {name}"


def put_weights(bench: Bench, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Pass one foreign file after the other as weights, under changing suffixes."""
    for kind, data in foreign_files(bench, draw):
        path = bench.folder / f"w{draw.choice(('.pth', '.pt', '.bin', '.safetensors', ''))}"
        place(path, data)
        outcome, _ = bench.train(path)
        yield ("SILENT" if outcome == "done" else outcome), f"{kind} as weights"
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def flip_cache(bench: Bench, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Flip one bit after the other in the arrays of the pixel cache that predict uses."""
    bench.restore()
    files = [p for p in sorted(bench.folder.rglob("cache/*px-*/*")) if p.is_file()]
    whole = {path: path.read_bytes() for path in files}
    while True:
        path = draw.choice(files)
        data = bytearray(whole[path])
        at = draw.randrange(len(data))
        data[at] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        outcome, same = bench.predict()
        if outcome == "done":
            is_used = path.read_bytes() != bytes(data)  # another data set's array is left alone
            said = "is damaged" in (bench.copy / "log.txt").read_text()
            outcome = "SILENT" if not same or (is_used and not said) else "repaired"
        yield outcome, f"byte {at} of {path.name}"
        path.write_bytes(whole[path])
        bench.restore()


def foreign_files(bench: Bench, draw: random.Random) -> Iterator[tuple[str, bytes | None]]:
    """Yield the name and the bytes of file after file that is no checkpoint; None is a folder."""
    makers = list(FOREIGN.items())
    best = (bench.whole / "best.pt").read_bytes()
    while True:
        for kind, make in makers:
            yield kind, make(draw, best)


def torch_file(content: Any, **settings: Any) -> bytes:
    """Return what `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **settings)
    return buffer.getvalue()


def zip_file(**files: bytes) -> bytes:
    """Return a zip archive that nothing is packed in."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "/", 1).replace("_", "."), data)
    return buffer.getvalue()


def image_file(draw: random.Random) -> bytes:
    """Return a picture."""
    buffer = io.BytesIO()
    Image.new("L", (draw.randrange(1, 99), 8)).save(buffer, draw.choice(("PNG", "JPEG", "TIFF")))
    return buffer.getvalue()


def numpy_file(draw: random.Random) -> bytes:
    """Return an array of NumPy, or several."""
    buffer = io.BytesIO()
    array = np.zeros(draw.randrange(9))
    np.save(buffer, array) if draw.random() < 0.5 else np.savez(buffer, w=array)
    return buffer.getvalue()


class Hostile:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code of a file was run')",)


def noise(draw: random.Random) -> bytes:
    """Return up to 5,000 random bytes."""
    return draw.randbytes(draw.randrange(1, 5000))


def overwrite(draw: random.Random, data: bytes) -> bytes:
    """Return bytes with a stretch of noise in them."""
    at, patch = draw.randrange(len(data)), draw.randbytes(draw.randrange(16, 600))
    return data[:at] + patch + data[at + len(patch) :]


def odd_value(draw: random.Random) -> Any:
    """Return something that `torch.save` takes and that is no state dict of ours."""
    tensor = torch.rand(draw.randrange(1, 5), 3)
    plain = [tensor, [tensor], None, 3, "text", {}, torch.tensor(float("nan"))]
    tables = [{"a": tensor}, {1: tensor}, {"model": tensor}, {"model": {"w": tensor}}]
    marked = [{"format": 1}, {"format": tensor}, {"format": 1, "model": {"w": 1}}]
    parts = {"settings": {}, "model": {}, "optimizer": {}, "average": {}}
    hollow = {"format": 1, "progress": [{}], **parts}
    return draw.choice([*plain, *tables, *marked, hollow])


FOREIGN: dict[str, Callable[[random.Random, bytes], bytes | None]] = {
    "a folder": lambda _, __: None,
    "an empty file": lambda _, __: b"",
    "noise": lambda draw, _: noise(draw),
    "noise behind PK": lambda draw, _: b"PK\x03\x04" + noise(draw),
    "noise behind a pickle's start": lambda draw, _: b"\x80\x02" + noise(draw),
    "noise as safetensors": lambda draw, _: draw.randbytes(8) + b"{" + noise(draw),
    "text": lambda draw, _: "".join(draw.choices('hello {}\n"0', k=99)).encode(),
    "JSON": lambda draw, _: json.dumps({"w": [draw.random()]}).encode(),
    "a picture": lambda draw, _: image_file(draw),
    "arrays of NumPy": lambda draw, _: numpy_file(draw),
    "an archive": lambda draw, _: zip_file(a_txt=noise(draw)),
    "an archive with data.pkl": lambda draw, _: zip_file(a_data_pkl=noise(draw)),
    "a pickle": lambda draw, _: pickle.dumps({"w": [draw.random()]}, draw.randrange(6)),
    "a pickle of code": lambda draw, _: pickle.dumps(Hostile(), draw.randrange(2, 6)),
    "a file of torch with code": lambda draw, _: torch_file({"model": Hostile()}),
    "a module": lambda draw, _: torch_file(torch.nn.Linear(draw.randrange(1, 5), 2)),
    "other values of torch": lambda draw, _: torch_file(odd_value(draw)),
    "an old file of torch": lambda draw, _: torch_file(
        odd_value(draw), _use_new_zipfile_serialization=False
    ),
    "safetensors": lambda draw, _: save_safetensors({"w": torch.rand(draw.randrange(1, 9))}),
    "a checkpoint cut off": lambda draw, best: best[: draw.randrange(len(best))],
    "a checkpoint without its start": lambda draw, best: best[draw.randrange(1, len(best)) :],
    "a checkpoint with noise in it": overwrite,
    "a checkpoint written twice": lambda draw, best: best[: draw.randrange(1, 999)] + best,
}


def place(path: Path, data: bytes | None) -> None:
    """Write a file, or make a folder, where something else may be."""
    path.unlink(missing_ok=True)
    path.mkdir() if data is None else path.write_bytes(data)


def call(*arguments: str) -> tuple[int | str, str]:
    """Return exit code and output of a command; for an exception its name instead of the code."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), warnings.catch_warnings():
        warnings.simplefilter("error")  # a stray warning on the terminal counts as well
        try:
            status: int | str = run_command(list(arguments))
        except SystemExit as error:
            status = f"SystemExit({error.code})"
        except BaseException as error:
            status = f"{type(error).__name__}: {error}"
    return status, said.getvalue()


def judge(status: int | str, said: str) -> str:
    """Return "done", "refused" or "TRACEBACK"."""
    if status == 0:
        return "done"
    last = said.strip().rpartition("\n")[2]
    is_plain = last.startswith("medimg: ") and "Traceback" not in said
    return "refused" if status == 2 and is_plain and "weights_only" not in said else "TRACEBACK"


def read(data: bytes) -> Any:
    """Return what torch reads from a checkpoint."""
    return torch.load(io.BytesIO(data), weights_only=True)


def is_same(found: Any, expected: Any) -> bool:
    """Return whether two contents of checkpoints are the same to the bit."""
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(is_same(found[k], expected[k]) for k in found)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(is_same, found, expected))
    return type(found) is type(expected) and found == expected


if __name__ == "__main__":
    main()
