"""Turn what the machine refuses (disk, memory, access) into one sentence of ours.

An OSError has a number; torch and NumPy raise other exceptions for the same: torch.save
hides a full disk behind "unexpected pos", and memory that runs out has a name in each library.
What is neither is left alone: it is a mistake of the program and keeps its traceback.
"""

import errno
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import ParamSpec, TypeVar, get_args, get_origin

from medimg_baseline_cls.errors import ResourceError
from medimg_baseline_cls.utils.visible import quote_words

_P = ParamSpec("_P")
_R = TypeVar("_R")

_ACCESS = ("permission is denied", "ask for access, or choose another place")
_NETWORK = ("the network drive does not answer as it did", "mount it again")
_SPECIAL = ("it is a device, pipe or socket", "choose an ordinary file")
_TOO_MANY = ("too many files are open", "raise the limit (ulimit -n)")
_MEMORY = (
    "there is not enough memory",
    "close other programs, or use a smaller batch size, image size or number of workers",
)
# What has happened, and what to do. Some systems lack some of these numbers.
_WORDS: dict[str, tuple[str, str]] = {
    "ENOSPC": ("the disk is full", "free some space"),
    "EDQUOT": ("the disk quota is used up", "free some space, or ask for more"),
    "EFBIG": ("the file is larger than is allowed here", "raise the limit (ulimit -f)"),
    "EROFS": ("the place is read-only", "make it writable, or choose another place"),
    "EIO": ("the disk reports an input/output error", "check the disk or the network drive"),
    "EACCES": _ACCESS,
    "EPERM": _ACCESS,
    "ESTALE": _NETWORK,
    "ENOTCONN": _NETWORK,
    "ETIMEDOUT": _NETWORK,
    "EHOSTDOWN": _NETWORK,
    "EREMOTEIO": _NETWORK,
    "ENOENT": ("it is not there", "check the path"),
    "EISDIR": ("it is a folder", "move it away, or choose another name"),
    "ENOTDIR": ("a file is where a folder is needed", "move the file away, or choose another path"),
    "EEXIST": ("something of this name is already there", "move it away, or choose another name"),
    "ENOTEMPTY": ("a folder that is not empty is there", "move it away, or choose another name"),
    "ELOOP": ("its symbolic links lead in a circle", "remove the link, or choose another path"),
    "ENXIO": _SPECIAL,
    "ENODEV": _SPECIAL,
    "ESPIPE": _SPECIAL,
    "EBUSY": ("it is in use", "close what uses it"),
    "ETXTBSY": ("it is in use", "close what uses it"),
    "ENAMETOOLONG": ("its name is too long", "choose shorter names of folders and files"),
    "EMFILE": _TOO_MANY,
    "ENFILE": _TOO_MANY,
    "ENOMEM": _MEMORY,
}
_BY_NUMBER = {getattr(errno, name): words for name, words in _WORDS.items() if hasattr(errno, name)}
# Not the fault of the file that was asked for: another one would have failed as well.
_OF_THE_MACHINE = frozenset(
    getattr(errno, name, 0)
    for name in ("EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN")
) - {0}
# In lower case; each library has its own wording.
_MEMORY_SIGNS = (
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
    "out of memory",
    "could not create a memory",  # oneDNN
    "alloc_failed",  # cuBLAS, cuDNN
    "can't start new thread",
    "failed to map segment",  # a library that is loaded late
)
_LOOP_SIGN = "Symlink loop from "  # the RuntimeError of Path.resolve
_SAVE_SIGNS = ("inline_container", "pytorchstreamwriter")
# A folder with these files is finished by this command.
_RESUMED_BY = (
    (("config.json", "split.csv"), "medimg run --resume"),
    (("seeds.json",), "medimg run --resume"),
    (("cv.json",), "medimg cv --resume"),
    (("sweep.json",), "medimg sweep --resume"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory has run out, whichever library raised it.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError | ImportError) and any(s in text for s in _MEMORY_SIGNS)


def is_of_machine(error: OSError) -> bool:
    """Return whether an error of reading a file is not about that file: others fail as well."""
    return error.errno in _OF_THE_MACHINE


def explain_fault(error: BaseException, place: Path | None = None) -> ResourceError | None:
    """Return an exception as a sentence of ours without its end; None where it is something else.

    Args:
        error: what was raised.
        place: the file or folder that was written, where the exception does not name one.

    >>> print(explain_fault(OSError(28, "No space left on device"), Path("last.pt")))
    last.pt cannot be written, because the disk is full: free some space
    >>> explain_fault(ValueError("a mistake of ours")) is None
    True
    """
    if isinstance(error, ResourceError):
        return error
    if is_out_of_memory(error):
        return ResourceError(": ".join(_MEMORY), place)
    number, words, named = _read_os_error(error)
    if number is None:
        return None
    what, advice = _BY_NUMBER.get(number, (f'the system reported "{words}"', "check it"))
    verb = "written" if place is not None else "read or written"
    shown = place or named or "a file"
    text = f"{shown} cannot be {verb}, because {what}: {advice}"
    return ResourceError(text, place or named)


@contextmanager
def plain_faults(place: Path | None = None) -> Generator[None, None, None]:
    """Raise what the machine refuses in the block as a ResourceError, about `place`."""
    try:
        yield
    except (OSError, RuntimeError, MemoryError, ImportError) as error:
        explained = None if isinstance(error, BrokenPipeError) else explain_fault(error, place)
        if explained is None:
            raise
        raise explained from error


def ending_plainly(*, is_resumable: bool) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Let a command end with a whole sentence where the machine refuses something.

    Of commands that call one another, the outermost adds what to do. Text is taken for an argument
    that is a path by its annotation, and one path for a sequence of them.

    Args:
        is_resumable: whether a run that the command has begun can be finished by another one,
            which the sentence then names.

    Raises:
        ResourceError: instead of any exception that means lack of disk, memory or access.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        takes = signature(function)

        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            bound = takes.bind(*args, **kwargs)
            for name, given in bound.arguments.items():
                bound.arguments[name] = _as_asked(given, takes.parameters[name].annotation)
            try:
                with plain_faults():
                    return function(*bound.args, **bound.kwargs)
            except ResourceError as error:
                command = find_resume_command(error.place) if is_resumable else None
                then = f"continue with: {command}" if command else "repeat the command."
                raise ResourceError(
                    error.fault, error.place, then=f", then {then}"
                ) from error.__cause__

        return call

    return decorate


def _as_asked(given: object, kind: object) -> object:
    """Return text as a path where that is asked for, and one path in a list where several are."""
    choices: tuple[object, ...] = get_args(kind) or (kind,)
    if isinstance(given, str) and Path in choices and str not in choices:
        return Path(given)
    is_sequence = get_origin(kind) is Sequence and choices[0] in (Path, Path | str)
    return [given] if is_sequence and isinstance(given, str | Path) else given


def find_resume_command(place: Path | None) -> str | None:
    """Return the command that finishes the run, or the sweep, that a place belongs to."""
    folders: list[Path] = [] if place is None else [place, *place.parents]
    return next(
        (
            f"{command} {quote_words(str(folder))}"
            for folder in folders
            for names, command in _RESUMED_BY
            if all((folder / name).is_file() for name in names)
        ),
        None,
    )


def require_writable(folder: Path, advice: str) -> None:
    """Refuse a folder into which nothing can be written, before hours go into what would be.

    Args:
        folder: it, or where it does not exist yet, what is above it, is looked at.
        advice: what to do instead.

    Raises:
        ResourceError: it is read-only.
    """
    there = next(f for f in (folder, *folder.absolute().parents) if f.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise ResourceError(f"nothing can be written into {folder}: {advice}", folder)


def _read_os_error(error: BaseException) -> tuple[int | None, str, Path | None]:
    """Return number, words and path of an OSError, or of the one that torch.save hides.

    The number is None where the exception does not come from the system.
    """
    if isinstance(error, RuntimeError) and str(error).startswith(_LOOP_SIGN):
        return errno.ELOOP, "", Path(str(error).removeprefix(_LOOP_SIGN).strip("'"))
    is_save = isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _SAVE_SIGNS)
    candidates = _chain(error) if is_save else [error]
    fault = next((e for e in candidates if isinstance(e, OSError)), None)
    if fault is None:
        return (errno.ENOSPC if is_save else None), "", None
    words = (fault.strerror or str(fault)).lower()
    named = fault.filename if isinstance(fault.filename, str | bytes) else None
    return fault.errno, words, None if named is None else Path(os.fsdecode(named))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
