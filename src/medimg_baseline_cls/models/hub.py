"""The Hugging Face hub as far as no torch is needed: is it reachable, what does its cache contain.

Refuses nothing: a foreign file under the name of weights is described in one clause.
"""

import json
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
REACH_SECONDS = 5.0  # how long to wait for the hub before saying that there is no network
_ZIP, _PICKLE, _LFS = b"PK\x03\x04", b"\x80", b"version https://git-lfs"
_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml|!--)", re.IGNORECASE)
_NEITHER = "neither a file of torch nor safetensors"
_CUT = "cut off or damaged"
_MOST_HEADER = 100_000_000  # bytes, as safetensors itself allows


@dataclass(frozen=True, slots=True)
class CachedWeights:
    """A file of weights in the hub cache; `fault` is what it is instead, "" if it looks right."""

    hub_id: str
    path: Path
    fault: str


def is_hub_reachable(seconds: float | None = None) -> bool:
    """Return whether the hub answers at all, within seconds (none: `REACH_SECONDS`).

    huggingface_hub itself would retry for minutes where there is no network.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=seconds or REACH_SECONDS)
    except Exception:  # whatever the transport raises: no answer is the answer
        return False
    return True


def list_cached_weights(cache_dir: Path) -> list[CachedWeights]:
    """Return the weights in a hub cache, by their names on the hub.

    Args:
        cache_dir: contains models--OWNER--NAME/snapshots/REVISION/FILE.
    """
    files = [
        path
        for folder in sorted(cache_dir.glob("models--*"))
        for name in HUB_FILES
        for path in sorted(folder.glob(f"snapshots/*/{name}"))
    ]
    return [CachedWeights(_name_model(path), path, describe_foreign(path)) for path in files]


def describe_foreign(path: Path) -> str:
    """Return what a file is, if it is not one of weights, by its beginning and its size; else "".

    A clause such as "it is a web page"; the values of the tensors are not read.
    """
    try:
        if path.is_dir():
            return "it is a folder"
        if not path.exists():
            is_link = os.path.islink(path)  # noqa: PTH114
            return "it is a link to nothing" if is_link else "it does not exist"
        if not path.is_file():
            return "it is not a regular file"
        with path.open("rb") as file:
            head = file.read(512)
        reason = _judge(path, head)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return reason and f"it is {reason}"


def _judge(path: Path, head: bytes) -> str:
    if not head:
        return "empty"
    if _PAGE.match(head):
        return "a web page (HTML), perhaps of a sign-in or a proxy"
    if head.startswith(_LFS):
        return "a pointer of Git LFS, not the file itself"
    if head.startswith(_ZIP):
        return _judge_archive(path)
    if head[8:9] == b"{":
        return _judge_safetensors(path)
    return "" if head.startswith(_PICKLE) else _NEITHER


def _judge_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return _CUT
    return "" if names.count("data.pkl") == 1 else "a zip archive, but not one of torch.save"


def _judge_safetensors(path: Path) -> str:
    """Compare the table at the beginning of the file with its size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _MOST_HEADER):
            return _CUT
        text = file.read(length)
    try:
        table = cast(object, json.loads(text))
        tensors = cast(Mapping[str, Any], table) if isinstance(table, dict) else {}
        ends = [v["data_offsets"][1] for k, v in tensors.items() if k != "__metadata__"]
        is_whole = bool(ends) and max(ends) == size - 8 - length
    except (ValueError, LookupError, TypeError, RecursionError):
        return _NEITHER
    return "" if is_whole else _CUT


def _name_model(path: Path) -> str:
    folder = path.parent.parent.parent.name.removeprefix("models--")
    return folder.replace("--", "/", 1)
