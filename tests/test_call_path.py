"""From a command to backward() it is six calls in four files, as docs/design.md shows.

The calls are read from the sources, not observed: a name that is called is looked up among the
functions and the imports of its file, and a public name in `__init__.pyi`.
"""

import ast
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "medimg_baseline_cls"
ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
MAX_CALLS, MAX_FILES = 6, 4

Node = tuple[str, str]  # (module, function)
START: Node = (f"{PACKAGE}.cli.commands", "train")
END = "backward"


def read_module(source: Path, name: str) -> ast.Module | None:
    path = source / Path(*name.split("."))
    for candidate in (path / "__init__.pyi", path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return ast.parse(candidate.read_text(encoding="utf-8"))
    return None


def find_imports(tree: ast.Module) -> dict[str, Node]:
    """Return where each imported name comes from, also those imported inside a function."""
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
        for alias in node.names
    }


def find_home(source: Path, node: Node) -> Node:
    """Return where a name is defined that the package passes on as a public one."""
    tree = read_module(source, node[0]) if node[0] == PACKAGE else None
    return node if tree is None else find_imports(tree)[node[1]]


def find_calls(source: Path, node: Node) -> Iterator[Node]:
    """Yield the functions of the package that a function calls by name, and backward()."""
    module, name = node
    tree = read_module(source, module)
    own = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)} if tree else {}
    imported = find_imports(tree) if tree else {}
    calls = (c.func for c in ast.walk(own[name]) if isinstance(c, ast.Call)) if name in own else ()
    for function in calls:
        if isinstance(function, ast.Attribute) and function.attr == END:
            yield ("torch", END)
        elif isinstance(function, ast.Name) and function.id in imported:
            yield find_home(source, imported[function.id])
        elif isinstance(function, ast.Name) and function.id in own:
            yield (module, function.id)


def find_path(source: Path, start: Node) -> list[Node]:
    """Return the shortest chain of calls from a function to backward(), both included.

    Of two that are as short, the one whose call is written later: training, not resuming.
    """
    origins: dict[Node, Node | None] = {start: None}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        if node[1] == END:
            path = [node]
            while (origin := origins[path[0]]) is not None:
                path.insert(0, origin)
            return path
        for called in reversed(list(find_calls(source, node))):
            if called not in origins:
                origins[called] = node
                waiting.append(called)
    return []


def write_path(path: list[Node]) -> list[str]:
    """Return the steps as docs/design.md writes them."""
    steps = [f"{module.removeprefix(f'{PACKAGE}.')}.{name}" for module, name in path[:-1]]
    return [*steps, "backward()"]


def test_a_command_reaches_backward_in_six_calls_and_four_files() -> None:
    path = find_path(SOURCE, START)
    assert path, "no chain of calls was found"
    assert len(path) - 1 <= MAX_CALLS, " -> ".join(write_path(path))
    assert len({module for module, _ in path[:-1]}) <= MAX_FILES, write_path(path)


def test_the_design_document_shows_this_path() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    block = re.search(r"```\n(cli\.commands\.train .*\n(?: *-> .*\n)+)```", text)
    assert block is not None, "docs/design.md does not show the path"
    shown = [line.removeprefix("-> ").split()[0] for line in map(str.strip, block[1].splitlines())]
    assert shown == write_path(find_path(SOURCE, START))


def test_a_longer_way_is_noticed(tmp_path: Path) -> None:
    package = tmp_path / PACKAGE
    (package / "cli").mkdir(parents=True)
    (package / "__init__.pyi").write_text(f"from {PACKAGE}.far import step as train\n")
    start = f"def train(argv):\n    from {PACKAGE} import train as go\n    go(argv)\n"
    (package / "cli" / "commands.py").write_text(start)
    steps = "".join(f"def f{i}(x):\n    f{i + 1}(x)\n" for i in range(9))
    last = "def f9(x):\n    x.backward()\n"
    (package / "far.py").write_text(f"def step(x):\n    f0(x)\n{steps}{last}")
    assert len(find_path(tmp_path, START)) - 1 == 12
