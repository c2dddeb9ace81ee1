"""Turn class folders into classes: one name for all spellings, the order, doubtful folders.

A class of test/ that train/ lacks is refused; a class folder without an image is named.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from medimg_baseline_cls.data.classes import sort_classes
from medimg_baseline_cls.data.folders.split_folders import hint_upwards, shorten_list
from medimg_baseline_cls.data.folders.words import read_split
from medimg_baseline_cls.data.read import list_counts
from medimg_baseline_cls.data.spellings import unify_spellings
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import Inference
from medimg_baseline_cls.utils.quantities import say_count

Counts = Mapping[tuple[str, str], int]  # images of each split and class folder


def join_spellings(
    counts: Counts, class_names: Sequence[str] | None
) -> tuple[Mapping[str, str], list[Inference]]:
    """Return the class of each class folder, and what was joined.

    >>> join_spellings({("train", "Normal"): 9, ("test", "NORMAL"): 2}, None)[0]["NORMAL"]
    'Normal'
    """
    totals: Counter[str] = Counter()
    for (_, label), count in counts.items():
        totals[label] += count
    found = unify_spellings(totals, class_names)
    return found.names, [
        Inference(
            topic="spelling",
            found=text.partition(": ")[0],
            reason=text.partition(": ")[2],
            certainty="guess" if text in found.warnings else "sure",
            flag="--class-names NAME...",
            warning=f"{text}; list each of them in --class-names if they are different classes"
            if text in found.warnings
            else "",
        )
        for text in (*found.notes, *found.warnings)
    ]


def choose_classes(
    counts: Counts, class_names: Sequence[str] | None, *, fewest: int = 2
) -> tuple[str, ...]:
    """Return the class order: as given, else the class folders of train/, sorted.

    Raises:
        DataError: there are fewer than `fewest`, one is named twice, or train/ lacks one.
    """
    found = sorted({label for _, label in counts})
    in_any = fewest == 1  # all images are scored, whatever split they are in
    trained = sort_classes({n for split, n in counts if in_any or split in ("train", "")})
    source = "train/" if any(split for split, _ in counts) else "the data"
    if class_names is None:
        unseen = [name for name in found if name not in trained]
        if unseen:
            hint = _hint_near(unseen[0], trained) or f" (which has {shorten_list(trained)})"
            raise DataError(
                f"class {shorten_list(unseen)} has images in val/ or test/ but none in train/"
                f"{hint}: add some, or remove or rename that folder."
            )
        class_names = trained
    if len(set(class_names)) != len(class_names):
        raise DataError(f"class_names names a class twice: {shorten_list(class_names)}.")
    for name in class_names:
        if name not in trained:
            raise DataError(f"class {name} has no images in {source}{_hint_near(name, found)}.")
    if len(class_names) < fewest:
        raise DataError(
            f"{source} has images of {len(class_names)} class folder(s)"
            f"{': ' + class_names[0] if class_names else ''}; expected two or more, as in "
            "train/NORMAL/ and train/PNEUMONIA/."
        )
    return tuple(class_names)


def note_classes(counts: Counts, class_names: Sequence[str]) -> Iterable[str]:
    """Yield which class folders are left out, and which split lacks a class."""
    others: Counter[str] = Counter()
    for (_, label), count in counts.items():
        others[label] += count * (label not in class_names)
    for name, count in sorted(others.items()):
        if count:
            images = say_count(count, "images")
            yield f"class folder {name} is not among class_names: {images} left out"
    for split in sorted({split for split, _ in counts} - {""}):
        missing = [name for name in class_names if (split, name) not in counts]
        if missing:
            yield f"{split}/ has no image of class {shorten_list(missing)}"


def infer_layout(data_dir: Path, folders: Mapping[str, Path]) -> Inference:
    """Return which folders are the split, and which words of their names show it."""
    if not folders:
        hint = hint_upwards(data_dir) if read_split(data_dir.name)[0] else ""
        return Inference(
            topic="layout",
            found="class folders without a split",
            reason="no folder is named like train and test",
            certainty="guess" if hint else "sure",
            flag="--manifest TABLE --split-column NAME",
            warning=hint and f"{data_dir.name}/ is taken as all images, without a split{hint}",
        )
    names = [
        f"{folder.name}/" if folder.name == split else f"{folder.name}/ as {split}/"
        for split in ("train", "val", "test")
        if (folder := folders.get(split)) is not None
    ]
    is_one_kind = len({read_split(folder.name)[1] for folder in folders.values()}) == 1
    return Inference(
        topic="layout",
        found=f"split folders {', '.join(names)}",
        reason="names of folders",
        certainty="sure" if is_one_kind else "guess",
        flag="--manifest TABLE --split-column NAME",
        warning=""
        if is_one_kind
        else f"the split was guessed from the names {', '.join(names)}: check that it is meant so",
    )


def infer_companions(companions: Sequence[str], *, has_masks: bool) -> list[Inference]:
    """Return what was left out of the images as their masks or annotations."""
    if not companions:
        return []
    kept = "each image has one, kept as its mask" if has_masks else "not every image has one"
    return [
        Inference(
            topic="masks",
            found=f"{say_count(len(companions), 'files')} left out ({kept})",
            reason=f"names such as {companions[0]}",
            flag="--manifest TABLE",
            warning=f"{say_count(len(companions), 'files are')} left out, such as {companions[0]}, "
            "because of names of masks or other companions of images",
        )
    ]


def infer_empty(found: Mapping[str, Counter[str]]) -> list[Inference]:
    """Return the class folders without an image.

    Args:
        found: files of each suffix in such a folder.
    """
    return [
        Inference(
            topic="empty folder",
            found=f"{name}/ is not a class",
            reason=reason,
            warning=f"the folder {name}/ is not a class, because it has no image that can be "
            f"read; {reason}",
        )
        for name, counts in sorted(found.items())
        for reason in (f"found {list_counts(counts)}" if counts else "it is empty",)
    ]


def _hint_near(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, 1)
    return f" (did you mean {near[0]}?)" if near else ""
