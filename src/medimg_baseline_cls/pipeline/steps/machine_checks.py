"""What `medimg doctor` sees without any library: versions, disk, permissions, cores, locale, home.

Every check is a line with its verdict; what is not ok says what to do.
"""

import importlib.metadata
import locale
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg_baseline_cls import __version__
from medimg_baseline_cls.utils.faults import explain_fault
from medimg_baseline_cls.utils.quantities import format_bytes, say_count

Status = Literal["ok", "warning", "error"]

DISTRIBUTION = "medimg-baseline-cls"
_LEAST_PYTHON = (3, 11)
_SHOWN = ("torch", "torchvision", "timm", "monai", "numpy", "pillow")
_LEAST_FREE, _USUAL_FREE = 1 << 30, 5 << 30
_BOUND = re.compile(r"([A-Za-z0-9][\w.-]*)\s*>=\s*([\w.]+)")
_LOCALE_VARIABLES = ("LC_ALL", "LC_CTYPE", "LANG")


@dataclass(frozen=True, slots=True)
class Check:
    """A line of `medimg doctor`.

    Attributes:
        name: what was looked at.
        status: "ok", "warning", or "error" where medimg will not work.
        found: what is there.
        advice: what to do, one sentence; "" where nothing is to be done.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def check_python() -> Check:
    """Check the version of Python."""
    needed = ".".join(map(str, _LEAST_PYTHON))
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < _LEAST_PYTHON:
        return Check("python", "error", found, f"Install Python {needed} or later.")
    return Check("python", "ok", found)


def check_versions() -> list[Check]:
    """Check the installed packages against the lower bounds of this package, without loading any.

    One line for all that fit, and one for each that does not.
    """
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    bounds = dict(found for text in requirements if (found := _read_bound(text)))
    found = {name: _find_version(name) for name in {*bounds, *_SHOWN}}
    shown = ", ".join(f"{name} {found[name]}" for name in _SHOWN if found[name])
    summary = f"medimg {__version__}, {shown}"
    if not bounds:
        advice = "Install it with pip, so that the versions that it needs are known."
        lines = [Check("versions", "warning", f"{summary}; medimg is not installed", advice)]
    else:
        lines = [Check("versions", "ok", summary)]
    for name, bound in sorted(bounds.items()):
        version = found[name]
        if version is not None and _to_numbers(version) >= _to_numbers(bound):
            continue
        what = "not installed" if version is None else f"{version} is too old"
        command = f"pip install -U '{name}>={bound}'"
        lines.append(Check(name, "error", f"{what}; {bound} or later is needed", f"{command}."))
    return lines


def check_loaded(versions: Mapping[str, str]) -> list[Check]:
    """Compare the versions of libraries that were loaded with those that pip lists."""
    lines: list[Check] = []
    for name, loaded in versions.items():
        listed = _find_version({"PIL": "pillow"}.get(name, name))
        if loaded and listed and _to_numbers(loaded) != _to_numbers(listed):
            found = f"{loaded} is loaded, but {listed} is installed"
            advice = f"Two copies are mixed: pip install --force-reinstall {name}."
            lines.append(Check(name, "warning", found, advice))
    return lines


def check_disk(place: Path) -> Check:
    """Check the free space where results will be written."""
    folder = find_existing(place)
    try:
        disk = shutil.disk_usage(folder)
    except OSError as error:
        return Check("disk", "warning", f"unknown ({error.strerror})", f"Check {folder}.")
    found = f"{format_bytes(disk.free)} free of {format_bytes(disk.total)} for {place}"
    advice = "Free some space, or choose another place with --output-dir and --cache-dir."
    if not disk.total or disk.free >= _USUAL_FREE:  # some network drives have no size
        return Check("disk", "ok", found)
    return Check("disk", "warning" if disk.free >= _LEAST_FREE else "error", found, advice)


def check_writable(name: str, place: Path, *, flag: str, more: str = "") -> Check:
    """Check that files can be written in a folder, or that it can be made; nothing stays.

    Args:
        name: of the line.
        place: the folder.
        flag: chooses another one.
        more: what else is known of it.
    """
    folder = find_existing(place)
    try:
        if not folder.is_dir():
            raise NotADirectoryError(20, "not a folder")
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        found, _, advice = str(explain_fault(error, place)).rpartition(": ")
        return Check(name, "error", found, f"{advice.capitalize()} ({flag}).")
    return Check(name, "ok", f"{place} {more or 'can be written'}")


def describe_cache(place: Path) -> str:
    """Return the size of the image cache and the number of its arrays."""
    arrays = [path for path in place.glob("*px-*") if path.is_dir()]
    sizes = [file.stat().st_size for array in arrays for file in array.iterdir() if file.is_file()]
    return f"has {say_count(len(arrays), 'arrays')}, {format_bytes(sum(sizes))}"


def check_threads(num_threads: int | None) -> Check:
    """Check that the threads of torch are as many as the cores that this process may use.

    Args:
        num_threads: of torch; None where it cannot be loaded.
    """
    cores, limit = count_cores(), read_cpu_limit()
    usable = min(cores, max(1, round(limit))) if limit else cores
    setting = os.environ.get("OMP_NUM_THREADS")
    reason = f" (OMP_NUM_THREADS={setting})" if setting else ""
    if num_threads is None:
        num_threads = int(setting) if setting and setting.isdecimal() else usable
    container = f", {limit:g} by the limit of the container" if limit and limit < cores else ""
    found = f"{say_count(num_threads, 'threads')}{reason}, {say_count(cores, 'cores')}{container}"
    if num_threads < usable:
        change = "Unset OMP_NUM_THREADS" if setting else "Check the CPU affinity"
        return Check("threads", "warning", found, f"{change}, or set OMP_NUM_THREADS={usable}.")
    if num_threads > usable:
        advice = f"Set OMP_NUM_THREADS={usable}: more threads than cores wait for each other."
        return Check("threads", "warning", found, advice)
    return Check("threads", "ok", found)


def count_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_cpu_limit(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the processors that the container may use, by its time limit; None without one."""
    try:
        if (root / "cpu.max").is_file():
            quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((root / "cpu" / n).read_text(encoding="ascii") for n in names)
        share = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None  # "max" among others
    return share if share > 0 else None


