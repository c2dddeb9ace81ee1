"""One log for people: lines and tables on the screen, the same lines plain in log.txt.

Control characters in names are shown as escapes, markup in them is text.

In a terminal a progress bar shows the current work and disappears at its end; into a
pipe or a notebook it prints nothing. `SILENT` swallows everything: the default of every
library function.
"""

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from medimg_baseline_cls.utils.screen import current_screen
from medimg_baseline_cls.utils.visible import show_hidden

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressBar:
    """A piece of work under way; call `advance` as it gets done."""

    def __init__(self, bar: "Progress | None" = None, task: int = 0) -> None:
        self._bar = bar
        self._task = task

    def advance(self, count: float = 1) -> None:
        """Note that `count` more units are done."""
        if self._bar is not None:
            from rich.progress import TaskID

            self._bar.advance(TaskID(self._task), count)


class RowPrinter:
    """A table that grows: the header is printed with the first row, then each row as it comes."""

    def __init__(self, log: "RunLog", header: Sequence[str], *, width: int) -> None:
        self._log = log
        self._header = header
        self._widths = [max(len(name), width) for name in header]
        self._has_header = False

    def row(self, cells: Sequence[object]) -> None:
        """Print one row."""
        if not self._has_header:
            self._log.write(_join(self._header, self._widths), "bold")
            self._has_header = True
        self._log.write(_join([show_hidden(str(cell)) for cell in cells], self._widths))


class RunLog:
    """Writes each line to the screen (styled in a terminal) and to a file (plain).

    Args:
        console: the screen, or None for no output.
        path: log.txt, appended to line by line, or None.
        is_quiet: only warnings are written to the screen.
    """

    def __init__(
        self, console: Console | None, path: Path | None, *, is_quiet: bool = False
    ) -> None:
        self._console = console
        self._path = path
        self._is_quiet = is_quiet
        self._bar: Progress | None = None
        self._hinted: set[str] = set()
        self._has_lost_lines = False

    @property
    def width(self) -> int | None:
        """Return the columns of the terminal; None where the lines go elsewhere."""
        is_terminal = self._console is not None and self._console.is_terminal
        return self._console.width if self._console is not None and is_terminal else None

    def info(self, text: str) -> None:
        """Log a fact."""
        self.write(text)

    def hint(self, text: str, *, fix: str | None = None) -> None:
        """Log a recommendation, once per log, with the fix to type.

        Args:
            text: what was noticed.
            fix: the flag or command that changes it, such as "add --num-workers 4".
        """
        line = f"hint: {text}" if fix is None else f"hint: {text} -> {fix}"
        if line not in self._hinted:
            self._hinted.add(line)
            self.write(line, "cyan")

    def warn(self, text: str) -> None:
        """Log what may invalidate the result."""
        self.write(f"warning: {text}", "yellow", is_warning=True)

    def table(self, title: str, *, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a whole table, columns aligned, numbers to the right."""
        first, *lines = format_table(header, rows)
        if title:
            self.write(title, "bold")
        self.write(first, "bold")
        for line in lines:
            self.write(line)

    def growing_table(self, header: Sequence[str], *, width: int = 9) -> RowPrinter:
        """Return a table to be printed row by row, such as one row per epoch."""
        return RowPrinter(self, header, width=width)

    @contextmanager
    def progress(self, description: str, total: int | None) -> Generator[ProgressBar, None, None]:
        """Show a bar while the block runs: in a terminal only, gone at the end.

        Args:
            description: what is being done, in two or three words.
            total: units of work, or None where unknown.
        """
        if self._console is None or self._is_quiet or not self._console.is_terminal:
            yield ProgressBar()
            return
        with self._shown_bar(self._console) as bar:
            task = bar.add_task(show_hidden(description), total=total)
            try:
                yield ProgressBar(bar, task)
            finally:
                bar.remove_task(task)

    def write(self, line: str, style: str = "", *, is_warning: bool = False) -> None:
        """Write one line everywhere; a log that cannot be written stops nothing."""
        line = show_hidden(line)
        if self._console is not None and (is_warning or not self._is_quiet):
            self._print(self._console, line, style=style)
        if self._path is None:
            return
        try:
            # Opened per line: nothing to close, nothing lost when the process is killed.
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")
        except OSError as error:
            if self._console is not None and not self._has_lost_lines:
                self._has_lost_lines = True
                why = error.strerror or str(error)
                text = f"warning: lines are missing from {self._path}: it cannot be written ({why})"
                self._print(self._console, text, style="yellow")

    def _print(self, console: Console, line: str, *, style: str) -> None:
        text = Text(_printable(show_hidden(line), console.encoding), style=style)
        with suppress(OSError):  # such as a full disk behind "> out.txt": training is worth more
            console.print(text, soft_wrap=True, highlight=False)

    @contextmanager
    def _shown_bar(self, console: Console) -> Generator["Progress", None, None]:
        """Yield the one bar area of the screen; inner work becomes a further line of it."""
        if self._bar is not None:
            yield self._bar
            return
        with _make_bar(console) as bar:
            self._bar = bar
            try:
                yield bar
            finally:
                self._bar = None


SILENT = RunLog(None, None)


def open_log(path: Path | None) -> RunLog:
    """Return a log that prints to the screen of the command and, if given, appends to a file.

    Args:
        path: log.txt of a run; its folder is made if it is missing.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    # A notebook is not a terminal, whatever the value of FORCE_COLOR: plain lines there.
    screen = current_screen()
    is_terminal = (sys.stderr if screen.is_for_machines else sys.stdout).isatty()
    console = Console(
        stderr=screen.is_for_machines, force_terminal=is_terminal, force_jupyter=False
    )
    return RunLog(console, path, is_quiet=screen.is_quiet)


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table: header, rule, rows; columns of numbers to the right.

    >>> for line in format_table(["split", "images"], [["train", 1200], ["val", 60]]):
    ...     line
    'split  images'
    '-----  ------'
    'train    1200'
    'val        60'
    """
    header = [show_hidden(name) for name in header]
    texts = [[show_hidden(str(cell)) for cell in row] for row in rows]
    columns = [[row[i] for row in texts] for i in range(len(header))]
    widths = [max(map(len, [name, *cells])) for name, cells in zip(header, columns, strict=True)]
    rights = [bool(cells) and all(map(_is_number, cells)) for cells in columns]
    signed = [width if right else -width for width, right in zip(widths, rights, strict=True)]
    lines = [header, ["-" * width for width in widths], *texts]
    return [_join(cells, signed) for cells in lines]


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return cells side by side; a negative width aligns its column to the left."""
    padded = [
        cell.rjust(width) if width > 0 else cell.ljust(-width)
        for cell, width in zip(cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _is_number(text: str) -> bool:
    """Return whether a cell reads as a number, a percentage or "nothing" (-)."""
    if text in ("", "-"):
        return True
    try:
        float(text.rstrip("%").replace(",", ""))
    except ValueError:
        return False
    return True


def _printable(text: str, encoding: str) -> str:
    """Return the text with what the screen's encoding lacks written as escapes."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _make_bar(console: Console) -> "Progress":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=console.is_dumb_terminal,
    )
