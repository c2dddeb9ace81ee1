"""Marks what `medimg report` wrote as out of date, when the results that it shows are replaced.

A page that is open elsewhere or was copied cannot know; one in the run folder says so on top.
"""

from html import escape
from pathlib import Path

from medimg_baseline_cls.utils.files import write_text_atomic
from medimg_baseline_cls.utils.visible import quote_words

PAGE = "report.html"
_TEXT = "Out of date: the results of this run were replaced after this was written."
_HTML, _MARKDOWN = f'<p class="pending outdated">{_TEXT}', f"> **{_TEXT}"
_DOCUMENTS = ("model_card.md", "checklist.md")
_FOLDERS = ("tables", "anonymous")
_NOTE_NAME = "OUT_OF_DATE.txt"


def mark_outdated(run_dir: Path) -> None:
    """Write into the report and its documents, where there are any, that they show earlier results.

    Pages and documents begin with the note; a folder of tables has it in a file of its own.
    """
    page = run_dir / PAGE
    command = quote_words("medimg", "report", run_dir.resolve().name)
    note = f"{_HTML} <code>{escape(command)}</code> writes it again.</p>"
    if page.is_file() and is_current(run_dir):
        head, body, rest = _read(page).partition("<body>\n")
        write_text_atomic(page, f"{head}{body}{note}\n{rest}" if body else f"{note}\n{head}")
    for path in (run_dir / name for name in _DOCUMENTS):
        if path.is_file() and not (text := _read(path)).startswith(_MARKDOWN):
            write_text_atomic(path, f"{_MARKDOWN} `{command}` writes it again.**\n\n{text}")
    for folder in (run_dir / name for name in _FOLDERS):
        if folder.is_dir():
            write_text_atomic(folder / _NOTE_NAME, f"{_TEXT} {command} writes it again.\n")


def list_outdated(run_dir: Path) -> tuple[str, ...]:
    """Return the names of what carries the note."""
    page = run_dir / PAGE
    pages = [PAGE] if page.is_file() and not is_current(run_dir) else []
    documents = [name for name in _DOCUMENTS if (run_dir / name).is_file()]
    marked = [name for name in documents if _read(run_dir / name).startswith(_MARKDOWN)]
    folders = [f"{name}/" for name in _FOLDERS if (run_dir / name / _NOTE_NAME).is_file()]
    return (*pages, *marked, *folders)


def is_current(run_dir: Path) -> bool:
    """Return whether there is a report of the results that the run folder has now."""
    page = run_dir / PAGE
    return page.is_file() and _HTML not in _read(page)


def unmark_tables(run_dir: Path) -> None:
    """Remove the note from tables/, which was written again."""
    (run_dir / "tables" / _NOTE_NAME).unlink(missing_ok=True)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")
