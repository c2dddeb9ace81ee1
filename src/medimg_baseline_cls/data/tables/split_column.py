"""Find the split column of a table, and read it.

Without a setting, it is the column with values train, val or test only, both train and test among
them: surely if its name fits too, else as a guess. Two that disagree are refused.
"""

import re
from collections.abc import Collection, Sequence
from typing import cast

from medimg_baseline_cls.data.folders.words import SPLIT_WORDS, read_split_word, split_words
from medimg_baseline_cls.data.tables.table_file import ABSENT, Table
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import SPLIT_NAMES, Inference
from medimg_baseline_cls.utils.texts import clean_text

NONE = "none"  # --split-column none: the table has no split
_FLAG = f"--split-column NAME|{NONE}"
_NAMES = frozenset("split splits datasplit set subset partition partitions".split())
_FILLERS = frozenset(
    """
    data dataset image images name type label column official original default is in and or vs of
    id no the
    """.split()
)
_WORDS = "|".join(sorted(SPLIT_WORDS, key=len, reverse=True))
_JOINED = re.compile(rf"(?:is|in)?(?:(?:{_WORDS})(?:and|or|vs)?)+(?:split|set)?")


def find_split_column(
    table: Table, *, used: Collection[str], instead: str = ""
) -> tuple[str | None, tuple[Inference, ...]]:
    """Return the split column, None if there is none, and inferences about it.

    Args:
        table: the table.
        used: columns that are something else.
        instead: the setting that defines TEST instead of the table; "" for none.

    Raises:
        DataError: two columns may be the split, and disagree.
    """
    names = [name for name in table.columns if name not in used]
    found = {name: cells for name in names if (cells := _read_whole(table.columns[name]))}
    column = min(found, key=lambda name: not is_split_name(name), default=None)
    if instead:
        return None, () if column is None else (_note_unused(column, instead),)
    if column is None:
        odd = next(filter(is_split_name, names), None)
        return None, () if odd is None else (_doubt(table, odd),)
    others = [name for name in found if found[name] != found[column]]
    if others:
        both = f"{column} and {others[0]}"
        raise DataError(
            f"the columns {both} may both be the split, but disagree: pass --split-column "
            f"{column}, --split-column {others[0]}, or --split-column {NONE} to draw TEST here."
        )
    parts = ", ".join(name for name in SPLIT_NAMES if name in found[column])
    is_sure = is_split_name(column)
    return column, (
        Inference(
            topic="split",
            found=f"{parts} by column {column}",
            reason="its name and values" if is_sure else "its values",
            certainty="sure" if is_sure else "guess",
            flag=_FLAG,
            warning=""
            if is_sure
            else f"the column {column} is taken as the split, because all of its values are "
            f"{parts}: pass --split-column {column} to confirm, or --split-column {NONE}",
        ),
    )


def is_split_name(name: str) -> bool:
    """Return whether a column is named like a split.

    >>> [is_split_name(name) for name in ("Data Split", "train_test", "isTrain", "subset")]
    [True, True, True, True]
    >>> [is_split_name(name) for name in ("test", "dataset", "data_set", "train_time", "setting")]
    [False, False, False, False, False]
    """
    words = [word for word in split_words(name) if not word.isdigit()]
    joined = "".join(words)
    if joined in ("dataset", "datasets", *SPLIT_WORDS):
        return False
    if _JOINED.fullmatch(joined):
        return True  # isTrain, train_test
    core = set(words) - _FILLERS - SPLIT_WORDS.keys()
    return bool(core) and core <= _NAMES


def read_split_column(table: Table, column: str, *, where: str) -> list[str]:
    """Return the split of each row.

    Args:
        table: the table.
        column: of train, val or test in many spellings.
        where: the table's name, for the message.

    Raises:
        DataError: a cell has another value.
    """
    cells = table.columns[column]
    names = {cell: read_split_word(clean_text(cell)) for cell in set(cells)}
    unknown = sorted(cell for cell, name in names.items() if name is None)
    if unknown:
        line = table.lines[cells.index(unknown[0])]
        raise DataError(
            f"{where}, row {line}: {column} is {unknown[0]!r}; expected train, val or test."
        )
    return [cast(str, names[cell]) for cell in cells]


def _read_whole(cells: Sequence[str]) -> list[str] | None:
    """Return the split of each cell, where each has one, and train and test are among them."""
    read: dict[str, str] = {}
    for cell in cells:
        if cell not in read:
            split = read_split_word(clean_text(cell))
            if split is None:
                return None
            read[cell] = split
    return [read[cell] for cell in cells] if {"train", "test"} <= set(read.values()) else None


def _note_unused(column: str, instead: str) -> Inference:
    return Inference(
        topic="split", found=f"column {column} is not used", reason=instead, certainty="set"
    )


def _doubt(table: Table, column: str) -> Inference:
    """Return a warning about a column that is named like a split but has no usable values."""
    cells = ["" if cell == ABSENT else cell for cell in table.columns[column]]
    row = next((i for i, cell in enumerate(cells) if read_split_word(clean_text(cell)) is None), 0)
    if read_split_word(clean_text(cells[row])) is None:
        odd = f"{clean_text(cells[row])!r} in row {table.lines[row]} is not train, val or test"
    else:
        odd = f"it has only {', '.join(sorted({clean_text(cell) for cell in cells}))}"
    return Inference(
        topic="split",
        found=f"column {column} is not used",
        reason=odd,
        certainty="unknown",
        flag=_FLAG,
        warning=f"the column {column} is named like a split, but {odd}, so TEST is drawn from all "
        f"images: write train, val and test there and pass --split-column {column}, or pass "
        f"--split-column {NONE}",
    )
