"""Describe the machine and the software of a run: the content of env_report.json.

It names no user and no host: home folders, user and host names are replaced in every text.
"""

import getpass
import importlib.metadata
import os
import platform
import re
import shlex
import socket
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medimg_baseline_cls.utils.plugins import describe_plugins

_DISTRIBUTION = "medimg-baseline-cls"
_TOLD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "WORLD_SIZE",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
)


def collect_environment(argv: Sequence[str]) -> dict[str, Any]:
    """Return everything about this machine and software that may change a result.

    Args:
        argv: the command line, such as `sys.argv`.

    Returns:
        Plain values: Python, packages, system, processor, GPUs, git revision, command line.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": hide_names(_command_line(argv)),
        "python": {"version": platform.python_version(), "kind": platform.python_implementation()},
        "packages": _package_versions(),
        **({"plugins": plugins} if (plugins := describe_plugins()) else {}),
        "git": _git_state(Path(__file__).resolve().parent),
        "system": {
            "platform": hide_names(platform.platform()),
            "machine": platform.machine(),
            "memory_gib": _memory_gib(),
        },
        "cpu": _processor(),
        "gpu": _gpus(),
        "variables": {
            name: hide_names(os.environ[name]) for name in _TOLD_VARIABLES if name in os.environ
        },
    }


def describe_code() -> tuple[str, str]:
    """Return the revision of the source tree ("" where unknown) and the package's version.

    A tree with changes that are not committed ends in "+changes".
    """
    state = _git_state(Path(__file__).resolve().parent)
    version = _version(_DISTRIBUTION) or ""
    if state is None or not state["revision"]:
        return "", version
    return f"{state['revision'][:12]}{'+changes' if state['is_modified'] else ''}", version


def hide_names(text: str) -> str:
    """Return a text without home folders, user name and host name.

    >>> hide_names("/home/jane/data/xray")
    '~/data/xray'
    """
    home = _home_folder()
    if len(home) > 1:
        text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text)
    text = re.sub(r"(?<![\w.~-])/(home|Users)/[^/\s'\":]+", "~", text)
    for name, word in ((_user_name(), "USER"), (socket.gethostname(), "HOST")):
        if name not in ("", "localhost"):
            # As a whole component only: a user called "data" must not mangle --data-dir.
            text = re.sub(rf"(?<![\w.=-]){re.escape(name)}(?=$|[/@:])", word, text)
    return text


def _command_line(argv: Sequence[str]) -> str:
    program, *rest = argv or ["medimg"]
    name = Path(program).name
    if name == "__main__.py":
        return shlex.join(["python", "-m", Path(program).parent.name, *rest])
    return shlex.join([name, *rest])


def _package_versions() -> dict[str, str | None]:
    """Return the versions of this package and of all that it directly needs."""
    try:
        needed = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        needed = ["torch", "timm", "monai", "numpy", "pillow", "accelerate"]
    plain = [text for text in needed if "extra ==" not in text]
    names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in plain]
    return {name: _version(name) for name in [_DISTRIBUTION, *sorted(names)]}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_state(folder: Path) -> dict[str, Any] | None:
    """Return the revision of the source tree, None if this file is not under version control."""
    # An installed copy may be inside a user's repository that does not track it.
    if _git(folder, "ls-files", "--error-unmatch", "env.py") is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"revision": _git(folder, "rev-parse", "HEAD"), "is_modified": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> dict[str, Any]:
    import torch

    from medimg_baseline_cls.utils.device import cpu_flags

    return {
        "model": _processor_model(),
        "flags": list(cpu_flags()),
        "num_cores": _num_cores(),
        "num_threads": torch.get_num_threads(),
    }


def _processor_model() -> str:
    table = Path("/proc/cpuinfo")
    if table.is_file():
        text = table.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _num_cores() -> int:
    """Return the cores that this process may use, not those that the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    return round(size / 2**30, 1)


def _gpus() -> dict[str, Any] | None:
    import torch

    if not torch.cuda.is_available():
        return None
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "driver": _gpu_driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "devices": [
            {"name": device.name, "memory_gib": round(device.total_memory / 2**30, 1)}
            for device in devices
        ],
    }


def _gpu_driver() -> str | None:
    table = Path("/proc/driver/nvidia/version")
    if not table.is_file():
        return None
    found = re.search(r"Module.*?\s(\d+(\.\d+)+)", table.read_text(encoding="utf-8"))
    return found[1] if found else None


def _home_folder() -> str:
    try:
        return str(Path.home())
    except RuntimeError:
        return ""  # a container may run under a number that has no home


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""  # and no name