def check_locale() -> Check:
    """Check that names with any letters can be read and shown."""
    names = [name for name in _LOCALE_VARIABLES if os.environ.get(name)]
    # Python itself sets LC_CTYPE where it finds the locale C.
    names = [n for n in names if (n, os.environ[n]) != ("LC_CTYPE", "C.UTF-8")] or names
    setting = f"{names[0]}={os.environ[names[0]]}" if names else "no LANG"
    encodings = {
        "file names": sys.getfilesystemencoding(),
        "files": locale.getpreferredencoding(False),
        "the screen": getattr(sys.stdout, "encoding", None) or "utf-8",
    }
    odd = {what: name for what, name in encodings.items() if not _is_utf8(name)}
    advice = "Set LANG=C.UTF-8 (export LANG=C.UTF-8 LC_ALL=), or PYTHONUTF8=1."
    if odd:
        parts = ", ".join(f"{name} for {what}" for what, name in odd.items())
        return Check("locale", "warning", f"{setting}: Python uses {parts}, not UTF-8", advice)
    if names and "UTF" not in setting.upper():
        found = f"{setting}: Python uses UTF-8 all the same, other programs do not"
        return Check("locale", "warning", found, advice)
    return Check("locale", "ok", f"UTF-8 ({setting})")


def check_home() -> Check:
    """Check the home folder, where libraries keep weights and settings."""
    setting = os.environ.get("HOME" if os.name != "nt" else "USERPROFILE")
    advice = "Set HOME to a folder that you may write, or HF_HOME and MPLCONFIGDIR."
    try:
        home = Path.home()
    except RuntimeError:
        return Check("home", "error", "there is no home folder", advice)
    if not home.is_dir():
        return Check("home", "error", f"{home} is not a folder", advice)
    written = check_writable("home", home, flag="HOME")
    if written.status != "ok":
        return Check("home", "error", written.found, advice)
    if not setting:
        found = f"HOME is not set; {home} of the user's account is used"
        return Check("home", "warning", found, advice)
    return Check("home", "ok", str(home))


def find_existing(place: Path) -> Path:
    """Return a place, or the nearest one above it that exists."""
    absolute = place.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.exists())


def _read_bound(requirement: str) -> tuple[str, str] | None:
    found = _BOUND.match(requirement)
    return (found[1], found[2]) if found and "extra ==" not in requirement else None


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except Exception:  # metadata that are damaged raise anything
        return None


def _to_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without zeros at its end.

    >>> _to_numbers("2.10.0+cu132"), _to_numbers("13.0rc1") < _to_numbers("13.1")
    ((2, 10), True)
    """
    numbers = [int(text) for text in re.findall(r"\d+", re.split(r"[+a-z]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "").replace("_", "") in ("utf8", "cp65001")
