"""Hold the house rules: who may import whom, how long things may be.

Each rule is a function from a source tree to a list of breaches. It is asked twice:
of the real tree, where it must find none, and of a tree broken on purpose, where it must.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = "medimg_baseline_cls"
ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / PACKAGE

MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"utils"},
    "__main__": {"cli"},
    "errors": set(),
    "schema": {"errors"},
    "catalogue": set(),
    "utils": {"errors"},
    "statistics": {"errors", "records", "utils"},
    "records": {"errors", "schema", "catalogue", "utils"},
    "config": {"errors", "schema", "utils"},
    "data": {"errors", "schema", "utils"},
    "phantom": {"errors", "utils", "data"},
    "audit": {"errors", "schema", "utils", "data", "statistics"},
    "models": {"errors", "utils"},
    "evaluation": {"errors", "schema", "catalogue", "records", "utils", "statistics"},
    "plots": {"errors", "schema", "catalogue", "records", "utils", "statistics", "evaluation"},
    "training": {"errors", "schema", "utils", "models", "statistics", "evaluation"},
    "interpret": {"errors", "schema", "utils"},
    "reporting": {"errors", "schema", "catalogue", "records", "utils"},
    "tracking": {"errors", "records", "utils", "config", "training", "reporting"},
    "pipeline": {
        *("errors", "schema", "catalogue", "records", "utils", "config", "data", "phantom"),
        *(
            "audit",
            "models",
            "statistics",
            "evaluation",
            "plots",
            "training",
            "interpret",
            "reporting",
            "tracking",
        ),
    },
    "cli": {"errors", "utils", "config", "pipeline"},
}
CONFINED: dict[str, tuple[str, ...]] = {
    "timm": ("models/build.py",),
    "monai.networks": ("models/build.py",),
    "pydicom": ("data/read/",),
    "matplotlib": ("plots/", "interpret/panels.py"),
    "mlflow": ("tracking/mlflow_tracker.py",),
    "tensorboard": ("tracking/tensorboard_tracker.py",),
    "optuna": ("pipeline/steps/study.py",),
}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80
USUAL_FUNCTION_LINES = 50
USUAL_SHARE = 0.97
MAX_DEPTH = 3
MAX_PARAMETERS = 7
MAX_POSITIONAL = 2

Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def parsed_files(source: Path) -> Iterator[tuple[str, ast.Module, int]]:
    for path in sorted(source.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield path.relative_to(source).as_posix(), ast.parse(text), text.count("\n")


def functions_of(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def find_forbidden_imports(source: Path) -> list[str]:
    breaches = []
    for name, tree, _ in parsed_files(source):
        room = room_of(name)
        wanted = {n.split(".")[1] for n in imported_names(tree) if n.startswith(f"{PACKAGE}.")}
        rooms = {w for w in wanted if w in MAY_IMPORT} - {room}
        breaches += [f"{name} imports {other}" for other in sorted(rooms - MAY_IMPORT[room])]
    return breaches


def find_climbing_steps(source: Path) -> list[str]:
    """A step is called by commands; one that calls them would go in circles."""
    return [
        f"{name} imports {imported}"
        for name, tree, _ in parsed_files(source)
        if name.startswith("pipeline/steps/")
        for imported in imported_names(tree)
        if imported.startswith((f"{PACKAGE}.pipeline.commands", f"{PACKAGE}.pipeline.sweep"))
    ]


def find_unconfined_libraries(source: Path) -> list[str]:
    breaches = []
    for name, tree, _ in parsed_files(source):
        for library, homes in CONFINED.items():
            used = any(n == library or n.startswith(library + ".") for n in imported_names(tree))
            if used and not name.startswith(homes):
                breaches.append(f"{name} imports {library}")
    return breaches


def find_long_files(source: Path) -> list[str]:
    files = parsed_files(source)
    return [f"{name}: {lines} lines" for name, _, lines in files if lines > MAX_FILE_LINES]


def function_lengths(source: Path) -> dict[str, int]:
    return {
        f"{name}:{f.lineno} {f.name}": (f.end_lineno or f.lineno) - f.lineno + 1
        for name, tree, _ in parsed_files(source)
        for f in functions_of(tree)
    }


def find_long_functions(source: Path) -> list[str]:
    lengths = function_lengths(source)
    breaches = [f"{k}: {n} lines" for k, n in lengths.items() if n > MAX_FUNCTION_LINES]
    usual = sum(n <= USUAL_FUNCTION_LINES for n in lengths.values())
    if usual < USUAL_SHARE * len(lengths):
        breaches.append(f"only {usual} of {len(lengths)} functions are of the usual length")
    return breaches


def depth_of(node: ast.AST) -> int:
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef | ast.Lambda):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        step = int(isinstance(child, BLOCKS) and not is_elif)
        deepest = max(deepest, step + depth_of(child))
    return deepest


def find_deep_functions(source: Path) -> list[str]:
    return [
        f"{name}:{f.lineno} {f.name}: depth {depth_of(f)}"
        for name, tree, _ in parsed_files(source)
        for f in functions_of(tree)
        if depth_of(f) > MAX_DEPTH
    ]


def named_parameters(function: Function) -> tuple[list[ast.arg], list[ast.arg]]:
    positional = [*function.args.posonlyargs, *function.args.args]
    if positional and positional[0].arg in {"self", "cls"}:
        positional = positional[1:]
    return positional, function.args.kwonlyargs


def find_crowded_functions(source: Path) -> list[str]:
    breaches = []
    for name, tree, _ in parsed_files(source):
        for function in functions_of(tree):
            positional, keyword = named_parameters(function)
            is_dunder = function.name.startswith("__") and function.name != "__init__"
            if len(positional) + len(keyword) > MAX_PARAMETERS:
                breaches.append(f"{name}:{function.lineno} {function.name}: too many parameters")
            if len(positional) > MAX_POSITIONAL and not is_dunder:
                breaches.append(f"{name}:{function.lineno} {function.name}: too many positional")
    return breaches


def find_unannotated(source: Path) -> list[str]:
    breaches = []
    for name, tree, _ in parsed_files(source):
        for function in functions_of(tree):
            positional, keyword = named_parameters(function)
            bare = [a.arg for a in [*positional, *keyword] if a.annotation is None]
            if bare or function.returns is None:
                breaches.append(f"{name}:{function.lineno} {function.name}: not annotated")
    return breaches


def find_prints(source: Path) -> list[str]:
    return [
        f"{name}:{node.lineno} prints"
        for name, tree, _ in parsed_files(source)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]


RULES: list[Callable[[Path], list[str]]] = [
    find_forbidden_imports,
    find_climbing_steps,
    find_unconfined_libraries,
    find_long_files,
    find_long_functions,
    find_deep_functions,
    find_crowded_functions,
    find_unannotated,
    find_prints,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_source_keeps_the_rule(rule: Callable[[Path], list[str]]) -> None:
    assert rule(SOURCE) == []


BROKEN: dict[str, tuple[str, str]] = {
    "find_forbidden_imports": ("evaluation/m.py", f"from {PACKAGE}.training import fit\n"),
    "find_climbing_steps": (
        "pipeline/steps/m.py",
        f"from {PACKAGE}.pipeline.commands.train import train\n",
    ),
    "find_unconfined_libraries": ("data/m.py", "import timm\n"),
    "find_long_files": ("data/m.py", "x = 1\n" * (MAX_FILE_LINES + 1)),
    "find_long_functions": (
        "data/m.py",
        "def f() -> None:\n" + "    x = 1\n" * MAX_FUNCTION_LINES,
    ),
    "find_deep_functions": (
        "data/m.py",
        "def f() -> None:\n"
        + "".join("    " * (i + 1) + "if True:\n" for i in range(MAX_DEPTH + 1))
        + "    " * (MAX_DEPTH + 2)
        + "pass\n",
    ),
    "find_crowded_functions": ("data/m.py", "def f(a: int, b: int, c: int) -> None: ...\n"),
    "find_unannotated": ("data/m.py", "def f(a) -> None: ...\n"),
    "find_prints": ("data/m.py", "print(1)\n"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_sees_a_breach(rule: Callable[[Path], list[str]], tmp_path: Path) -> None:
    name, code = BROKEN[rule.__name__]
    target = tmp_path / name
    target.parent.mkdir(parents=True)
    target.write_text(code, encoding="utf-8")
    assert rule(tmp_path)


def test_every_room_stands_in_the_table() -> None:
    rooms = {room_of(name) for name, _, _ in parsed_files(SOURCE)}
    assert rooms <= set(MAY_IMPORT)


def count_lines(folder: Path) -> int:
    return sum(p.read_text(encoding="utf-8").count("\n") for p in folder.rglob("*.py"))


def test_tests_are_at_least_as_long_as_the_code() -> None:
    assert count_lines(ROOT / "tests") >= count_lines(SOURCE)
