"""What a tracker is: an object that is sent the record of a run, again whenever there is more.

Ours are "mlflow" and "tensorboard"; another package adds one by an entry point in the group
`medimg_baseline_cls.trackers`, used as `plugin:NAME`. A name that is unknown, and a package that is
missing, are refused before anything is trained.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.tracking.record import RunRecord
from medimg_baseline_cls.utils.plugins import PREFIX, load_plugin

_OURS = {"mlflow": ("mlflow", "sqlalchemy", "alembic"), "tensorboard": ("tensorboard",)}


class Tracker:
    """Base class of trackers. They work in a process of their own, so they may be slow or fail."""

    def send(self, record: RunRecord, *, known: Mapping[str, str]) -> Mapping[str, str]:
        """Send what is new of a record; the same record sent again changes nothing.

        Args:
            record: of a run or a sweep, as far as it is.
            known: what an earlier call returned for the same folder, in an earlier process too;
                "uri" is the address that the user gave, "parent" what the call for
                `record.parent` returned as "id".

        Returns:
            What to remember in tracking.json: "id" names the run in the tracker, "see" is the
            command or address that shows it.
        """
        raise NotImplementedError


def make_tracker(name: str) -> Tracker:
    """Return a tracker by its name.

    Raises:
        ConfigError: as `require_trackers`; or it is of another package that cannot be loaded.
    """
    if name.startswith(PREFIX):
        return load_plugin("trackers", name, expected=Tracker)
    require_trackers([name])
    module = import_module(f"medimg_baseline_cls.tracking.{name}_tracker")
    return module.make()


def read_names(text: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of trackers, each once.

    >>> read_names("mlflow, tensorboard")
    ('mlflow', 'tensorboard')
    """
    texts = [text] if isinstance(text, str) else list(text)
    return tuple(dict.fromkeys(n.strip() for part in texts for n in part.split(",") if n.strip()))


def require_trackers(names: Sequence[str]) -> None:
    """Refuse names of trackers that do not exist, and those whose package is missing.

    Raises:
        ConfigError: with what to install.
    """
    for name in names:
        if name.startswith(PREFIX):
            load_plugin("trackers", name, expected=Tracker)
        elif name not in _OURS:
            raise ConfigError(
                f"there is no tracker {name!r}: use {', '.join(_OURS)}, or {PREFIX}NAME of an "
                "installed package."
            )
        elif missing := [package for package in _OURS[name] if find_spec(package) is None]:
            raise ConfigError(
                f"tracking by {name} needs {' and '.join(missing)}: pip install "
                f"'medimg-baseline-cls[{name}]'"
            )
