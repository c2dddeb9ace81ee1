"""Decode a DICOM file in a helper process, so a crash of the decoder costs one file only.

GDCM is the one permissively licensed decoder of lossless JPEG, and it aborts the whole
process on some damaged streams (about one in 300 with a flipped bit in its headers). The
helper is started with the first such file, serves all threads in turn, ends with this
process, and is started again after a crash; the file that crashed it is refused.

    python -P -m medimg_baseline_cls.data.read.isolated      the helper: files in, arrays out
"""

import atexit
import io
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.errors import BadImageError

_LENGTH = struct.Struct("<Q")
_PIXELS, _REASON = b"P", b"R"


def decode_isolated(data: bytes) -> NDArray[Any]:
    """Return the stored pixels of a DICOM file, decoded in the helper process.

    Raises:
        BadImageError: The file is refused there, or its decoder broke down.
    """
    with _helper.lock:
        try:
            kind, answer = _helper.ask(data)
        except (OSError, EOFError) as error:
            _helper.stop()
            raise BadImageError(
                "the compressed pixels are damaged: their decoder broke down"
            ) from error
    if kind == _REASON:
        raise BadImageError(answer.decode())
    return np.load(io.BytesIO(answer), allow_pickle=False)


class _Helper:
    """The helper process, started when it is first asked; to be used under its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, data: bytes) -> tuple[bytes, bytes]:
        process = self._process
        # A forked process must not share the pipes of its parent.
        if process is None or self._owner != os.getpid():
            process = self._start()
        if process.stdin is None or process.stdout is None:
            raise EOFError
        process.stdin.write(_LENGTH.pack(len(data)) + data)
        process.stdin.flush()
        kind = _read_exactly(process.stdout, 1)
        return kind, _read_block(process.stdout)

    def stop(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            with suppress(OSError):  # what was not yet flushed to it
                self._process.communicate()
        self._process = None

    def _start(self) -> "subprocess.Popen[bytes]":
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._owner = os.getpid()
        return self._process


_helper = _Helper()
atexit.register(_helper.stop)


def main() -> None:
    """Answer each file on stdin with its pixels or the reason, until stdin ends."""
    from medimg_baseline_cls.data.read.dicom import decode_stored
    from medimg_baseline_cls.data.read.strict import strict_decoding

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # decoders may print
    with strict_decoding(), suppress(EOFError):
        while True:
            kind, answer = _answer(_read_block(sys.stdin.buffer), decode_stored)
            answers.write(kind + _LENGTH.pack(len(answer)) + answer)
            answers.flush()


def _answer(data: bytes, decode: Any) -> tuple[bytes, bytes]:
    file = io.BytesIO()
    try:
        np.save(file, decode(data), allow_pickle=False)
    except Exception as error:  # as in the parent: decoders raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        return _REASON, f"the image cannot be decoded: {reason}".encode()
    return _PIXELS, file.getvalue()


def _read_block(stream: BinaryIO | Any) -> bytes:
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    return _read_exactly(stream, length)


def _read_exactly(stream: BinaryIO | Any, num_bytes: int) -> bytes:
    data = stream.read(num_bytes)
    if len(data) < num_bytes:
        raise EOFError
    return data


if __name__ == "__main__":
    main()
