"""The parts of pages that are generated from the code, as Markdown.

A line `<!-- generate: WHAT ARGUMENT -->` of a page is replaced by what the function in `PARTS` of
this name returns, whenever the site is built: such a part cannot become outdated.
"""

import ast
import io
import json
import os
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from html import escape
from pathlib import Path
from unittest.mock import patch

from medimg_baseline_cls.cli import COMMANDS, main
from medimg_baseline_cls.config import FIELD_GROUPS, FLAG_ALIASES, field_facts, show_value

ROOT = Path(__file__).resolve().parents[1]
_MARK = re.compile(r"^<!-- generate: (\S+) ?(\S*) -->$", flags=re.MULTILINE)
Room = str


def fill_in(page: str) -> str:
    """Return a page with its generated parts."""
    return _MARK.sub(lambda mark: PARTS[mark[1]](*filter(None, [mark[2]])), page)


def describe_settings() -> str:
    """Return a table of the settings for each group, as `medimg train --help-all` shows them."""
    return "\n\n".join(_describe_group(title, names) for title, names in FIELD_GROUPS.items())


def _describe_group(title: str, names: tuple[str, ...]) -> str:
    lines = [f"## {title.capitalize()}", "", "| setting | default | meaning |", "|---|---|---|"]
    for name in names:
        facts = field_facts()[name]
        flags = [f"`--{name.replace('_', '-')}`", *(f"`{a}`" for a in FLAG_ALIASES.get(name, ()))]
        default = "none" if facts.default is None else show_value(facts.default)
        choices = f" One of {', '.join(f'`{c}`' for c in facts.choices)}." if facts.choices else ""
        cells = (" ".join(flags), f"`{default}`", facts.help + choices)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def describe_commands() -> str:
    """Return what `--help` of each command prints."""
    parts = [f"## medimg {name}\n\n```text\n{_read_help(name)}```" for name in COMMANDS]
    return "\n\n".join(parts)


def _read_help(command: str) -> str:
    text = io.StringIO()
    with redirect_stdout(text), patch.dict(os.environ, {"COLUMNS": "80", "NO_COLOR": "1"}):
        main([command, "--help"])
    return text.getvalue().strip("\n") + "\n"


def show_notebook(name: str) -> str:
    """Return the cells of a notebook, which is not executed."""
    path = ROOT / "notebooks" / f"{name}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    return "\n\n".join(f"```python\n{text}\n```" if is_code else text for text, is_code in texts)


def read_import_table() -> dict[Room, set[Room]]:
    """Return the table of allowed imports, as tests/test_architecture.py enforces it."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "MAY_IMPORT"
    )
    assert table is not None
    rooms: dict[Room, set[Room]] = eval(compile(ast.Expression(table), "MAY_IMPORT", "eval"))
    return {room: allowed for room, allowed in rooms.items() if not room.startswith("__")}


def draw_packages() -> str:
    """Return the packages and their allowed imports as an SVG picture, leaves at the bottom."""
    table = read_import_table()
    rows = _arrange(table)
    width, height = 960, 110 * len(rows) - 50
    middle: dict[Room, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        step = width / len(row)
        middle |= {room: (step * (i + 0.5), 30 + 110 * number) for i, room in enumerate(row)}
    arrows = [_draw_arrow(middle[a], middle[b]) for a, b in sorted(_direct_imports(table))]
    boxes = [_draw_box(room, x=x, y=y) for room, (x, y) in middle.items()]
    label = "The packages; an arrow leads from a package to one that it may import."
    return "\n".join(
        [
            "```{raw} html",
            f'<svg class="packages" viewBox="0 0 {width} {height}" role="img"',
            f' aria-label="{label}">',
            *arrows,
            *boxes,
            "</svg>",
            "```",
        ]
    )


def _arrange(table: dict[Room, set[Room]]) -> list[list[Room]]:
    """Return rows of packages in which everything imports from rows below alone."""
    level: dict[Room, int] = {}

    def find_level(room: Room) -> int:
        if room not in level:
            level[room] = 1 + max(map(find_level, table[room]), default=-1)
        return level[room]

    for room in table:
        find_level(room)
    rows = [[r for r in table if level[r] == n] for n in range(max(level.values()) + 1)]
    place = {room: (i + 0.5) / len(rows[0]) for i, room in enumerate(rows[0])}
    for row in rows[1:]:
        weight = {r: sum(place[d] for d in table[r]) / len(table[r]) for r in row}
        row.sort(key=lambda room: (weight[room], room))
        place |= {room: (i + 0.5) / len(row) for i, room in enumerate(row)}
    return rows[::-1]


def _direct_imports(table: dict[Room, set[Room]]) -> set[tuple[Room, Room]]:
    """Return the allowed imports that no path of others implies."""
    return {
        (room, other)
        for room, allowed in table.items()
        for other in allowed
        if not any(other in table[between] for between in allowed)
    }


def _draw_arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x0, y0), (x1, y1) = start, end
    y0, y1 = y0 + 20, y1 - 20
    bend = (y1 - y0) / 2
    curve = f"M{x0:.0f},{y0:.0f} C{x0:.0f},{y0 + bend:.0f} {x1:.0f},{y1 - bend:.0f}"
    return f'<path d="{curve} {x1:.0f},{y1:.0f}"/><circle cx="{x1:.0f}" cy="{y1:.0f}" r="3"/>'


def _draw_box(room: Room, *, x: float, y: float) -> str:
    return (
        f'<rect x="{x - 52:.0f}" y="{y - 20:.0f}" width="104" height="40" rx="6"/>'
        f'<text x="{x:.0f}" y="{y + 5:.0f}">{escape(room)}</text>'
    )


PARTS: dict[str, Callable[..., str]] = {
    "settings": describe_settings,
    "commands": describe_commands,
    "notebook": show_notebook,
    "packages": draw_packages,
}
