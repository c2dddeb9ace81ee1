"""The block "inferred from the data": what was concluded without a setting, in one place.

Every room that concludes something hands over an `Inference`. They are shown before training
and by `check`, written to config.json and audit.json, and their warnings go wherever results go.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.folders.image_files import Listing
from medimg_baseline_cls.data.positive import infer_positive_class
from medimg_baseline_cls.data.spellings import find_spelling
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.schema import Inference
from medimg_baseline_cls.utils.log import RunLog
from medimg_baseline_cls.utils.visible import quote_words

_WORDS = {"multilabel": "findings: each is evaluated on its own"}


def find_positive_class(config: Config, listing: Listing) -> tuple[str | None, Inference]:
    """Return the positive class, as set or as the names tell; None where there is none.

    Raises:
        ConfigError: the class that is set is not one of those found.
    """
    names, wanted = listing.class_names, config.positive_class
    if listing.task != "multiclass":
        each = _WORDS.get(listing.task, "grades: each is evaluated against the rest")
        return None, Inference(topic="positive class", found="none", reason=f"{len(names)} {each}")
    if wanted is None:
        return infer_positive_class(names)
    found = find_spelling(wanted, names)
    if found is None:
        near = get_close_matches(wanted.casefold(), {n.casefold(): n for n in names}, 1)
        meant = next((n for n in names if near and n.casefold() == near[0]), None)
        raise ConfigError(
            f"positive_class is {wanted!r}, but the classes found are {', '.join(names)}: "
            + (f"did you mean --positive-class {meant}?" if meant else "name one of them.")
        )
    reason = "--positive-class" if found == wanted else f"--positive-class {wanted}"
    return found, Inference(topic="positive class", found=found, reason=reason, certainty="set")


def infer_task(config: Config, listing: Listing) -> Inference:
    """Return how labels are read: as set, or as they look."""
    if config.task != "auto":
        return Inference(topic="task", found=listing.task, reason="--task", certainty="set")
    reason = "the labels of the table" if listing.kind == "table" else f"{listing.kind}"
    flag = "--task multiclass|ordinal|multilabel"
    return Inference(topic="task", found=listing.task, reason=reason, flag=flag)


def require_positive_class(inference: Inference, class_names: Sequence[str]) -> None:
    """Refuse to train two classes of which neither, or both, look negative.

    Raises:
        ConfigError: with both commands.
    """
    if inference.certainty == "unknown":
        raise ConfigError(
            f"which class is positive cannot be told: {inference.reason} "
            f"({' and '.join(class_names)}); name the positive one:",
            *(_repeat_command("--positive-class", name) for name in class_names),
        )


def show_inferences(
    log: RunLog, inferences: Sequence[Inference], *, has_warnings: bool = True
) -> None:
    """Print what was inferred, one line each, then what may spoil the result."""
    log.write("Inferred from the data", "bold")
    for item in inferences:
        change = f"; to change it: {item.flag}" if item.flag else ""
        log.info(f"{item.topic + ':':<15} {item.found} ({describe_certainty(item)}{change})")
    for warning in list_warnings(map(asdict, inferences)) if has_warnings else ():
        log.warn(warning)


def describe_certainty(item: Inference) -> str:
    """Return how sure an inference is, and from what."""
    return f"{item.certainty}: {item.reason}" if item.reason else item.certainty


def list_warnings(inferences: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the warnings of inferences as in config.json."""
    return [str(item["warning"]) for item in inferences if item["warning"]]


def _repeat_command(flag: str, value: str) -> str:
    """Return the command that was typed, with one more flag."""
    program, *rest = sys.argv
    if not program.endswith(("/medimg", "medimg_baseline_cls/__main__.py")):  # called from Python
        return f"Config(..., {flag.removeprefix('--').replace('-', '_')}={value!r})"
    return quote_words("medimg", *rest, flag, value)
