"""What the gallery says of a mistake beyond its panel: where it is, and what a reader wrote."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.reporting.content import RunContent, number_of
from medimg_baseline_cls.reporting.page.pictures import Error, Gallery, Picture, read_picture
from medimg_baseline_cls.reporting.text.format import format_score
from medimg_baseline_cls.schema import describe_findings

_NUM_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Near:
    """A training image near a mistake in feature space; its picture after `medimg explain`."""

    image_id: str
    label: str
    distance: str
    picture: Picture | None


@dataclass(frozen=True, slots=True)
class CaseNotes:
    """The rows of dossier.csv that are about one image of the gallery.

    Attributes:
        facts: patient, subgroups and distance to the threshold, in words.
        nearest: the nearest first.
        readings: what a reader wrote, each once.
    """

    facts: tuple[str, ...]
    nearest: tuple[Near, ...]
    readings: tuple[str, ...]


def describe_cases(content: RunContent, galleries: Iterable[Gallery]) -> dict[str, CaseNotes]:
    """Return the notes of each shown error by its anchor; none for a run without a dossier."""
    row_numbers = {row["image_id"]: number for number, row in enumerate(content.split)}
    notes: dict[str, CaseNotes] = {}
    for gallery in galleries:
        for error in gallery.shown:
            rows = [row for row in content.dossier if _is_about(row, error)]
            if rows:
                notes[error.anchor] = _describe(content, rows, row_numbers=row_numbers)
    return notes


def _is_about(row: Mapping[str, str], error: Error) -> bool:
    found = (row.get("kind"), row.get("class"), row.get("image_id"))
    return found == (error.kind, error.class_name, error.image_id)


def _describe(
    content: RunContent, rows: list[Mapping[str, str]], *, row_numbers: Mapping[str, int]
) -> CaseNotes:
    first = rows[0]
    group = first.get("group", "")
    # An image without a patient is a group by its own path, or by that of a copy.
    is_known = group and all(group != row["path"] for row in content.split)
    facts = [f"patient {group}"] if is_known else []
    facts += [
        f"{name.removeprefix('subgroup_')} {value}"
        for name, value in first.items()
        if name.startswith("subgroup_") and value
    ]
    facts += _describe_margin(content, [row for row in rows if row.get("rank")])
    texts = [": ".join(filter(None, _reading(row))) for row in rows]
    return CaseNotes(
        tuple(facts),
        tuple(_list_nearest(content, first, row_numbers=row_numbers)),
        tuple(dict.fromkeys(filter(None, texts))),
    )


def _describe_margin(content: RunContent, rows: list[Mapping[str, str]]) -> list[str]:
    """Return the distance to the threshold that the panel shows: the run's own, if it is wrong."""
    favorite = content.config.get("operating_point")
    ordered = sorted(rows, key=lambda row: row.get("rule") != favorite)
    margin = number_of(ordered[0].get("margin")) if ordered else None
    if margin is None:
        return []
    target = content.target_sensitivity
    rule = name_rule(ordered[0].get("rule", ""), target)
    return [f"{format_score(margin)} from the threshold of {rule}"]


def _reading(row: Mapping[str, str]) -> tuple[str, str]:
    return row.get("reader", "").strip(), row.get("reader_comment", "").strip()


def _list_nearest(
    content: RunContent, row: Mapping[str, str], *, row_numbers: Mapping[str, int]
) -> list[Near]:
    near: list[Near] = []
    for i in range(1, _NUM_NEAREST + 1):
        name = row.get(f"nearest_{i}_image_id")
        if not name:
            continue
        label = row.get(f"nearest_{i}_label", "")
        path = content.nearest.get(str(row_numbers.get(name)))
        near.append(
            Near(
                name,
                describe_findings(label) if content.has_findings else label,
                format_score(number_of(row.get(f"nearest_{i}_distance"))),
                None if path is None else read_picture(path),
            )
        )
    return near
