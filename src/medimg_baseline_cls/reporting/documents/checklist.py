"""checklist.md: the items of CLAIM 2024 and TRIPOD+AI, each with what the run can say to it.

The items are in checklists.toml, in our own words; checklist_answers.py says what a run can
answer. What no run folder knows, such as ethics approval, is printed as "not available", for
the authors to fill in. An answer is a start for the manuscript, not a proof of compliance.
"""

import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass

from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.documents.checklist_answers import NOT_AVAILABLE, answer_topics
from medimg_baseline_cls.reporting.page.headline import summarize_run
from medimg_baseline_cls.reporting.page.template import read_resource
from medimg_baseline_cls.reporting.text.markdown import escape_markdown, format_markdown_table

_HEADER = ("Item", "Section", "Asks for", "From this run", "In the manuscript (page, line)")


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a guideline; `answers` are the names of what a run can say to it."""

    number: str
    section: str
    asks: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Guideline:
    """A reporting guideline with all its items in order."""

    name: str
    title: str
    source: str
    items: tuple[Item, ...]


def read_guidelines() -> tuple[Guideline, ...]:
    """Return the guidelines of the package.

    >>> [(g.name, len(g.items)) for g in read_guidelines()]
    [('CLAIM 2024', 44), ('TRIPOD+AI', 52)]
    """
    content = tomllib.loads(read_resource("checklists.toml", room="documents"))
    return tuple(
        Guideline(
            entry["name"],
            entry["title"],
            entry["source"],
            tuple(
                Item(number, section, asks, tuple(answers))
                for number, section, asks, answers in entry["items"]
            ),
        )
        for entry in content["guideline"]
    )


def format_checklist(content: RunContent, files: Set[str]) -> str:
    """Return both checklists as Markdown.

    Args:
        content: the run.
        files: names of files in the run folder, such as "calibration.json".
    """
    lines = [
        f"# Reporting checklists: {escape_markdown(summarize_run(content).project)}",
        "",
        f"Run {escape_markdown(content.name)}. What the run knows is filled in; the authors "
        f'complete the rest ("{NOT_AVAILABLE}"). The items are paraphrased: submit the '
        "official form.",
    ]
    answers = answer_topics(content, files)
    for guideline in read_guidelines():
        rows = [
            (item.number, item.section, item.asks, _answer(item, answers), "")
            for item in guideline.items
        ]
        parts = [row[3] for row in rows if row[3] != NOT_AVAILABLE]
        in_part = sum(NOT_AVAILABLE in text for text in parts)
        lines += ["", f"## {guideline.name}", ""]
        lines += [f"{escape_markdown(guideline.title)}. {guideline.source}.", ""]
        lines += [
            f"This run answers {len(parts) - in_part} of {len(rows)} items, and {in_part} in part.",
            "",
        ]
        lines += format_markdown_table(_HEADER, rows)
    return "\n".join(lines) + "\n"


def _answer(item: Item, answers: Mapping[str, str]) -> str:
    return " ".join(filter(None, (answers[name] for name in item.answers))) or NOT_AVAILABLE
