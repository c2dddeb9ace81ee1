"""Find the columns of a table that settings name: in any spelling, or with the flags to pass.

A column may differ in case, blanks or hyphens. If the file or the label column is missing, the
flags to pass are guessed from usual column names.
"""

import shlex
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from medimg_baseline_cls.data.folders.split_folders import shorten_list
from medimg_baseline_cls.data.folders.words import split_words
from medimg_baseline_cls.data.spellings import find_spelling
from medimg_baseline_cls.errors import DataError

# Usual column names, the surest first.
USUAL = {
    "path_column": (
        *("path", "filepath", "imagepath", "file", "filename", "imagefile", "imagefilename"),
        *("imageindex", "imagename", "image", "img", "imgpath", "imageid", "dicomid", "id"),
    ),
    "label_columns": (
        *("label", "labels", "class", "classname", "diagnosis", "diagnose", "dx", "target", "y"),
        *("category", "finding", "findings", "findinglabels", "disease", "grade", "pathology"),
        *("outcome", "result", "condition", "type"),
    ),
}


def match_column(name: str, columns: Collection[str], *, notes: list[str]) -> str:
    """Return the column that a setting means, with a note if it is spelled in another way.

    >>> notes = []
    >>> match_column("Path", ["path", "label"], notes=notes), notes
    ('path', ['the column path is taken for Path'])
    """
    found = find_spelling(name, columns)
    if found is None or found == name:
        return name
    notes.append(f"the column {found} is taken for {name}")
    return found


def require_columns(columns: Collection[str], wanted: Mapping[str, str], *, manifest: Path) -> None:
    """Refuse a table that lacks columns, with the flags that were probably meant.

    Args:
        columns: of the table.
        wanted: the columns that must be there, each with the setting that names it.
        manifest: the table.

    Raises:
        DataError: a column is missing.
    """
    missing = [name for name in wanted if name not in columns]
    if not missing:
        return
    free = [name for name in columns if name not in wanted]
    flags: list[str] = []
    parts: list[str] = []
    for name in missing:
        flag = f"--{wanted[name].replace('_', '-')}"
        parts.append(f"{name} ({flag})")
        meant = _guess(name, free, usual=USUAL.get(wanted[name], ()))
        if meant is not None:
            free.remove(meant)
            flags.append(f"{flag} {shlex.quote(meant)}")
    hint = f"did you mean {' '.join(flags)}?" if flags else "pass its columns with these flags."
    raise DataError(
        f"{manifest} lacks the column(s) {', '.join(parts)}; it has "
        f"{shorten_list(list(columns))}: {hint}"
    )


def guess_columns(columns: Iterable[str]) -> dict[str, str]:
    """Return the settings that a table needs where its columns have other names than the defaults.

    A setting is left out where no column has a usual name.

    >>> guess_columns(["image_id", "dx", "age"]), guess_columns(["path", "Label"])
    ({'path_column': 'image_id', 'label_columns': 'dx'}, {})
    """
    free, found = list(columns), dict[str, str]()
    for setting, name in (("path_column", "path"), ("label_columns", "label")):
        if find_spelling(name, free) is not None:
            continue
        meant = _guess(name, free, usual=USUAL[setting])
        if meant is not None:
            free.remove(meant)
            found[setting] = meant
    return found


def _guess(name: str, columns: Iterable[str], *, usual: Collection[str]) -> str | None:
    """Return the column nearest to a name, or with a usual name; None if there is none."""
    held = {column.casefold(): column for column in columns}
    near = get_close_matches(name.casefold(), held, 1, cutoff=0.8 if usual else 0.6)
    if near:
        return held[near[0]]
    words = {"".join(split_words(column)): column for column in held.values()}
    return next((words[word] for word in usual if word in words), None)
