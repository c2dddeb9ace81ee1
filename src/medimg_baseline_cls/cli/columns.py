"""The flags that say how another data set is read."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg


@dataclass(frozen=True)
class Columns:
    """How the other data set is read, where that differs from the run."""

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
    on_bad_image: Annotated[
        str | None,
        arg(
            metavar="NAME",
            help="Unreadable files: stop with an error (error), or skip and list them: skip.",
            help_behavior_hint="",
        ),
    ] = None
