"""Say what is doubtful about patients before any image is read: by file names and columns.

A pattern that matches no name would make every image a patient of its own, unseen: it is
refused. Where nothing names the patient, but a column or the file names seem to, a hint does.
"""

import re
import shlex

from medimg_baseline_cls.data.index import CLASS_DEPTH, DEFAULT_GROUP_REGEX, name_group
from medimg_baseline_cls.data.listing import ListedFile, Listing
from medimg_baseline_cls.errors import DataError

_PATIENT_COLUMNS = frozenset(
    f"{word}{end}"
    for word in ("patient", "subject", "case", "person", "participant", "pat", "subj", "p")
    for end in ("", "id", "no", "number", "name")
) - {"p", "pname", "pno", "pnumber"}
_PATIENT_NAME = re.compile(
    r"(?:^|/)(patient|pat|subject|subj|sub|case|person|participant|pt|p)([-_]?)\d+(?=[-_.][^/]*$)",
    re.IGNORECASE,
)
_RISK = "one patient may stand on two sides of the split"


def require_matches(listing: Listing, *, group_regex: str) -> None:
    """Refuse an expression for the patient that finds none, or one and the same in all names.

    Args:
        listing: the images; those whose patient the data name are not looked at.
        group_regex: searched in the path below the class folder.

    Raises:
        DataError: it matches nothing, or makes one patient of all images.
    """
    names = _names_below(listing)
    pattern = re.compile(group_regex)
    if names and not any(pattern.search(name) for name in names):
        raise DataError(
            f"--group-regex {shlex.quote(group_regex)} matches 0 of {len(names)} names, such as "
            f"{names[0]}: correct it, so that no patient stands on two sides; or say "
            "--group-regex none if each image is another patient."
        )
    patients = {name_group(name, pattern, depth=0) for name in names}
    if len(names) > 1 and len(names) == len(listing.files) and len(patients) == 1:
        raise DataError(
            f"by --group-regex {shlex.quote(group_regex)} all {len(names)} images belong to one "
            f"patient {patients.pop()!r}: let its groups take in what differs between patients, "
            r"such as ^(pat\d+)."
        )


def find_patient_hint(listing: Listing) -> tuple[str, str] | None:
    """Return what seems to name the patient though nothing was set, and the flag that uses it."""
    names = _names_below(listing)
    if len(names) < len(listing.files) or any(re.search(DEFAULT_GROUP_REGEX, n) for n in names):
        return None
    for column in listing.unused_columns:
        if re.sub(r"[^a-z]", "", column.lower()) in _PATIENT_COLUMNS:
            flag = f"add --group-column {shlex.quote(column)}"
            return f"the table has a column {column}, which is not used: {_RISK}", flag
    matches = [_PATIENT_NAME.search(name) for name in names]
    found = [match for match in matches if match is not None]
    if len(found) < len(names) or len({match.group() for match in found}) == len(names):
        return None
    regex = rf"({found[0].group(1)}{found[0].group(2)}\d+)[-_.]"
    text = f"names such as {names[0]} seem to hold the patient: {_RISK}"
    return text, f"add --group-regex '{regex}'"


def _names_below(listing: Listing) -> list[str]:
    """Return the path below the class folder of each image whose patient the data do not name."""
    depth = CLASS_DEPTH[listing.kind]
    return [_below(file, depth) for file in listing.files if file.group is None]


def _below(file: ListedFile, depth: int) -> str:
    return file.path.split("/", depth)[-1]
