"""The flags that say how another data set is read."""

from dataclasses import dataclass
from typing import Annotated

from medimg_baseline_cls.cli.flags import option


@dataclass(frozen=True)
class Columns:
    """How the other data set is read, where that differs from the run."""

    path_column: Annotated[str | None, option("Column of the image files.", "NAME")] = None
    label_columns: Annotated[
        tuple[str, ...] | None,
        option("Column of the class, or one for each finding.", "NAME..."),
    ] = None
    label_separator: Annotated[
        str | None,
        option("Separates the findings of a cell.", "TEXT"),
    ] = None
    group_column: Annotated[str | None, option("Column of the patient.", "NAME")] = None
    group_regex: Annotated[
        str | None,
        option("Expression that finds the patient in a path.", "TEXT"),
    ] = None
    subgroup_columns: Annotated[
        tuple[str, ...] | None,
        option("Columns of subgroups.", "NAME..."),
    ] = None
    on_bad_image: Annotated[
        str | None,
        option(
            "Unreadable files: stop with an error (error), or skip and list them: skip.", "NAME"
        ),
    ] = None
