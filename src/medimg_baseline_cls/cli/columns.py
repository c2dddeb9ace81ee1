"""The flags that name the columns of a table of images."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg


@dataclass(frozen=True)
class Columns:
    """The columns of the other data set's table, where they are not those of the run."""

    path_column: Annotated[
        str | None, arg(metavar="NAME", help="Column of the image files.", help_behavior_hint="")
    ] = None
    label_columns: Annotated[
        tuple[str, ...] | None,
        arg(
            metavar="NAME...",
            help="Column of the class, or one for each finding.",
            help_behavior_hint="",
        ),
    ] = None
    label_separator: Annotated[
        str | None,
        arg(metavar="TEXT", help="Separates the findings of a cell.", help_behavior_hint=""),
    ] = None
    group_column: Annotated[
        str | None, arg(metavar="NAME", help="Column of the patient.", help_behavior_hint="")
    ] = None
    group_regex: Annotated[
        str | None,
        arg(
            metavar="TEXT",
            help="Expression that finds the patient in a path.",
            help_behavior_hint="",
        ),
    ] = None
    subgroup_columns: Annotated[
        tuple[str, ...] | None,
        arg(metavar="NAME...", help="Columns of subgroups.", help_behavior_hint=""),
    ] = None
