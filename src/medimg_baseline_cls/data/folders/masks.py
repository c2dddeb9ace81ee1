"""Set masks and other companions of images aside: x_mask.png, mask_x.png, folders masks/.

A companion is known by all names together: a file x_mask needs its image x next to it, a folder
masks/ needs images next to it, and a class of that name must contain what other classes have images
of. So a class `mask` of covered faces stays a class.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from medimg_baseline_cls.data.folders.words import find_structural, is_companion_name, is_structural

_WORDS = (
    r"masks?|segm?|segmentations?|segmented|gt|ground[ _-]?truth|labels?|annotations?|annot"
    r"|contours?|superpixels"
)
_HINT = re.compile(_WORDS, re.IGNORECASE)
_NAME = re.compile(
    rf"(?P<base>.*[^ _.-])[ _.-]+(?:{_WORDS})(?:[ _.-]*\(?\d+\)?)?"
    rf"|(?:{_WORDS})(?:[ _.-]+|(?=\d))(?P<rest>.+)",
    re.IGNORECASE,
)
_IMAGE_WORD = r"(?:image|img|orig|original|input|raw)"
_AFFIX = re.compile(rf"^{_IMAGE_WORD}(?:[ _.-]+|(?=\d))|[ _.-]+{_IMAGE_WORD}$")
_SUFFIX = re.compile(r"(?:\.nii)?\.[^.]*$")
_LAST_WORD = re.compile(r"[ _.-]+[^ _.-]+$")


_Stems = Mapping[str, Mapping[str, str]]  # folder -> path -> name without suffix


@dataclass(frozen=True, slots=True)
class Companions:
    """Files that are not images, and the image of each mask.

    Attributes:
        paths: of the companions.
        masks: of each image that has any, sorted.
    """

    paths: frozenset[str]
    masks: Mapping[str, tuple[str, ...]]


def find_companions(paths: Sequence[str], *, depth: int) -> Companions:
    """Find the files that accompany images, by the names of all files.

    Args:
        paths: of files that are images by their suffix, with forward slashes.
        depth: folders above the files of a class: 2 for train/NORMAL/, 1 for NORMAL/.

    >>> find_companions(["A/1.png", "A/1_mask.png", "B/1_mask.png"], depth=1).masks
    {'A/1.png': ('A/1_mask.png',)}
    """
    if not any(map(_HINT.search, paths)):
        return Companions(frozenset(), {})
    stems: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for path in paths:
        folder, _, name = path.rpartition("/")
        stems[folder][path] = _SUFFIX.sub("", name).casefold()
    owners = _match_folders(stems, depth=depth)
    for found in stems.values():
        if owners.keys().isdisjoint(found):
            owners.update(_match_names(found))
    masks: defaultdict[str, list[str]] = defaultdict(list)
    for path, image in sorted(owners.items()):
        if image and image not in owners:
            masks[image].append(path)
    return Companions(frozenset(owners), {path: tuple(found) for path, found in masks.items()})


def _match_names(stems: Mapping[str, str]) -> dict[str, str]:
    """Return the image of each file in one folder that is named as a mask of it."""
    images = _key_images(stems)
    owners: dict[str, str] = {}
    for path, stem in stems.items():
        image = next((images[base] for base in _bases(stem) if base in images), path)
        if image != path:
            owners[path] = image
    return owners


def _match_folders(stems: _Stems, *, depth: int) -> dict[str, str]:
    """Return the image of each file in a folder of companions, "" where none fits."""
    places = _find_places(stems, depth=depth)
    parents = {parent for parent, _ in places.values()}
    exact: dict[tuple[str, str, str], str] = {}
    by_stem: dict[tuple[str, str], str] = {}
    for folder in stems if places else ():
        for parent, tail in () if folder in places else _split_at(folder, parents):
            for key, path in _key_images(stems[folder]).items():
                exact[parent, tail, key] = path
                by_stem[parent, key] = "" if (parent, key) in by_stem else path
    with_images = {parent for parent, _ in by_stem}
    owners: dict[str, str] = {}
    for folder, (parent, tail) in places.items():
        for path, stem in stems[folder].items() if parent in with_images else ():
            keys = [stem, *_bases(stem)]
            found = (exact.get((parent, tail, k)) or by_stem.get((parent, k), "") for k in keys)
            owners[path] = next(filter(None, found), "")
    return owners


def _find_places(stems: _Stems, *, depth: int) -> dict[str, tuple[str, str]]:
    """Return of each folder of companions the folder above it, and the folders below."""
    nearby: defaultdict[str, set[str]] = defaultdict(set)
    for folder in stems:
        parts = folder.split("/")
        for index in range(depth - 1, len(parts)):
            nearby["/".join(parts[:index])].add(parts[index])
    named = {
        parent: {
            name
            for name in find_structural(names)
            if is_companion_name(name)
            and (_count_parts(parent) >= depth or not _is_class(stems, parent, name=name))
        }
        for parent, names in nearby.items()
        if any(map(is_companion_name, names))
    }
    places: dict[str, tuple[str, str]] = {}
    for folder in stems if any(named.values()) else ():
        for parent, _ in _split_at(folder, named):
            name, *below = folder.split("/")[_count_parts(parent) :] or [""]
            if name in named[parent]:
                places[folder] = (parent, _join(below))
                break
    return places


def _is_class(stems: _Stems, parent: str, *, name: str) -> bool:
    """Return whether masks/ is a class itself: no two other classes have images of its names."""
    place = _count_parts(parent)
    inside: defaultdict[str, list[list[str]]] = defaultdict(list)
    for folder, found in stems.items():
        if not parent or folder.startswith(f"{parent}/"):
            label = folder.split("/")[place]
            inside[label] += [[stem, *_bases(stem)] for stem in found.values()]
    others = inside.keys() - find_structural(inside)
    known = {keys[0] for label in others for keys in inside[label]}
    num_known = sum(not known.isdisjoint(keys) for keys in inside[name])
    return len(others) < 2 or 2 * num_known < len(inside[name])


def _count_parts(folder: str) -> int:
    return len(folder.split("/")) if folder else 0


def _split_at(folder: str, parents: Collection[str]) -> Iterable[tuple[str, str]]:
    """Yield each of the folders above (or the folder itself), and what is below it."""
    parts = folder.split("/")
    for index in range(len(parts) + 1):
        parent = "/".join(parts[:index])
        if parent in parents:
            yield parent, _join(parts[index:])


def _join(names: Sequence[str]) -> str:
    """Return folders as one text, without those that only name a kind of file."""
    return "/".join(name for name in names if not is_structural(name))


def _key_images(stems: Mapping[str, str]) -> dict[str, str]:
    """Return the path of each name, unchanged, and without words such as image_."""
    plain = {_AFFIX.sub("", stem): path for path, stem in stems.items()}
    return plain | {stem: path for path, stem in stems.items()}


def _bases(stem: str) -> list[str]:
    """Return the names that the image of a mask of this name may have.

    >>> _bases("x_lesion_mask_1"), _bases("mask_x"), _bases("x")
    (['x_lesion', 'x'], ['x'], [])
    """
    match = _NAME.fullmatch(stem)
    if match is None:
        return []
    base: str = match["base"] or match["rest"]
    short = _LAST_WORD.sub("", base)
    return [base] if short == base or match["rest"] else [base, short]
