"""Put the files of one case into one block of bytes, and take them out again.

So a case of several files has one content, as a file has: a checksum, a row of the pixel array.
Names are not in it: renamed files are the same case.
"""

import struct
from collections.abc import Sequence

from medimg_baseline_cls.errors import BadImageError

_MAGIC = b"MEDIMGCASE1\n"
_LENGTH = struct.Struct("<Q")


def pack_files(files: Sequence[bytes]) -> bytes:
    """Return files as one block of bytes.

    >>> unpack_files(pack_files([b"one", b""])), unpack_files(b"a file")
    ([b'one', b''], [b'a file'])
    """
    return _MAGIC + b"".join(part for file in files for part in (_LENGTH.pack(len(file)), file))


def unpack_files(data: bytes) -> list[bytes]:
    """Return the files of a block; any other bytes are a file themselves.

    Raises:
        BadImageError: the block is cut off.
    """
    if not data.startswith(_MAGIC):
        return [data]
    files: list[bytes] = []
    start = len(_MAGIC)
    while start < len(data):
        end = start + _LENGTH.size
        start = end + int.from_bytes(data[start:end], "little")
        files.append(data[end:start])
    if start > len(data) or not files:
        raise BadImageError("the files of the case are cut off")
    return files
