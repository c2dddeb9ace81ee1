"""Turn a name that must not be written down into a keyed hash, the same for the same user.

The key is outside of every run folder, so a run folder is not enough to test names:
without it, PatientIDs could be guessed from their hashes. A key that cannot be read or made
is refused.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from medimg_baseline_cls.errors import ConfigError

KEY_VARIABLE = "MEDIMG_GROUP_KEY"
_NUM_HEX = 16
_SHORT = 6  # a shorter name without dot and slash may be any word or number of a sentence
_PATH = re.compile(r"(?:[\w.-]+/)+[\w.-]+")


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
    """The names of images and patients where the real ones must not be seen.

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


@dataclass(frozen=True)
class NameHider:
    """Takes the names of images out of what is shown; without pseudonyms it changes nothing.

    >>> hider = NameHider(Pseudonyms(b"key"), ["a/Doe.png"])
    >>> hider.text("such as Doe.png and a/Doe_mask.png") == (
    ...     f"such as {hider.image('a/Doe.png')} and …"
    ... )
    True
    """

    pseudonyms: Pseudonyms | None
    paths: Sequence[str]

    def image(self, path: str) -> str:
        """Return the name to show for an image."""
        return path if self.pseudonyms is None else self.pseudonyms.image(path)

    def group(self, name: str) -> str:
        """Return the name to show for a patient."""
        return name if self.pseudonyms is None else self.pseudonyms.group(name)

    def text(self, text: str) -> str:
        """Return a sentence with pseudonyms for the images, and "…" for paths of other files."""
        if self.pseudonyms is None:
            return text
        for name in [name for name in self._path_of if name in text]:
            text = text.replace(name, self.image(self._path_of[name]))
        return _PATH.sub("…", text)

    @cached_property
    def _path_of(self) -> Mapping[str, str]:
        """Return the path that each name means, the longest first: one may be part of another."""
        path_of = {path.rsplit("/", 1)[-1]: path for path in self.paths}
        path_of |= dict(zip(self.paths, self.paths, strict=True))
        telling = [n for n in path_of if len(n) >= _SHORT or "." in n or "/" in n]
        return {name: path_of[name] for name in sorted(telling, key=len, reverse=True)}


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
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)  # it was copied, or is of another program
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
