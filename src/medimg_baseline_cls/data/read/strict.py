"""Make the decoding libraries strict and silent, and restore them afterwards.

Pillow must refuse truncated files; Pillow, pydicom and NumPy's header parser must not print
warnings and log lines, and libtiff must not write to stderr: each fault of a file is reported once,
as its reason.
"""

import ctypes
import logging
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import Image, ImageFile

# Modules with warnings, and loggers with lines, that do not help users; the readers are among them
# because libraries warn in the name of their caller.
_TALKATIVE = (
    *("PIL", "pydicom", "pylibjpeg", "openjpeg", "nibabel", "numpy"),
    "medimg_baseline_cls.data.read",
)
_SILENT = logging.CRITICAL + 1


@contextmanager
def strict_decoding() -> Generator[None, None, None]:
    """Make Pillow refuse truncated files, and all decoders suppress warnings.

    These are settings of the whole process; they are put back when the last of several
    blocks (of any thread) ends.
    """
    _strictness.enter()
    try:
        yield
    finally:
        _strictness.leave()


class _Strictness:
    """The libraries' process-wide switches, counted for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._accepted_truncated = False
        self._filters = warnings.catch_warnings()
        self._levels: dict[str, int] = {}
        self._tiff_handlers: list[tuple[Any, int | None]] = []

    def enter(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            self._accepted_truncated = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._filters = warnings.catch_warnings()
            self._filters.__enter__()
            for name in _TALKATIVE:
                warnings.filterwarnings("ignore", module=name)
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            self._levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
            for name in _TALKATIVE:
                logging.getLogger(name).setLevel(_SILENT)
            self._tiff_handlers = [(setter, setter(None)) for setter in _tiff_setters()]

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth > 0:
                return
            self._filters.__exit__(None, None, None)
            ImageFile.LOAD_TRUNCATED_IMAGES = self._accepted_truncated
            for name, level in self._levels.items():
                logging.getLogger(name).setLevel(level)
            for setter, handler in self._tiff_handlers:
                setter(handler)


@cache
def _tiff_setters() -> tuple[Any, ...]:
    """Return what sets the handlers of libtiff's messages; nothing where Pillow hides it.

    Pillow leaves the handlers as they are: they print. A symbol that is looked up in Pillow's
    own library is found in the libtiff it is linked with.
    """
    try:
        library = ctypes.CDLL(Image.core.__file__)
        setters = (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler)
    except (OSError, AttributeError):
        return ()
    for setter in setters:
        setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return setters


_strictness = _Strictness()
