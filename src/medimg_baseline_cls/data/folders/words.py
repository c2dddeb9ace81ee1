"""Read the name of a folder: does it mean a split, a fold, a site, a patient, masks, a view?

Names alone, no disk: trainSet, train_set and "Train set" are the same words. What the names
of a whole level mean together is decided here, too; what to do about it in layout.py.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from functools import lru_cache
from typing import Literal

Level = Literal["folds", "sites", "parts", "patients"]

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_SPLIT_WORD = re.compile(
    rf"({'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))})"
    "(?:s?(?:set|data|dataset|images?|imgs?|folder|split|daten))?"
)
_CONTAINERS = frozenset(
    """
    image images img imgs picture pictures photo photos scan scans slice slices frame frames data
    dataset datasets set sets file files folder folders dir directory input inputs jpg jpeg png tif
    tiff bmp dcm dicom dicoms nii nifti npy
    """.split()
)
_PARTS = frozenset("part parts base batch chunk shard archive subset volume disk disc zip".split())
_FOLDS = frozenset("fold folds kfold cv crossval xval split splits partition".split())
_SITES = frozenset(
    """
    site sites hospital hospitals center centers centre centres clinic clinics institution
    institutions institute scanner scanners vendor vendors klinik krankenhaus hopital ge siemens
    philips canon hitachi toshiba samsung hologic fuji
    """.split()
)
_PATIENTS = frozenset(
    """
    patient patients pat pt subject subjects subj sub case cases person participant pid id mrn
    study series session ses exam visit slide
    """.split()
)
_GRADES = frozenset(
    """
    class classes cls grade grades stage type level category cat label score birads rads kl group
    """.split()
)
_COMPANIONS = frozenset(
    """
    mask masks seg segm segmentation segmentations gt groundtruth label labels annotation
    annotations annot contour contours superpixels
    """.split()
)
_NEGATIONS = frozenset("no non not with without incorrect correct wrong wearing".split())
_VIEWS = frozenset(
    """
    ap pa lateral lat frontal cc mlo axial coronal sagittal left right l r od os view views side
    upper lower anterior posterior oblique ct mr mri t w ce flair dwi adc us xray cxr pet dce pd
    stir oct fundus x mag magnification cropped crop resized augmented aug processed preprocessed
    enhanced normalized color colour gray grey grayscale rgb male female m f men women adult child
    pediatric raw original originals baseline followup follow up pre post before after day week
    month year time tp p s
    """.split()
)
_LONG_NUMBER = re.compile(r"\d{4,}$|^\d+(?:\.\d+){3,}$")  # or a UID
_PADDED_NUMBER = re.compile(r"0\d\d$")
_SOME, _MANY = 5, 20
_MOST = 0.9


@lru_cache(maxsize=65536)
def split_words(name: str) -> tuple[str, ...]:
    """Return the words and numbers of a name, in lower case.

    >>> split_words("ISIC2018_TrainingData")
    ('isic', '2018', 'training', 'data')
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return tuple(re.findall(r"[^\W\d_]+|\d+", spaced.casefold()))


