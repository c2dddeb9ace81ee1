"""Find out who the patients are: from file names and folders, before any image is read.

A rule is an expression that finds the patient in the path below the class folder. It is looked
for in all names together, so a stray file does not hide it. It is only a guess unless the names
contain patient, subject, case, ... A user's expression that finds no patient is refused.
"""

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from medimg_baseline_cls.data.folders.image_files import ListedFile, Listing
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import Certainty, ImageRecord, Inference
from medimg_baseline_cls.utils.quantities import say_count

CLASS_DEPTH = {"split folders": 2, "class folders": 1, "table": 0, "npz": 2}

# Number and etiology make the patient in the Kaggle chest X-rays: person23_bacteria_77.jpeg,
# IM-0115-0001.jpeg, NORMAL2-IM-0381-0001.jpeg. The bare personN is not a patient.
DEFAULT_GROUP_REGEX = r"(?:^|/)(person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+)(?=[-_.])[^/]*$"

_PATIENT_COLUMNS = frozenset(
    f"{word}{end}"
    for word in ("patient", "subject", "case", "person", "participant", "pat", "subj", "p")
    for end in ("", "id", "no", "number", "name")
) - {"p", "pname", "pno", "pnumber"}
_WORDS = "patient|pat|pid|subject|subj|sub|case|person|participant|pt"
_MIN_KEYS = 3
_MIN_SHARE = 0.5  # of the names that a pattern has to match
_MAX_SHARE = 0.2  # of the images that one patient may have before it is doubted
_FEW = 10  # images that one patient may have in any data set
_RISK = "images of one patient may be in more than one split"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientRule:
    """How the patient is read from a path: an expression, where it comes from, how sure it is."""

    pattern: str
    source: str
    certainty: Certainty


KAGGLE = PatientRule(pattern=DEFAULT_GROUP_REGEX, source="the Kaggle file names", certainty="sure")
_UNKNOWN = PatientRule(pattern=DEFAULT_GROUP_REGEX, source="", certainty="unknown")
# Names with a word for patient.
_SURE = (
    KAGGLE,
    PatientRule(
        pattern=rf"(?i)(?:^|[/_. -])((?:{_WORDS})[_. -]?[a-z]?\d+)(?!\d)",
        source="names with the word patient, subject, case, ...",
        certainty="sure",
    ),
    PatientRule(pattern=r"(?:^|[/_-])(P_\d{3,})(?=[/_.-])", source="P_ numbers", certainty="sure"),
    PatientRule(pattern=r"(?:^|/)(p\d{7,})/", source="MIMIC folders", certainty="sure"),
    PatientRule(pattern=r"(TCGA-\w\w-\w{4})", source="TCGA barcodes", certainty="sure"),
)
# Names in which several images share the same beginning.
_GUESSES = (
    PatientRule(
        pattern=r"(?:^|/)(\d+)[_ -][^/]*$",
        source="a number that several file names begin with",
        certainty="guess",
    ),
    PatientRule(
        pattern=r"(?:^|/)([A-Za-z][A-Za-z_-]{0,15}\d+)[_ -][^/]*$",
        source="a name with a number that several file names begin with",
        certainty="guess",
    ),
)


def find_patient_column(names: Iterable[str]) -> str | None:
    """Return the column that is named like a patient column; None if there is none.

    >>> find_patient_column(["path", "label", "Patient ID"])
    'Patient ID'
    """
    found = [name for name in names if re.sub(r"[^a-z]", "", name.lower()) in _PATIENT_COLUMNS]
    return found[0] if found else None


def set_rule(group_regex: str) -> PatientRule:
    """Return the rule of an expression that the user has set."""
    return PatientRule(pattern=group_regex, source="group_regex", certainty="set")


def find_patient_rule(listing: Listing) -> PatientRule:
    """Return the rule that fits most names; one of certainty "unknown" where none does."""
    names = _names_below(listing)
    found = {rule: _shares(rule, names) for rule in _SURE}
    # A case is a patient or one examination of several: it is the latter if no two images share it.
    sure = {rule: shares for rule, shares in found.items() if not _are_single_cases(shares)}
    for rule, shares in sure.items():
        if shares.total() >= max(2, _MIN_SHARE * len(names)):
            return rule
    for rule in (*_folder_rules(names), *_GUESSES):
        if _is_plausible(_shares(rule, names), num_images=len(names)):
            return rule
    best = max(sure, key=lambda rule: sure[rule].total(), default=_UNKNOWN)
    return best if sure.get(best) else _UNKNOWN


