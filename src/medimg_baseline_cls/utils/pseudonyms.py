"""Turn a name that must not be written down into a keyed hash, the same for the same user.

The key lies outside of every run folder, so that nobody who holds a run can try names:
without it, PatientIDs could be guessed from their hashes. A key that cannot be read or made
is refused.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medimg_baseline_cls.errors import ConfigError

KEY_VARIABLE = "MEDIMG_GROUP_KEY"
_NUM_HEX = 16


def hide_name(name: str, key: bytes) -> str:
    """Return 16 hexadecimal characters of HMAC-SHA256 (RFC 2104) of a name.

    >>> hide_name("Doe", b"key") == hide_name("Doe", b"other key")
    False
    """
    return hmac.new(key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[
        :_NUM_HEX
    ]


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """What images and patients are called where their names must not be seen.

    >>> names = Pseudonyms(b"key")
    >>> names.image("p1/a.png").startswith("image-"), names.group("p1") == names.group("p2")
    (True, False)
    """

    key: bytes

    def image(self, name: str) -> str:
        """Return the pseudonym of an image_id or path."""
        return f"image-{hide_name(f'image {name}', self.key)}"

    def group(self, name: str) -> str:
        """Return the pseudonym of a patient."""
        return f"patient-{hide_name(f'group {name}', self.key)}"


def load_key() -> bytes:
    """Return the user's key: of the environment (MEDIMG_GROUP_KEY), else of a file made once.

    The file is medimg/group_key in the user's folder of settings, readable by the user alone.

    Raises:
        ConfigError: the file can neither be read nor made.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return given.encode()
    home = os.environ.get("XDG_CONFIG_HOME")
    return _load_file((Path(home) if home else Path.home() / ".config") / "medimg" / "group_key")


@cache
def _load_file(path: Path) -> bytes:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make_file(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"the key that hides PatientIDs cannot be kept in {path} ({error.strerror or error}): "
            f"set the environment variable {KEY_VARIABLE} to a secret of your own."
        ) from error
    if not key:
        raise ConfigError(f"{path} is empty: remove it, or set {KEY_VARIABLE}.")
    return key


def _make_file(path: Path) -> None:
    """Write a random key that only the user can read; one that is there already stays."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        os.link(temporary, path)  # fails where another process was faster
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