def read_split(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the split that a name means, and its other words.

    >>> read_split("ISIC_Training_Input"), read_split("val_2"), read_split("control")
    (('train', ('isic',)), ('val', ()), (None, ('control',)))
    """
    found: set[str] = set()
    others: list[str] = []
    for word in split_words(name):
        match = _SPLIT_WORD.fullmatch(word)
        if match is not None:
            found.add(SPLIT_WORDS[match[1]])
        elif not _is_number(word) and word not in _CONTAINERS:
            others.append(word)
    return found.pop() if len(found) == 1 else None, tuple(others)


def read_split_word(text: str) -> str | None:
    """Return the split that a whole text means; None for any other text.

    >>> [read_split_word(text) for text in ("Training", "test set", "DEV", "a/test.png", "")]
    ['train', 'test', 'val', None, None]
    """
    match = _SPLIT_WORD.fullmatch(re.sub(r"[\s_-]+", "", text.casefold()))
    return None if match is None else SPLIT_WORDS[match[1]]


def is_companion_name(name: str) -> bool:
    """Return whether a folder of this name contains masks or annotations, not images.

    >>> [is_companion_name(name) for name in ("lung masks", "GroundTruth", "no_mask")]
    [True, True, False]
    """
    words = [word for word in split_words(name) if not word.isdigit()]
    if not _NEGATIONS.isdisjoint(words) or re.search(r"label[\W_]*\d+$", name.lower()):
        return False  # no_mask, label_0: classes
    while len(words) > 1 and words[-1] in _CONTAINERS:
        words.pop()
    return bool(words) and (words[-1] in _COMPANIONS or words[-2:] == ["ground", "truth"])


def find_structural(names: Collection[str]) -> set[str]:
    """Return which folders of one level are structural, by their names together.

    >>> find_structural(["images", "masks"]) == {"images", "masks"}
    True
    >>> find_structural(["mask", "no_mask"])
    set()
    """
    held = {name: _last_word(name) for name in names if is_structural(name)}
    return {
        name
        for name, word in held.items()
        if not any(word in other.casefold() for other in names if other not in held)
    }


def is_structural(name: str) -> bool:
    """Return whether a folder name means a kind of file, never a class.

    >>> [is_structural(name) for name in ("images", "masks_png", "images_of_TB")]
    [True, True, False]
    """
    words = [word for word in split_words(name) if not word.isdigit()]
    return bool(words) and (set(words) <= _CONTAINERS or is_companion_name(name))


def is_neutral(name: str) -> bool:
    """Return whether a folder inside a class may have this name: a patient, a view, a split, ...

    >>> [is_neutral(name) for name in ("0012", "study1", "40X", "left", "NORMAL")]
    [True, True, True, True, False]
    """
    words = {word for word in split_words(name) if not word.isdigit()}
    if read_split(name)[0] or is_structural(name) or words & _PATIENTS:
        return True
    named = {word for word in words if len(word) > 1} or words  # of siteA the site
    return named <= _VIEWS | _CONTAINERS | _FOLDS | _SITES | _PARTS


def without_numbers(name: str) -> str:
    """Return the words of a name that number nothing: study1_positive is positive."""
    return " ".join(w for w in split_words(name) if not w.isdigit() and w not in _PATIENTS)


def find_level(names: Collection[str]) -> Level | None:
    """Return what folders are by their names, if they are surely not classes.

    One folder of a split may be among them: fold_0, fold_1, test.

    >>> find_level(["fold_0", "fold_1"]), find_level(["siteA", "siteB"]), find_level(["A", "B"])
    ('folds', 'sites', None)
    """
    names = [name for name in names if read_split(name)[0] is None]
    stems = Counter(
        tuple(word for word in split_words(name) if not _is_number(word)) for name in names
    )
    if len(names) < 2:
        return None
    if all(_FOLDS & set(stem) and set(stem) <= _FOLDS | _CONTAINERS for stem in stems):
        return "folds"
    if all(_SITES & set(stem) for stem in stems):
        return "sites"
    (stem, count), *_ = stems.most_common(1)
    if count < _MOST * len(names):
        return None
    last = stem[-1] if stem else ""
    if last in _PATIENTS:
        return "patients"
    if last in _CONTAINERS | _PARTS:
        return "parts"
    is_long = sum(map(bool, map(_LONG_NUMBER.search, names))) >= _MOST * len(names)
    is_padded = sum(map(bool, map(_PADDED_NUMBER.search, names))) >= _MOST * len(names)
    is_many = len(names) > _MANY and all(len(name) >= 3 for name in names)
    is_patient = is_long or is_many or (is_padded and len(names) >= _SOME)
    return "patients" if is_patient and last not in _GRADES else None


def _last_word(name: str) -> str:
    return [word for word in split_words(name) if not word.isdigit()][-1].removesuffix("s")


def _is_number(word: str) -> bool:
    return word.isdigit() or len(word) == 1
