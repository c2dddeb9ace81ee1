"""One self-contained page, audit.html, from the content of audit.json and thumbnails.

Like report.html it is self-contained: no script, no network, every name escaped. The
thumbnails are the only pictures; an example without one is shown by its name alone.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg_baseline_cls.reporting.content import as_mapping
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.page.template import render_page
from medimg_baseline_cls.reporting.text.format import (
    UNDEFINED,
    format_count,
    format_score,
    hide_paths,
)
from medimg_baseline_cls.reporting.text.names import name_split
from medimg_baseline_cls.schema import SENTENCE_CHECKS
from medimg_baseline_cls.utils.files import write_text_atomic
from medimg_baseline_cls.utils.visible import show_all, show_hidden

_ANSWERS = {
    "ok": "Nothing was found that would bias a result.",
    "note": "Nothing was found that would bias a result; see the notes.",
    "warning": "Some findings may bias a result: read them before you train.",
    "error": "Some findings would invalidate a result: fix them before you train.",
}
_WEIGHTS = ("error", "warning", "note", "not measured", "ok")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An image of an example: its name, and a data URI or "" where there is no picture."""

    path: str
    uri: str


@dataclass(frozen=True, slots=True)
class ExampleView:
    """Images that show a finding; `num_more` are not shown."""

    images: tuple[Thumbnail, ...]
    text: str
    num_more: int

    @property
    def has_pictures(self) -> bool:
        """Return whether any of the images has a picture."""
        return any(image.uri for image in self.images)


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding, ready to be printed; `anchor` is where it is, `count` is "" for a sentence."""

    anchor: str
    check: str
    verdict: str
    count: str
    what: str
    advice: str
    examples: tuple[ExampleView, ...]

    @property
    def has_pictures(self) -> bool:
        """Return whether its examples are pictures or a list of words."""
        return any(example.has_pictures for example in self.examples)

    @property
    def picture(self) -> str:
        """Return the first picture among its examples; "" without one."""
        images = (image for example in self.examples for image in example.images)
        return next((image.uri for image in images if image.uri), "")


@dataclass(frozen=True, slots=True)
class CheckView:
    """A check with its findings and tables."""

    name: str
    title: str
    verdict: str
    summary: str
    findings: tuple[FindingView, ...]
    tables: tuple[Table, ...]


def write_audit_page(
    folder: Path, content: Mapping[str, Any], *, thumbnails: Mapping[str, bytes]
) -> Path:
    """Write audit.html into the folder of an audit and return its path.

    Args:
        folder: of the audit.
        content: of audit.json.
        thumbnails: PNG files of examples, by path.
    """
    path = folder / "audit.html"
    write_text_atomic(path, render_audit(content, thumbnails=thumbnails))
    return path


def render_audit(content: Mapping[str, Any], *, thumbnails: Mapping[str, bytes]) -> str:
    """Return the page of an audit as text."""
    content = show_all(content)
    uris = {
        show_hidden(path): "data:image/png;base64," + base64.b64encode(data).decode()
        for path, data in thumbnails.items()
    }
    checks = sorted((_view_check(item, uris) for item in content["checks"]), key=_weigh)
    data_dir = hide_paths(str(content["data_dir"]))
    findings = sorted((f for check in checks for f in check.findings), key=_weigh)
    return render_page(
        "audit.html.j2",
        project=str(content["project"]),
        data_dir=data_dir,
        title=data_dir.removeprefix("…/") or str(content["project"]),
        date=str(content["date"]),
        verdict=str(content["verdict"]),
        answer=_ANSWERS[content["verdict"]],
        facts=list(_facts(content)),
        findings=findings,
        checks=checks,
    )


def _view_check(item: Mapping[str, Any], uris: Mapping[str, str]) -> CheckView:
    return CheckView(
        name=str(item["name"]),
        title=str(item["title"]),
        verdict=str(item["verdict"]),
        summary=str(item["summary"]),
        findings=tuple(_view_findings(item, uris)),
        tables=tuple(_view_figures(figures) for figures in item["figures"]),
    )


def _view_findings(check: Mapping[str, Any], uris: Mapping[str, str]) -> Iterator[FindingView]:
    for number, finding in enumerate(check["findings"], start=1):
        yield FindingView(
            anchor=f"{check['name']}-{number}",
            check=str(check["title"]),
            verdict=str(finding["verdict"]),
            count="" if check["name"] in SENTENCE_CHECKS else format_count(finding["count"]),
            what=str(finding["what"]),
            advice=str(finding["advice"]),
            examples=tuple(_view_example(example, uris) for example in finding["examples"]),
        )


def _view_example(example: Mapping[str, Any], uris: Mapping[str, str]) -> ExampleView:
    return ExampleView(
        images=tuple(Thumbnail(path, uris.get(path, "")) for path in example["paths"]),
        text=str(example["text"]),
        num_more=int(example["num_more"]),
    )


def _weigh(item: CheckView | FindingView) -> int:
    """Return the place of a verdict: errors come first."""
    return _WEIGHTS.index(item.verdict)


def _view_figures(figures: Mapping[str, Any]) -> Table:
    return Table(
        title=str(figures["title"]),
        header=tuple(figures["header"]),
        rows=tuple(Row(tuple(map(_format_cell, row))) for row in figures["rows"]),
        num_text=int(figures["num_text"]),
        notes=(str(figures["note"]),) if figures["note"] else (),
    )


def _format_cell(cell: str | int | float | None) -> str:
    if cell is None:
        return UNDEFINED
    if isinstance(cell, str):
        return cell
    return format_count(cell) if isinstance(cell, int) else format_score(cell)


def _facts(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    splits = as_mapping(content["num_per_split"])
    names = {"all": "in no split" if len(splits) > 1 else ""}
    counts = (
        f"{format_count(count)} {names.get(name, name_split(name))}".rstrip()
        for name, count in splits.items()
    )
    yield "Images", ", ".join(counts) or "0"
    yield "Classes", ", ".join(map(str, content["class_names"]))
    yield "Files that could not be read", format_count(content["num_rejected"])
    yield "Task", str(content["task"])
