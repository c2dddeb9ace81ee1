"""The space of a sweep: which settings vary, and over what; checked before anything starts.

A file names settings with a list of values, or with `low` and `high` (and `log` or `step`) for a
number. Data, split and objective are the same for all trials, so the settings that choose them may
not vary.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product
from math import floor, isfinite, prod
from pathlib import Path
from typing import Any, TypeGuard, cast

from medimg_baseline_cls.config.messages import SettingsError, show_value
from medimg_baseline_cls.config.sections import FIELD_GROUPS, field_facts, flatten_sections
from medimg_baseline_cls.config.settings import Config
from medimg_baseline_cls.config.settings_files import config_to_dict, read_settings_file
from medimg_baseline_cls.errors import ConfigError

Scalar = bool | int | float | str | None

# The others choose the data, the split, the objective or what is done with the results.
MAY_VARY = tuple(
    name
    for section in ("model", "training", "augmentation")
    for name in FIELD_GROUPS[section]
    if name not in ("cam_layer", "select")
)
_EXAMPLE = "such as finetune_lr: {low: 1e-5, high: 1e-3, log: true}"
_KEYS = ("low", "high", "log", "step")
_MOST_COMBINATIONS = 2000


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting that takes one of several values."""

    values: tuple[Scalar, ...]

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Return the values that are checked: all of them."""
        return self.values

    @property
    def size(self) -> int | None:
        """Return the number of values."""
        return len(self.values)

    def list_values(self) -> list[Scalar]:
        """Return all values."""
        return list(self.values)

    def to_plain(self) -> Any:
        """Return what the file has."""
        return list(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A number from `low` to `high`, both included, in steps if there is one."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether it is of whole numbers."""
        return isinstance(self.low, int)

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Return the values that are checked."""
        return self.low, self.high

    @property
    def size(self) -> int | None:
        """Return the number of values; None for every number between the ends."""
        if self.step is None and not self.is_whole:
            return None
        return floor((self.high - self.low) / (self.step or 1) + 1e-9) + 1

    def list_values(self) -> list[Scalar]:
        """Return all values; only where they can be counted."""
        return [self.low + number * (self.step or 1) for number in range(self.size or 0)]

    def to_plain(self) -> Any:
        """Return what the file has."""
        given = {"low": self.low, "high": self.high, "log": self.log, "step": self.step}
        left_out = (None, False)
        return {name: v for name, v in given.items() if not any(v is other for other in left_out)}


SearchSpace = dict[str, Choice | Range]


def read_space(path: Path, base: Config) -> SearchSpace:
    """Read the space of a sweep from a YAML, TOML or JSON file; `base` has the other settings.

    Raises:
        ConfigError: the file names a setting that is unknown or may not vary, or a value or a
            combination of values that the settings refuse.
    """
    try:
        return parse_space(read_settings_file(path), base)
    except ConfigError as error:
        if str(path) in str(error):
            raise
        raise ConfigError(f"{path}: {error.args[0]}", *error.args[1:]) from None


def parse_space(content: Mapping[Any, Any], base: Config) -> SearchSpace:
    """Return the space that a mapping describes; see `read_space`.

    >>> parse_space({"batch_size": [16, 32]}, Config())
    {'batch_size': Choice(values=(16, 32))}
    """
    if not content:
        raise ConfigError(f"the space is empty: name the settings that vary, {_EXAMPLE}.")
    space: SearchSpace = {}
    for given, entry in content.items():
        if not isinstance(given, str):  # YAML reads 1, null and true as other things
            raise ConfigError(f"{show_value(given)} is not the name of a setting, {_EXAMPLE}.")
        if given in FIELD_GROUPS:
            raise ConfigError(f"{given} is a section: list its settings without it, {_EXAMPLE}.")
        (name,) = flatten_sections({given: 0})
        if name not in field_facts():
            _check(name, 0)  # refuses it, with the nearest name
        if name not in MAY_VARY:
            raise ConfigError(
                f"{name} may not vary in a sweep, whose trials share data, split and objective: "
                f"leave it out; what may vary is {', '.join(MAY_VARY)}."
            )
        if name in space:
            raise ConfigError(f"{name} is given twice: leave one out.")
        space[name] = _parse_entry(name, entry)
    _check_combinations(space, base)
    return space


def count_combinations(space: SearchSpace) -> int | None:
    """Return how many combinations of values a space has; None where they cannot be counted.

    >>> count_combinations({"batch_size": Choice((16, 32)), "patience": Choice((0, 2, 4))})
    6
    """
    sizes = [entry.size for entry in space.values()]
    known = [size for size in sizes if size is not None]
    return prod(known) if len(known) == len(sizes) else None


def apply_values(base: Config, values: Mapping[str, Any]) -> Config:
    """Return the settings with those of a trial.

    Raises:
        ConfigError: the combination is refused.
    """
    return Config(**(config_to_dict(base) | dict(values)))


def _parse_entry(name: str, entry: Any) -> Choice | Range:
    if isinstance(entry, list):
        return _parse_choice(name, cast(list[Any], entry))
    if isinstance(entry, Mapping):
        return _parse_range(name, cast(Mapping[Any, Any], entry))
    raise ConfigError(
        f"{name} = {show_value(entry)}: expected a list of values, or low and high, {_EXAMPLE}."
    )


def _parse_choice(name: str, entry: list[Any]) -> Choice:
    values = tuple(_check(name, value) for value in entry)
    if len(values) < 2 or len(set(values)) < len(values):
        raise ConfigError(
            f"{name} = {show_value(entry)}: expected two or more different values; a setting that "
            "does not vary is a flag, or in the file of --config."
        )
    return Choice(values)


def _parse_range(name: str, entry: Mapping[Any, Any]) -> Range:
    if field_facts()[name].kind not in (int, float):
        raise ConfigError(f"{name} is not a number: expected a list of its values.")
    if unknown := [str(key) for key in entry if key not in _KEYS]:
        raise ConfigError(f"{name} has {', '.join(unknown)}: expected {', '.join(_KEYS)}.")
    if not {"low", "high"} <= entry.keys():
        raise ConfigError(f"{name} needs low and high, {_EXAMPLE}.")
    low, high = (cast(float, _check(name, entry[key])) for key in ("low", "high"))
    log, step = entry.get("log", False), entry.get("step")
    if not low < high:
        raise ConfigError(f"{name} has low = {low} and high = {high}: low must be below high.")
    if not isinstance(log, bool):
        raise ConfigError(f"{name} has log = {show_value(log)}: expected true or false.")
    if step is not None and (not _is_number(step) or step <= 1e-9 * (high - low)):
        raise ConfigError(
            f"{name} has step = {show_value(step)}: expected a number above 0, and not so small "
            "that its steps cannot be counted."
        )
    if log and (low <= 0 or step is not None):
        raise ConfigError(f"{name} with log = true needs low above 0 and no step.")
    if isinstance(low, int) and not log:
        step = 1 if step is None else step
        if step != int(step):
            raise ConfigError(f"{name} is a whole number, but has step = {step}: choose 1 or more.")
        step = int(step)
    if step is not None:  # the last value that the steps reach
        high = low + floor((high - low) / step + 1e-9) * step
    if not low < high:
        raise ConfigError(f"{name} has step = {step}, which leaves one value: choose less.")
    return Range(low=low, high=high, log=log, step=step)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _check(name: str, value: Any) -> Scalar:
    """Return a value as the settings have it.

    Raises:
        SettingsError: they refuse it.
    """
    return config_to_dict(Config(**{name: value}))[name]


def _check_combinations(space: SearchSpace, base: Config) -> None:
    """Refuse a space with a combination of values that the settings refuse.

    Of a range the ends are combined; of very many combinations some are drawn.
    """
    for values in _list_combinations(space):
        try:
            apply_values(base, values)
        except SettingsError as error:
            shown = ", ".join(f"{name} = {show_value(value)}" for name, value in values.items())
            raise ConfigError(
                f"the space has a combination that is refused ({shown}): {error.mistakes[0]}"
            ) from None


def _list_combinations(space: SearchSpace) -> Iterator[dict[str, Scalar]]:
    ends = [entry.ends for entry in space.values()]
    if prod(map(len, ends)) <= _MOST_COMBINATIONS:
        yield from (dict(zip(space, values, strict=True)) for values in product(*ends))
        return
    first = [values[0] for values in ends]
    for number, values in enumerate(ends):  # each value at least once
        for value in values:
            yield dict(zip(space, [*first[:number], value, *first[number + 1 :]], strict=True))
    draw = random.Random(0)
    for values in islice(iter(lambda: [draw.choice(v) for v in ends], None), _MOST_COMBINATIONS):
        yield dict(zip(space, values, strict=True))
