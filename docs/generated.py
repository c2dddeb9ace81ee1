"""The parts of pages that are generated from the code, as Markdown.

A line `<!-- generate: WHAT ARGUMENTS -->` of a page is replaced by what the function in `PARTS` of
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
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

from medimg_baseline_cls.catalogue import DECISIONS, OVERALL, RULES, SCORES
from medimg_baseline_cls.cli import COMMANDS, main
from medimg_baseline_cls.config import FIELD_GROUPS, FLAG_ALIASES, field_facts, show_value

ROOT = Path(__file__).resolve().parents[1]
_MARK = re.compile(r"^<!-- generate: (\S+)(.*?) -->$", flags=re.MULTILINE)
_WIDTH, _ROW, _BOX, _PASSAGE = 960, 100, 96, 16
Room = str
Point = tuple[str, int]  # a package or a passing arrow, and its row from the bottom


def fill_in(page: str) -> str:
    """Return a page with its generated parts."""
    return _MARK.sub(lambda mark: PARTS[mark[1]](*mark[2].split()), page)


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
        meaning = re.sub(r"([\\*_<|])", r"\\\1", facts.help) + choices
        lines.append(f"| {' '.join(flags)} | `{default}` | {meaning} |".replace("`|`", "`\\|`"))
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


def describe_metrics(kind: str) -> str:
    """Return a table of the metrics of a kind, as the catalogue has them."""
    metrics = {"score": SCORES, "decision": DECISIONS, "overall": OVERALL}[kind]
    lines = [
        "| metric | key | range | undefined if | formula |",
        "|---|---|---|---|---|",
        *(
            f"| {m.name}{'' if m.is_better_high else ' (lower is better)'} | `{m.key}` "
            f"| {m.bounds[0]:g} to {m.bounds[1]:g} | {m.reason} | {m.source} |"
            for m in metrics.values()
        ),
    ]
    return "\n".join(lines).replace("to inf |", "to ∞ |")


def describe_rules() -> str:
    """Return a table of the rules by which a threshold is chosen."""
    rows = [
        f"| {rule.name} | `{rule.key}` | {rule.description.replace('{target:g}', 'the target')} |"
        for rule in RULES.values()
    ]
    return "\n".join(["| rule | key | threshold |", "|---|---|---|", *rows])


def show_source(file: str, *names: str) -> str:
    """Return functions of a file of the package as they are."""
    text = (ROOT / "src" / "medimg_baseline_cls" / file).read_text(encoding="utf-8")
    nodes = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}
    found = [ast.get_source_segment(text, nodes[name]) for name in names]
    return f"In `{file}`:\n\n```python\n" + "\n\n\n".join(filter(None, found)) + "\n```"


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
    level = _find_levels(table)
    chains = [_make_chain(a, b, level) for a, b in sorted(_direct_imports(table))]
    rows = _arrange(level, chains)
    middle = _place(rows)
    height = _ROW * (len(rows) - 1) + 44
    label = "The packages; an arrow leads from a package to one that it may import."
    return "\n".join(
        [
            "```{raw} html",
            f'<div class="packages"><svg viewBox="0 0 {_WIDTH} {height}" role="img"',
            f' aria-label="{label}">',
            *(_draw_arrow([middle[point] for point in chain]) for chain in chains),
            *(_draw_box(room, middle[room, n]) for room, n in level.items()),
            "</svg></div>",
            "```",
        ]
    )


def _find_levels(table: dict[Room, set[Room]]) -> dict[Room, int]:
    """Return the row of each package, counted from the bottom: above all that it imports."""
    level: dict[Room, int] = {}

    def find_level(room: Room) -> int:
        if room not in level:
            level[room] = 1 + max(map(find_level, table[room]), default=-1)
        return level[room]

    for room in table:
        find_level(room)
    for leaf in (room for room, allowed in table.items() if not allowed):
        level[leaf] = min(level[room] for room, allowed in table.items() if leaf in allowed) - 1
    return level


def _direct_imports(table: dict[Room, set[Room]]) -> set[tuple[Room, Room]]:
    """Return the allowed imports that no path of others implies."""
    return {
        (room, other)
        for room, allowed in table.items()
        for other in allowed
        if not any(other in table[between] for between in allowed)
    }


def _make_chain(start: Room, end: Room, level: dict[Room, int]) -> list[Point]:
    """Return the points of an arrow, one in each row, so that it passes between the boxes."""
    between = range(level[start] - 1, level[end], -1)
    return [
        (start, level[start]),
        *((f"{start}>{end}", row) for row in between),
        (end, level[end]),
    ]


def _arrange(level: dict[Room, int], chains: list[list[Point]]) -> list[list[Point]]:
    """Return the rows, top first, each in an order with few crossings (barycenters)."""
    rows: dict[int, list[Point]] = {n: [] for n in range(max(level.values()), -1, -1)}
    for point in [*level.items(), *(point for chain in chains for point in chain[1:-1])]:
        rows[point[1]].append(point)
    neighbors: dict[Point, list[Point]] = {}
    for chain in chains:
        for above, below in pairwise(chain):
            neighbors.setdefault(above, []).append(below)
            neighbors.setdefault(below, []).append(above)
    for sweep in range(12):
        place = {p: x for p, (x, _) in _place(list(rows.values())).items()}
        order = list(rows) if sweep % 2 == 0 else list(rows)[::-1]
        for number in order:
            near = number + (1 if sweep % 2 == 0 else -1)
            weight = {
                point: [place[other] for other in neighbors[point] if other[1] == near]
                for point in rows[number]
            }
            rows[number].sort(
                key=lambda p: sum(weight[p]) / len(weight[p]) if weight[p] else place[p]
            )
            place |= {p: x for p, (x, _) in _place([rows[number]]).items()}
    return list(rows.values())


def _place(rows: list[list[Point]]) -> dict[Point, tuple[float, float]]:
    """Return the middle of each point; boxes are wide, passing arrows narrow."""
    found: dict[Point, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        widths = [_PASSAGE if ">" in name else _BOX for name, _ in row]
        gap = (_WIDTH - sum(widths)) / (len(row) + 1)
        x = gap
        for point, width in zip(row, widths, strict=True):
            found[point] = (x + width / 2, 22 + _ROW * number)
            x += width + gap
    return found


def _draw_arrow(points: list[tuple[float, float]]) -> str:
    (x, y), *rest = points
    path = f"M{x:.0f},{y + 20:.0f}"
    y += 20
    for number, (to_x, to_y) in enumerate(rest):
        to_y -= 20 if number == len(rest) - 1 else 0
        bend = (to_y - y) / 2
        path += f" C{x:.0f},{y + bend:.0f} {to_x:.0f},{to_y - bend:.0f} {to_x:.0f},{to_y:.0f}"
        x, y = to_x, to_y
    return f'<path d="{path}"/><circle cx="{x:.0f}" cy="{y:.0f}" r="3"/>'


def _draw_box(room: Room, middle: tuple[float, float]) -> str:
    x, y = middle
    return (
        f'<rect x="{x - _BOX / 2:.0f}" y="{y - 20:.0f}" width="{_BOX}" height="40" rx="6"/>'
        f'<text x="{x:.0f}" y="{y + 5:.0f}">{escape(room)}</text>'
    )


PARTS: dict[str, Callable[..., str]] = {
    "settings": describe_settings,
    "commands": describe_commands,
    "notebook": show_notebook,
    "packages": draw_packages,
    "metrics": describe_metrics,
    "rules": describe_rules,
    "source": show_source,
}
