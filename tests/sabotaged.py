"""Run `medimg doctor` in environments that are broken on purpose: what it names, and how fast.

    python tests/sabotaged.py

Each environment is made of variables, files in a temporary folder, and a sitecustomize.py that
takes something away when Python starts; nothing outside that folder is changed, and no root is
needed or in the way.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Sabotage:
    """Variables, flags and files of an environment, made in an empty folder."""

    variables: dict[str, str | None] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def customized(folder: Path, text: str) -> Sabotage:
    write(folder / "shim" / "sitecustomize.py", text)
    return Sabotage({"PYTHONPATH": str(folder / "shim")})


def no_codec(folder: Path) -> Sabotage:
    text = "import PIL._imaging as core\nfor name in ('jpeg_decoder', 'jpeg_encoder'):\n"
    return customized(folder, f"{text}    delattr(core, name)\n")


def no_dicom_codec(folder: Path) -> Sabotage:
    text = "import sys\nfor name in ('gdcm', 'pylibjpeg', 'openjpeg', 'jpeg_ls'):\n"
    return customized(folder, f"{text}    sys.modules[name] = None\n")


def offline(folder: Path) -> Sabotage:
    return Sabotage({"HF_HUB_OFFLINE": "1"})


def no_answer(folder: Path) -> Sabotage:
    """A hub at an address that is kept for documentation, where nobody answers."""
    return Sabotage({"HF_ENDPOINT": "http://192.0.2.1"})


def blocked_cache(folder: Path) -> Sabotage:
    write(folder / "cache", "a file where a folder should be")
    return Sabotage(flags=["--cache-dir", str(folder / "cache")])


def read_only_cache(folder: Path) -> Sabotage:
    text = (
        "import tempfile\nold = tempfile.TemporaryFile\n"
        "def new(*args, dir=None, **more):\n"
        "    if str(dir).endswith('locked'):\n"
        "        raise OSError(30, 'Read-only file system')\n"
        "    return old(*args, dir=dir, **more)\ntempfile.TemporaryFile = new\n"
    )
    (folder / "locked").mkdir()
    made = customized(folder, text)
    return Sabotage(made.variables, ["--cache-dir", str(folder / "locked")])


def old_torch(folder: Path) -> Sabotage:
    text = "Metadata-Version: 2.1\nName: torch\nVersion: 1.13.1\n"
    write(folder / "shim" / "torch-1.13.1.dist-info" / "METADATA", text)
    return Sabotage({"PYTHONPATH": str(folder / "shim")})


def no_disk(folder: Path) -> Sabotage:
    text = (
        "import shutil\nusage = shutil._ntuple_diskusage(10**9, 10**9, 77)\n"
        "shutil.disk_usage = lambda path: usage\n"
    )
    return customized(folder, text)


def broken_torchvision(folder: Path) -> Sabotage:
    text = "raise RuntimeError('operator torchvision::nms does not exist')\n"
    write(folder / "shim" / "torchvision" / "__init__.py", text)
    return Sabotage({"PYTHONPATH": str(folder / "shim")})


def crashing_torchvision(folder: Path) -> Sabotage:
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    write(folder / "shim" / "torchvision" / "__init__.py", text)
    return Sabotage({"PYTHONPATH": str(folder / "shim")})


def wrong_locale(folder: Path) -> Sabotage:
    return Sabotage({"LANG": "C", "LC_ALL": None, "LC_CTYPE": None})


def ascii_only(folder: Path) -> Sabotage:
    return Sabotage({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})


def foreign_weights(folder: Path) -> Sabotage:
    place = folder / "hub" / "models--timm--resnet18.a1_in1k" / "snapshots" / ("0" * 40)
    write(place / "model.safetensors", "<!DOCTYPE html><html>Sign in</html>")
    return Sabotage({"HF_HUB_CACHE": str(folder / "hub")})


def foreign_file(folder: Path) -> Sabotage:
    import zipfile

    with zipfile.ZipFile(folder / "weights.pth", "w") as archive:
        archive.writestr("readme.txt", "no tensors")
    return Sabotage(flags=["--weights", str(folder / "weights.pth")])


def no_home(folder: Path) -> Sabotage:
    return Sabotage({"HOME": None})


def lost_home(folder: Path) -> Sabotage:
    return Sabotage({"HOME": str(folder / "gone")})


def one_thread(folder: Path) -> Sabotage:
    return Sabotage({"OMP_NUM_THREADS": "1"})


# What breaks, and the name of the line that has to say so.
SABOTAGES: tuple[tuple[Callable[[Path], Sabotage], str], ...] = (
    (no_codec, "codecs"),
    (no_dicom_codec, "dicom"),
    (offline, "hub"),
    (no_answer, "hub"),
    (blocked_cache, "cache"),
    (read_only_cache, "cache"),
    (old_torch, "torch"),
    (no_disk, "disk"),
    (broken_torchvision, "torchvision"),
    (crashing_torchvision, "torchvision"),
    (wrong_locale, "locale"),
    (ascii_only, "locale"),
    (foreign_weights, "weights"),
    (foreign_file, "weights"),
    (no_home, "home"),
    (lost_home, "home"),
    (one_thread, "threads"),
)


def environment(made: Sabotage, folder: Path) -> dict[str, str]:
    """Return the variables of this process, those of a sabotage in front."""
    given = dict(made.variables)
    paths = [given.pop("PYTHONPATH", None), os.environ.get("PYTHONPATH")]
    usual = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    usual.pop("OMP_NUM_THREADS", None)
    usual.setdefault("HF_HUB_CACHE", str(folder / "empty"))
    changed = {**usual, **{name: value for name, value in given.items() if value is not None}}
    return {name: value for name, value in changed.items() if given.get(name, "") is not None}


def main() -> None:
    sys.stdout.write(f"{'environment':<22}{'seconds':>8}{'code':>6}  named\n")
    for sabotage, line in SABOTAGES:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            made = sabotage(folder)
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "medimg_baseline_cls", "doctor", *made.flags],
                cwd=folder,
                env=environment(made, folder),
                capture_output=True,
                text=True,
                errors="replace",
            )
            seconds = time.monotonic() - start
        lines = [text.split(maxsplit=2) for text in done.stdout.splitlines()]
        named = [text for text in lines if len(text) == 3 and text[0] in ("warning", "error")]
        said = next((f"{a} {b}: {c}" for a, b, c in named if b == line), "NOT NAMED")
        row = f"{sabotage.__name__:<22}{seconds:>8.1f}{done.returncode:>6}  {said[:150]}\n"
        sys.stdout.write(row + done.stderr)


if __name__ == "__main__":
    main()
