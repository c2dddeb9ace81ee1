"""One writer per folder: a lock that ends with its process, however that dies.

FOLDER/.lock is locked with flock and names its holder: host, process, command. Where flock works
across hosts it alone decides. Some network file systems keep it local, and some have none: there
the holder's name decides, and a holder on another host is alive while it renews the file's time.
A second writer is refused with one sentence that names the first.
"""

import errno
import json
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.utils.log import SILENT, RunLog
from medimg_baseline_cls.utils.visible import quote_words

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_NAME = ".lock"
BEAT_SECONDS = 5.0
SILENT_SECONDS = 30.0  # a holder on another host that has not renewed the file for so long is dead
_PROCESS = re.compile(r"[0-9]{1,19}:[0-9]*")
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class Holder:
    """The owner of a lock; `process` is its number and start time, "" if not written yet."""

    host: str
    process: str
    command: str

    def __str__(self) -> str:
        number = self.process.partition(":")[0]
        if not number:
            return "another process"
        place = "" if self.is_here else f" on {self.host}"
        return f"process {number}{place} ({self.command})"

    @property
    def is_here(self) -> bool:
        """Return whether it is a process of this host, as far as names tell."""
        return self.host == socket.gethostname()


@dataclass(frozen=True, slots=True)
class _Held:
    """A lock of this process: the open file, and what ends its renewal."""

    folder: Path
    handle: int
    is_over: threading.Event


_UNKNOWN = Holder("", "", "")
_held: dict[tuple[int, Path], _Held] = {}


@contextmanager
def hold_folder(
    folder: Path,
    *,
    command: str,
    resume: str = "medimg run --resume",
    log: RunLog = SILENT,
) -> Generator[None, None, None]:
    """Be the only writer of a folder while the block runs; a thread that is already may again.

    Args:
        folder: must exist.
        command: the owner of the lock, for the message of a refusal.
        resume: the command that completes the folder later, without its name.
        log: is told where locks do not work, and where a dead holder is waited for.

    Raises:
        RunError: another process, or another thread, is the writer; or the folder is read-only.
    """
    key = threading.get_ident(), folder.resolve()
    if key in _held:
        yield
        return
    own = Holder(socket.gethostname(), _own_mark(), command)
    try:
        handle = _take(folder / LOCK_NAME, own, log=log)
    except _HeldByOtherError as other:
        raise RunError(
            f"{folder} is being written by {other}: wait until that has ended, or stop it; "
            f"`{resume} {quote_words(str(folder))}` then does whatever is still missing."
        ) from None
    except OSError as error:
        advice = "make it writable, or copy the folder to where it is"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "free some space"
        raise RunError(
            f"{folder} cannot be written to ({error.strerror}), which {command} needs: {advice}."
        ) from error
    _held[key] = held = _Held(folder, handle, threading.Event())
    threading.Thread(target=_renew, args=(held,), daemon=True).start()
    try:
        yield
    finally:
        _release(key)


def find_holder(folder: Path) -> Holder | None:
    """Return the owner of a folder's lock, by its lock file; the lock itself is not touched."""
    holder = _read_holder(folder / LOCK_NAME)
    if holder is None:
        return None
    if holder.is_here:
        return holder if _lives_here(holder) else None
    age = time.time() - _time_of(folder / LOCK_NAME) / 1e9
    return holder if age < SILENT_SECONDS else None


def is_abandoned(folder: Path) -> bool:
    """Return whether a folder's writer was killed on this host; False where that is unknown."""
    path = folder / LOCK_NAME
    holder = _read_holder(path)
    if holder is None or not holder.is_here:
        return False
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return _lock(handle) or not _lives_here(holder)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)


def name_this_process() -> str:
    """Return a part of a file name that only this process bears, on any host."""
    return f"{socket.gethostname()}-{_own_mark().replace(':', '.')}"


def is_name_of_dead_process(name: str) -> bool:
    """Return whether `name_this_process` of a process of this host that has ended gave a name."""
    host, _, mark = name.rpartition("-")
    if host != socket.gethostname() or not re.fullmatch(r"\d+\.\d+", mark):
        return False  # unknown; some systems do not tell when a process was started
    return not _lives_here(Holder(host, mark.replace(".", ":"), ""))


