"""Turn the labels of another data set into the classes of a trained network.

A label is a class if it is spelled alike, or if the user maps it to one. A label that is neither
is refused with the mapping to type; one that is mapped to nothing is left out. A finding that the
other data set does not mention is unknown there, not absent.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from medimg_baseline_cls.data.folders.image_files import Listing
from medimg_baseline_cls.data.spellings import find_spelling
from medimg_baseline_cls.data.tables.labels import plain_number
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.schema import Task, format_findings, parse_findings
from medimg_baseline_cls.utils.texts import clean_text
from medimg_baseline_cls.utils.visible import quote_words

_NUM_SHOWN = 5


def parse_maps(texts: Sequence[str]) -> dict[str, str]:
    """Return which label becomes which class, of texts such as "No Finding=NORMAL".

    Raises:
        ConfigError: A text has no "=", or a label is mapped twice.

    >>> parse_maps(["No Finding=NORMAL", "Mass="])
    {'No Finding': 'NORMAL', 'Mass': ''}
    """
    maps: dict[str, str] = {}
    for text in texts:
        label, equals, name = (part.strip() for part in text.partition("="))
        if not equals or not label:
            raise ConfigError(
                f'--map {text}: expected LABEL=CLASS, such as --map "No Finding=NORMAL", or LABEL= '
                "to leave its images out."
            )
        if label in maps:
            raise ConfigError(f"--map names the label {label} twice: keep one of them.")
        maps[label] = name
    return maps


def map_label(label: str, maps: Mapping[str, str]) -> str | None:
    """Return the class that a label is mapped to, or itself; None if it is to be left out.

    >>> maps = parse_maps(["0=NORMAL", "Mass="])
    >>> [map_label(label, maps) for label in ("0", "0.0", "mass", "1")]
    ['NORMAL', 'NORMAL', None, '1']
    """
    text = clean_text(label)
    known = find_spelling(text, maps) or find_spelling(plain_number(text), maps)
    return label if known is None else maps[known] or None


def map_labels(
    listing: Listing,
    *,
    class_names: Sequence[str],
    task: Task,
    maps: Mapping[str, str],
    may_lack: bool = False,
) -> Listing:
    """Return the images with the classes of a network as labels, and all of them without a split.

    Args:
        listing: the other data set.
        class_names: of the network, in its order.
        task: of the network.
        maps: from `parse_maps`.
        may_lack: whether a mapping may be of a label that is not there, but in other data sets.

    Raises:
        ConfigError: A mapping is of a label that is not there, or to a class that is not.
        DataError: A label is not a class and is not mapped; or no image is left.
    """
    found = listing.class_names
    meaning = settle_labels(found, class_names, maps=maps, may_lack=may_lack)
    unknown = [name for name in found if meaning[name] is None]
    if unknown:
        raise DataError(_refuse(listing, unknown, class_names=class_names))
    if task == "multilabel":
        texts = {
            text: _map_findings(text, found=found, class_names=class_names, meaning=meaning)
            for text in {file.label for file in listing.files}
        }
        if all(set(parse_findings(text, class_names)) == {-1} for text in texts.values()):
            raise DataError(
                f"no image has a known label of {_shorten(class_names)}, the findings of this run: "
                "check the label columns and --map."
            )
        files = [replace(f, label=texts[f.label], folder="") for f in listing.files]
    else:
        files = [replace(f, label=meaning[f.label] or "", folder="") for f in listing.files]
        files = [file for file in files if file.label]
    if not files:
        raise DataError("--map leaves out every image: no label is left to score.")
    num_left_out = len(listing.files) - len(files)
    notes = (f"{num_left_out} images left out by --map",) if num_left_out else ()
    return replace(
        listing,
        files=tuple(files),
        class_names=tuple(class_names),
        task=task,
        notes=(*listing.notes, *notes),
    )


def settle_labels(
    found: Sequence[str],
    class_names: Sequence[str],
    *,
    maps: Mapping[str, str],
    may_lack: bool = True,
) -> dict[str, str | None]:
    """Return the class of each label: "" is left out, None is not known.

    Args:
        found: the labels of the other data set.
        class_names: of the network.
        maps: from `parse_maps`.
        may_lack: as for `map_labels`.

    Raises:
        ConfigError: a mapping is not possible.

    >>> settle_labels(["NORMAL", "Mass"], ["NORMAL", "PNEUMONIA"], maps={"healthy": "NORMAL"})
    {'NORMAL': 'NORMAL', 'Mass': None}
    """
    meaning: dict[str, str | None] = {n: find_spelling(n, class_names) for n in found}
    for label, name in maps.items():
        known = find_spelling(label, found)
        if known is None and not may_lack:
            raise ConfigError(
                f"--map {label}={name}: the images have no label {label}, but {_shorten(found)}."
            )
        target = find_spelling(name, class_names) if name else ""
        if target is None:
            raise ConfigError(
                f"--map {label}={name}: {name} is not a class of this run, which has "
                f"{_shorten(class_names)}."
            )
        if known is not None:
            meaning[known] = target
    return meaning


def _map_findings(
    text: str,
    *,
    found: Sequence[str],
    class_names: Sequence[str],
    meaning: Mapping[str, str | None],
) -> str:
    """Return the findings of the network: positive if any label that means it is."""
    values = dict.fromkeys(class_names, -1)
    said: dict[str, list[int]] = {}
    for label, value in zip(found, parse_findings(text, found), strict=True):
        if name := meaning[label]:
            said.setdefault(name, []).append(value)
    for name, given in said.items():
        values[name] = 1 if 1 in given else min(given)
    return format_findings(list(values.values()), class_names)


def _refuse(listing: Listing, unknown: Sequence[str], *, class_names: Sequence[str]) -> str:
    counts = Counter(file.label for file in listing.files)
    shown = [f"{name} ({counts[name]} images)" if counts[name] else name for name in unknown]
    example = quote_words("--map", f"{unknown[0]}={class_names[0]}")
    return (
        f"the label {_shorten(shown)} is not a class of this run ({_shorten(class_names)}): pass "
        f"{example} to say which class it is, or {quote_words('--map', f'{unknown[0]}=')} to leave "
        "it out."
    )


def _shorten(names: Sequence[str]) -> str:
    more = len(names) - _NUM_SHOWN
    return ", ".join(names[:_NUM_SHOWN]) + (f" and {more} more" if more > 0 else "")