def require_confirmed(listing: Listing, rule: PatientRule) -> None:
    """Refuse a guess by which patients are in more than one split folder.

    Raises:
        DataError: with the flag that confirms the guess, and the one that denies it.
    """
    if rule.certainty != "guess":
        return
    depth, pattern = CLASS_DEPTH[listing.kind], re.compile(rule.pattern)
    folders: defaultdict[str, set[str]] = defaultdict(set)
    for file in listing.files:
        folders[name_group(file.path, pattern, depth=depth)].add(file.folder)
    shared = [name for name, held in folders.items() if len(held) > 1]
    if shared:
        raise DataError(
            f"{rule.source} may be the patient, but then {len(shared)} patients, such as "
            f"{shared[0]}, are in more than one split: pass --group-regex none if each image is "
            f"another patient, or --group-regex {shlex.quote(rule.pattern)} to confirm."
        )


def require_matches(listing: Listing, *, group_regex: str) -> None:
    """Refuse an expression for the patient that finds none, or one and the same in all names.

    Args:
        listing: the images; those with a patient in the data are ignored.
        group_regex: searched in the path below the class folder.

    Raises:
        DataError: it matches nothing, or makes one patient of all images.
    """
    names = _names_below(listing)
    pattern = re.compile(group_regex)
    if names and not any(pattern.search(name) for name in names):
        raise DataError(
            f"--group-regex {shlex.quote(group_regex)} matches 0 of {len(names)} names, such as "
            f"{names[0]}: correct it to keep each patient in one split; or pass --group-regex none "
            "if each image is another patient."
        )
    patients = {name_group(name, pattern, depth=0) for name in names}
    if len(names) > 1 and len(names) == len(listing.files) and len(patients) == 1:
        raise DataError(
            f"by --group-regex {shlex.quote(group_regex)} all {len(names)} images belong to one "
            f"patient {patients.pop()!r}: let its groups capture what differs between patients, "
            r"such as ^(pat\d+)."
        )


def name_group(path: str, pattern: re.Pattern[str], *, depth: int) -> str:
    """Return the patient that an expression finds in a path below the class folder, else the path.

    Args:
        path: of an image.
        pattern: its groups, or else its whole match, name the patient.
        depth: how many folders are above the part that is searched.
    """
    below = path.split("/", depth)[-1]  # without split and class folder
    match = pattern.search(below)
    if match is None:
        return path
    parts = [part for part in match.groups() if part]
    return "_".join(parts) or match.group() or path


def infer_patients(
    records: Sequence[ImageRecord],
    listing: Listing,
    *,
    rule: PatientRule,
    named: Mapping[str, str],
) -> Inference:
    """Return the patients of some images, the certainty, and what is doubtful.

    Args:
        records: the images with their groups.
        listing: where they come from.
        rule: how the patient was read from a path.
        named: path to what the data name as the patient, as it is in the table or DICOM tag.
    """
    num_groups = len({record.group for record in records})
    certainty = rule.certainty
    num_lone = sum(record.group == record.path for record in records)
    field = _name_field(listing)
    if num_lone == len(records):
        is_set = rule.certainty == "set"
        return Inference(
            topic="patients",
            found="not known: each image on its own",
            reason=f"{rule.source}" if is_set else "no name, column or tag identifies the patient",
            certainty="set" if is_set else "unknown",
            flag="--group-regex REGEX or --group-column COLUMN",
            warning=""
            if is_set
            else f"no patient is known: {_RISK}; pass --group-regex or "
            "--group-column, or --group-regex none if each image is another patient",
        )
    source = rule.source
    if named:
        source = field if len(named) == len(records) else f"{field} and {source}".rstrip(" and")
    warnings = [
        *_warn_of_unique(rule, num_groups=num_groups, num_images=len(records), named=named),
        *_warn_of_guess(rule, num_named=len(named), num_images=len(records)),
        *_warn_of_lone(num_lone, len(records), field=field if named else rule.source),
        *_warn_of_giant(records, named, field=field if named else rule.source),
    ]
    if named and len(named) == len(records):
        certainty = "sure"
    return Inference(
        topic="patients",
        found=f"{say_count(num_groups, 'patients')}, {say_count(len(records), 'images')}",
        reason=source,
        certainty="guess" if warnings and certainty == "sure" else certainty,
        flag="--group-regex REGEX|none" if not listing.group_column else "--group-column COLUMN",
        warning=_join(warnings),
    )


def _join(sentences: Sequence[str]) -> str:
    """Return sentences that have no ends as one text.

    >>> _join(["one is lost", "two are not: look"]), _join([])
    ('one is lost. Two are not: look', '')
    """
    return ". ".join([*sentences[:1], *(f"{s[:1].upper()}{s[1:]}" for s in sentences[1:])])


