"""The metrics of TEST by subgroup: the content of subgroups.json."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from medimg_baseline_cls.records.estimates import Json
from medimg_baseline_cls.records.summaries import ClassMetrics

# What is written as it is, in this order.
_FACTS = ("split", "positive_class", "min_images")
_COLUMN = ("column", "source", "num_not_given")
_SIZES = ("num_images", "num_groups", "is_too_small")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroup:
    """Some images of TEST: how many, and, unless they are too few, the metrics of each class."""

    num_images: int
    num_groups: int
    is_too_small: bool
    classes: Mapping[str, ClassMetrics]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        classes = {name: found.to_json() for name, found in self.classes.items()}
        return {name: getattr(self, name) for name in _SIZES} | {"classes": classes}

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        classes: Mapping[str, Json] = content["classes"]
        return cls(
            **{name: content[name] for name in _SIZES},
            classes={name: ClassMetrics.from_json(found) for name, found in classes.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMetrics:
    """One way to part the TEST images.

    Attributes:
        column: its name.
        source: "table", "bands" (of numbers) or "path" (the file name).
        num_not_given: images of no subgroup.
        subgroups: by value, in the order in which they are shown.
    """

    column: str
    source: str
    num_not_given: int
    subgroups: Mapping[str, Subgroup]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        subgroups = {value: found.to_json() for value, found in self.subgroups.items()}
        return {name: getattr(self, name) for name in _COLUMN} | {"subgroups": subgroups}

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        subgroups: Mapping[str, Json] = content["subgroups"]
        return cls(
            **{name: content[name] for name in _COLUMN},
            subgroups={value: Subgroup.from_json(found) for value, found in subgroups.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgroupSummary:
    """TEST as a whole, and by the subgroups of each column.

    Attributes:
        positive_class: of two classes; None where each class is evaluated against the rest.
        min_images: a subgroup of fewer has no metrics.
        whole: all images.
    """

    split: str
    positive_class: str | None
    min_images: int
    whole: Subgroup
    columns: tuple[ColumnMetrics, ...]

    def items(self) -> Iterator[tuple[str, str, Subgroup]]:
        """Yield column, value and subgroup, the whole TEST first as ("", "all", ...)."""
        yield "", "all", self.whole
        for column in self.columns:
            for value, found in column.subgroups.items():
                yield column.column, value, found

    def to_json(self) -> dict[str, Any]:
        """Return the content of subgroups.json."""
        return {
            **{name: getattr(self, name) for name in _FACTS},
            "all": self.whole.to_json(),
            "columns": [column.to_json() for column in self.columns],
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return cls(
            **{name: content[name] for name in _FACTS},
            whole=Subgroup.from_json(content["all"]),
            columns=tuple(map(ColumnMetrics.from_json, content["columns"])),
        )
