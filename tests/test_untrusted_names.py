"""Names from outside pass the same door everywhere: screen, log, errors, figures."""

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import given, settings
from matplotlib.figure import Figure
from rich.console import Console
from tests.utils.test_visible import NAMES, hides

from medimg_baseline_cls.cli import commands, main
from medimg_baseline_cls.cli.request import format_settings
from medimg_baseline_cls.config import Config, config_to_dict
from medimg_baseline_cls.errors import DataError, RunInterrupted
from medimg_baseline_cls.interpret.panels import PanelPainter, PanelText
from medimg_baseline_cls.plots.style import drawing, shorten
from medimg_baseline_cls.utils.files import read_json, write_json
from medimg_baseline_cls.utils.log import RunLog, format_table

STEADY = settings(max_examples=60, deadline=None, derandomize=True)
ATTACKS = (
    "\x1b]0;TITLE\x07\x1b[2Jnormal",
    "a\nwarning: forged",
    "a\rb\tc",
    "\x9b31mred",
    "\u202egnp.exe",
    "\u2066x\u2069\u200f",
    "one\u2028two\u0085three",
    "na\udcefve",
    "[red]x[/red]",
    "$x^2$ {0} %s",
)


def assert_plain(text: str, *, num_lines: int | None = None) -> None:
    assert not [letter for letter in text if hides(letter) and letter != "\n"]
    if num_lines is not None:
        assert text.count("\n") == num_lines


@STEADY
@given(NAMES, NAMES)
def test_screen_and_log_have_one_plain_line_per_call(
    tmp_path_factory: pytest.TempPathFactory, name: str, other: str
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.txt"
    screen = io.StringIO()
    log = RunLog(Console(file=screen, width=200), path)
    log.info(name)
    log.warn(f"class {name} has {other}")
    log.hint(name, fix=other)
    log.table(name or "title", header=("a", name), rows=[(other, name)])
    log.growing_table(("a", name)).row((other, 1))
    assert screen.getvalue() == path.read_bytes().decode()
    assert_plain(screen.getvalue(), num_lines=3 + 4 + 2)


@STEADY
@given(NAMES)
def test_columns_stay_aligned_whatever_a_cell_hides(name: str) -> None:
    first, rule, *_ = format_table(("name", "n"), [(name, 12), ("x", 3)])
    assert first.index("n", 4) <= len(rule)
    assert {len(line) for line in format_table(("n", "name"), [(1, "x")])[:1]} == {7}


@pytest.mark.parametrize("name", ATTACKS)
def test_markup_and_control_characters_in_a_progress_bar_are_text(name: str) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200, color_system=None)
    with RunLog(console, None).progress(name, 2) as bar:
        bar.advance()
    assert "]0;TITLE\x07" not in screen.getvalue()
    assert not {"\x9b", "\u202e", "\u2066", "\x85"} & set(screen.getvalue())


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("kind", [DataError, RunInterrupted])
def test_errors_are_printed_plain(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
    name: str,
) -> None:
    def fail(argv: object) -> None:
        raise kind(f"class {name} is odd", name) if kind is DataError else kind(name)

    monkeypatch.setitem(commands.TABLE, "train", fail)
    assert main(["train"]) in (2, 130)
    said = capsys.readouterr()
    assert said.out == ""
    assert_plain(said.err, num_lines=2 if kind is DataError else 1)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(
    "line",
    [
        ("{}",),
        ("train", "--{}"),
        ("train", "--seed", "{}"),
        ("train", "--project", "{}"),
        ("train", "--data-dir", "{}"),
        ("train", "{}"),
        ("check", "{}"),
        ("demo", "--seed", "{}"),
        ("evaluate", "{}"),
        ("evaluate", "x", "{}"),
        ("report", "--anonymous-ids={}"),
        ("predict", "{}", "{}"),
    ],
    ids=" ".join,
)
def test_arguments_that_are_refused_are_quoted_plain(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    line: tuple[str, ...],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([word.replace("{}", name) for word in line]) == 2
    said = capsys.readouterr()
    assert_plain(said.out + said.err)
    assert "Traceback" not in said.err


@pytest.mark.parametrize("name", ATTACKS)
def test_printed_settings_read_back(name: str) -> None:
    config = Config(data_dir=Path(name), class_names=(name, "b"))
    text = format_settings(config, dict.fromkeys(config_to_dict(config), f"{name}.yaml"))
    assert_plain(text)
    assert Config(**yaml.safe_load(text)) == config


@STEADY
@given(NAMES)
def test_json_files_keep_every_name(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = tmp_path_factory.mktemp("json") / "x.json"
    write_json(path, {name: [name]})
    assert read_json(path) == {name: [name]}
    assert json.loads(path.read_bytes()) == {name: [name]}
    assert_plain(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ATTACKS)
def test_figures_and_panels_show_names_as_text(tmp_path: Path, name: str) -> None:
    figure: Figure
    with drawing(tmp_path / "a.png", width=3, height=2) as figure:
        figure.subplots().set_title(shorten(name, 60))
    root = ElementTree.fromstring((tmp_path / "a.svg").read_bytes())
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert shorten(name, 60) in texts
    assert_plain("".join(texts), num_lines=0)
    painter = PanelPainter()
    text = PanelText(
        kind="FP", class_name=name, probability=0.9, label=name, threshold=0.5, image_id=name
    )
    painter.draw(tmp_path / "p.png", image=[[0.5]], heat=[[1.0]], record=text)
    drawn = (painter._score, painter._label, painter._image_id)
    assert_plain("".join(part.get_text() for part in drawn), num_lines=0)
