"""The metrics of TEST by subgroup: the content of subgroups.json."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from medimg_baseline_cls.records.estimates import Json
from medimg_baseline_cls.records.summaries import ClassMetrics


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
        return {
            "num_images": self.num_images,
            "num_groups": self.num_groups,
            "is_too_small": self.is_too_small,
            "classes": classes,
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        classes: Mapping[str, Json] = content["classes"]
        return cls(
            **{name: content[name] for name in ("num_images", "num_groups", "is_too_small")},
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
        return {
            "column": self.column,
            "source": self.source,
            "num_not_given": self.num_not_given,
            "subgroups": {value: found.to_json() for value, found in self.subgroups.items()},
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        subgroups: Mapping[str, Json] = content["subgroups"]
        return cls(
            **{name: content[name] for name in ("column", "source", "num_not_given")},
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
            "split": self.split,
            "positive_class": self.positive_class,
            "min_images": self.min_images,
            "all": self.whole.to_json(),
            "columns": [column.to_json() for column in self.columns],
        }

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """Return what `to_json` wrote."""
        return cls(
            **{name: content[name] for name in ("split", "positive_class", "min_images")},
            whole=Subgroup.from_json(content["all"]),
            columns=tuple(map(ColumnMetrics.from_json, content["columns"])),
        )