def remove_folder(folder: Path) -> None:
    """Remove a folder that this thread may have locked; an open file would keep it on some
    systems.
    """
    _release((threading.get_ident(), folder.resolve()))
    shutil.rmtree(folder)


class _HeldByOtherError(Exception):
    """Another process or thread has the lock; the message names it."""


def _take(path: Path, own: Holder, *, log: RunLog) -> int:
    """Return the open lock file, locked and with the own name in it."""
    while True:
        _require_regular(path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # not inherited by what is started
        try:
            if _claim(path, handle, own=own, log=log):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise _HeldByOtherError(str(_read_holder(path) or _UNKNOWN)) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _claim(path: Path, handle: int, *, own: Holder, log: RunLog) -> bool:
    """Lock the open file and write the own name; False if its holder has just removed it."""
    is_locked = _lock(handle)
    before = _read_holder(path)
    if before is not None and _is_alive(before, path, is_locked=is_locked, log=log):
        raise _HeldByOtherError(str(before))
    if not _is_at(path, handle):
        return False
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps(asdict(own)).encode())
    if not is_locked:
        _settle_without_lock(path, own, log=log)
    return True


def _lock(handle: int) -> bool:
    """Lock an open file; return False where the file system has no locks.

    Raises:
        BlockingIOError: another has it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _is_alive(holder: Holder, path: Path, *, is_locked: bool, log: RunLog) -> bool:
    """Return whether the owner named in the file still writes, though it blocks no one."""
    if holder.is_here:
        return not is_locked and _lives_here(holder)
    log.info(f"{path.parent}: {SILENT_SECONDS:g} s to see whether {holder} is still alive")
    first, begin = _time_of(path), time.monotonic()
    while time.monotonic() - begin < SILENT_SECONDS:
        time.sleep(min(1.0, BEAT_SECONDS))
        if _time_of(path) != first:
            return True
    return False


def _settle_without_lock(path: Path, own: Holder, *, log: RunLog) -> None:
    """Of several who have written their names at once, let the last one be the holder."""
    log.hint(
        f"{path.parent} is on a file system without file locks",
        fix="start nothing else on this folder until this command has ended",
    )
    time.sleep(0.2)
    found = _read_holder(path)
    if found != own:
        raise _HeldByOtherError(str(found or _UNKNOWN))


def _renew(held: _Held) -> None:
    while not held.is_over.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(held.handle)


def _release(key: tuple[int, Path]) -> None:
    held = _held.pop(key, None)  # none in a forked child: its parent has the lock
    if held is None:
        return
    held.is_over.set()
    path = held.folder / LOCK_NAME
    with suppress(OSError):
        if _is_at(path, held.handle):
            path.unlink()
    os.close(held.handle)


def _forget_in_child() -> None:
    """Leave the locks to the parent: a child must not keep one when the parent dies."""
    for held in _held.values():
        with suppress(OSError):
            os.close(held.handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _is_at(path: Path, handle: int) -> bool:
    """Return whether an open file still has its name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _time_of(path: Path) -> int:
    """Return when a file was last renewed; opened, because network file systems remember times."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return 0


def _read_holder(path: Path) -> Holder | None:
    """Return who is named in a lock file; None where there is none, or no name of ours (yet)."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None  # a pipe would be waited for
        fields = json.loads(path.read_text(encoding="utf-8"))
        holder = Holder(**fields)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    is_ours = all(isinstance(value, str) for value in asdict(holder).values())
    return holder if is_ours and _PROCESS.fullmatch(holder.process) else None


def _require_regular(path: Path) -> None:
    """Refuse anything but a regular file in place of the lock file.

    Raises:
        RunError: it is a folder, a link, a pipe or the like.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe"}
        raise RunError(
            f"{path} is {kinds.get(stat.S_IFMT(mode), 'a device or socket')}, but medimg needs an "
            "ordinary file of this name as its lock: remove it, then repeat the command."
        )


def _own_mark() -> str:
    return _process_mark(os.getpid()) or f"{os.getpid()}:"


def _lives_here(holder: Holder) -> bool:
    return _process_mark(int(holder.process.partition(":")[0])) == holder.process


def _process_mark(process_id: int) -> str | None:
    """Return a mark of a living process that no later process bears, or None where unknown."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may contain anything; after it come the state and, as 20th, the start.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else f"{process_id}:{fields[19]}"
