"""What installed packages of others add: entry points, loaded when they are asked for.

A package names in its pyproject.toml what it adds, here a map that is used as `plugin:my_map`:

    [project.entry-points."medimg_baseline_cls.cam_methods"]
    my_map = "my_package.maps:MY_MAP"

The prefix keeps names of others apart from ours, those of later versions too. Decision 0032.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from medimg_baseline_cls.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PREFIX = "plugin:"
Kind = Literal[
    "readers",
    "augmentations",
    "cam_methods",
    "decision_metrics",
    "score_metrics",
    "threshold_rules",
    "trackers",
]
Expected = TypeVar("Expected")


def load_plugin(kind: Kind, name: str, *, expected: type[Expected]) -> Expected:
    """Return what a package adds under a name.

    Args:
        kind: where it belongs: the last part of the entry-point group.
        name: with or without `plugin:` in front.
        expected: the class that it must be an object of.

    Raises:
        ConfigError: no package adds it, or two do; or it cannot be loaded, or is something else.
    """
    bare = name.removeprefix(PREFIX)
    points = [point for point in _find_points(kind) if point.name == bare]
    if not points:
        known = ", ".join(f"{PREFIX}{point.name}" for point in _find_points(kind))
        raise ConfigError(
            f"{PREFIX}{bare} is not there: no installed package has an entry point {bare} in the "
            f"group {_name_group(kind)}; there {f'are {known}' if known else 'are none'}."
        )
    if len(points) > 1:
        packages = " and ".join(sorted(map(_name_package, points)))
        raise ConfigError(f"{PREFIX}{bare} is in {packages}: uninstall all but one.")
    return _load(points[0], expected)


@lru_cache
def load_plugins(kind: Kind, *, expected: type[Expected]) -> Mapping[str, Expected]:
    """Return all that packages add of a kind, by name with `plugin:` in front.

    Raises:
        ConfigError: one of them cannot be loaded, or is something else, or two have one name.
    """
    names = dict.fromkeys(PREFIX + point.name for point in _find_points(kind))
    return {name: load_plugin(kind, name, expected=expected) for name in names}


@contextmanager
def blaming(kind: Kind, name: str) -> Generator[None, None, None]:
    """Raise an error of a plug-in's own code as one sentence with its package.

    Raises:
        ConfigError: the block has raised something.
    """
    try:
        yield
    except (Exception, SystemExit) as error:  # foreign code raises anything
        bare = name.removeprefix(PREFIX)
        package = next((_name_package(p) for p in _find_points(kind) if p.name == bare), "?")
        raise ConfigError(
            f"{PREFIX}{bare} of {package} fails ({_say(error)}): fix or uninstall that package."
        ) from error


def describe_plugins() -> dict[str, str]:
    """Return each entry point with its package and version, for env_report.json."""
    points = [point for kind in get_args(Kind) for point in _find_points(kind)]
    return {f"{point.group}: {point.name}": _name_package(point) for point in points}


def _find_points(kind: Kind) -> "list[EntryPoint]":
    from importlib.metadata import entry_points  # reads a file of each package: not for --help

    return sorted(entry_points(group=_name_group(kind)), key=lambda point: point.name)


def _name_group(kind: Kind) -> str:
    return f"medimg_baseline_cls.{kind}"


def _name_package(point: "EntryPoint") -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _load(point: "EntryPoint", expected: type[Expected]) -> Expected:
    who = f"{PREFIX}{point.name} of {_name_package(point)}"
    try:
        found: Any = point.load()
    except (Exception, SystemExit) as error:  # foreign code raises anything
        raise ConfigError(
            f"{who} cannot be loaded ({_say(error)}): fix or uninstall that package."
        ) from error
    if not isinstance(found, expected):
        raise ConfigError(
            f"{who} is a {type(found).__name__}, expected a {expected.__name__}: fix or uninstall "
            "that package."
        )
    return found


def _say(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