def _warn_of_unique(
    rule: PatientRule, *, num_groups: int, num_images: int, named: Mapping[str, str]
) -> Iterator[str]:
    if num_groups == num_images and not named and rule.certainty == "sure" and rule != KAGGLE:
        yield (
            f"by {rule.source} no two images are of one patient: pass --group-regex if that is "
            "not so, or --group-regex none to confirm"
        )


def _warn_of_guess(rule: PatientRule, *, num_named: int, num_images: int) -> Iterator[str]:
    if rule.certainty == "guess" and num_named < num_images:
        yield (
            f"the patients were guessed from the names ({rule.source}): pass --group-regex "
            f"{shlex.quote(rule.pattern)} to confirm, or --group-regex none"
        )


def _warn_of_lone(num_lone: int, num_images: int, *, field: str) -> Iterator[str]:
    if num_lone:
        verb = "has" if num_lone == 1 else "have"
        yield (
            f"{num_lone} of {num_images} images {verb} no patient by {field}: each counts as a "
            f"patient of its own, and {_RISK}"
        )


def _warn_of_giant(
    records: Sequence[ImageRecord], named: Mapping[str, str], *, field: str
) -> Iterator[str]:
    """Warn of one patient with very many images: a filler such as ANONYMOUS, or a wrong pattern."""
    sizes = Counter(record.group for record in records)
    name, size = sizes.most_common(1)[0]
    if size <= max(_FEW, _MAX_SHARE * len(records)):
        return
    members = [record for record in records if record.group == name]
    labels = sorted({record.label for record in members})
    fillers = {named[r.path] for r in members if _is_filler(named.get(r.path, "patient"))}
    value = f" {min(fillers)!r}" if fillers else ""
    classes = f" of the classes {', '.join(labels)}" if len(labels) > 1 else ""
    yield (
        f"one patient has {size} of {len(records)} images{classes}: {field}{value} does not seem "
        "to name a patient there; correct it, or pass --group-column or --group-regex"
    )


def _is_filler(value: str) -> bool:
    """Return whether a patient's name is a placeholder of de-identification."""
    word = re.sub(r"[^a-z0-9]", "", value.casefold())
    return not word.strip("0x") or word.startswith(("anon", "deid", "unknown", "none", "removed"))


def _name_field(listing: Listing) -> str:
    if listing.group_column is not None:
        return f"column {listing.group_column}"
    return "PatientID (0010,0020)"


def _folder_rules(names: Sequence[str]) -> Iterator[PatientRule]:
    """Yield a rule for each level of folders below the class.

    A level of buckets, as in p10/p10000032/, is skipped: the next one repeats its names.
    """
    parts = [name.split("/")[:-1] for name in names]
    for level in range(max(map(len, parts), default=0)):
        held = [part for part in parts if len(part) > level]
        deeper = [part for part in held if len(part) > level + 1]
        is_bucket = bool(deeper) and all(p[level + 1].startswith(p[level]) for p in deeper)
        if len(held) >= _MIN_SHARE * len(names) and not is_bucket:
            skipped = f"(?:[^/]+/){{{level}}}" if level else ""
            yield PatientRule(
                pattern=rf"^{skipped}([^/]+)/",
                source="a folder for each patient",
                certainty="guess",
            )


def _shares(rule: PatientRule, names: Iterable[str]) -> Counter[str]:
    """Return the number of names of each patient that a rule finds."""
    pattern = re.compile(rule.pattern)
    found = (name_group(name, pattern, depth=0) for name in names if pattern.search(name))
    return Counter(found)


def _are_single_cases(shares: Counter[str]) -> bool:
    """Return whether keys are numbers of cases that have one image each."""
    return (
        bool(shares)
        and max(shares.values()) == 1
        and all(key.lower().startswith("case") for key in shares)
    )


def _is_plausible(shares: Counter[str], *, num_images: int) -> bool:
    """Return whether keys may be patients: many, some with several images, none with very many."""
    matched = shares.total()
    in_shared = sum(count for count in shares.values() if count > 1)
    return (
        matched >= _MIN_SHARE * num_images
        and len(shares) >= _MIN_KEYS
        and in_shared >= 0.1 * matched
        and max(shares.values()) <= max(_FEW, _MAX_SHARE * num_images)
    )


def _names_below(listing: Listing) -> list[str]:
    """Return the path below the class folder of each image without a patient in the data."""
    depth = CLASS_DEPTH[listing.kind]
    return [_below(file, depth) for file in listing.files if file.group is None]


def _below(file: ListedFile, depth: int) -> str:
    return file.path.split("/", depth)[-1]
