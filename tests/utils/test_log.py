import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from medimg_baseline_cls.utils.log import SILENT, RunLog, format_table, open_log


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=60, color_system="standard")


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def visible_after(output: str) -> list[str]:
    """Return what a terminal still shows: replays line feeds, cursor-up and erase-line."""
    lines, row = [""], 0
    rest = output
    while rest:
        if rest.startswith("\x1b["):
            end = next(i for i, c in enumerate(rest[2:], start=2) if c.isalpha())
            code, rest = rest[2 : end + 1], rest[end + 1 :]
            if code.endswith("A"):
                row -= int(code[:-1] or 1)
            elif code == "2K":
                lines[row] = ""
            continue
        char, rest = rest[0], rest[1:]
        if char == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif char != "\r":
            lines[row] += char
    return [line for line in lines if line.strip()]


def test_screen_and_file_hold_the_same_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_log(tmp_path / "run" / "log.txt")
    log.info("reading [bold]5216[/] images")
    log.warn("17 files are no images")
    log.hint("decoding takes long", fix="add --num-workers 2")
    log.table("Split", header=["split", "images"], rows=[["train", 10], ["val", 2]])
    assert capsys.readouterr().out == (tmp_path / "run" / "log.txt").read_text()


def test_hint_carries_its_fix_and_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    log = open_log(None)
    for _ in range(3):
        log.hint("decoding takes long", fix="add --num-workers 2")
    assert capsys.readouterr().out == "hint: decoding takes long -> add --num-workers 2\n"


def test_markup_in_names_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    open_log(None).info("data/[red]/x.png :warning: [/]")
    assert capsys.readouterr().out == "data/[red]/x.png :warning: [/]\n"


def test_long_line_is_never_wrapped_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    open_log(None).info("x" * 500)
    assert capsys.readouterr().out == "x" * 500 + "\n"


def test_progress_prints_nothing_in_a_pipe_even_if_color_is_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    log = open_log(tmp_path / "log.txt")
    with log.progress("decoding", 3) as bar:
        bar.advance()
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "log.txt").exists()


def test_progress_is_shown_in_a_terminal_and_vanishes(tmp_path: Path) -> None:
    console = terminal()
    log = RunLog(console, tmp_path / "log.txt")
    log.info("before")
    with log.progress("decoding", 3) as bar:
        bar.advance(2)
        log.info("during")
        bar.advance()
    log.info("after")
    assert "decoding" in shown(console)
    assert visible_after(shown(console)) == ["before", "during", "after"]
    assert (tmp_path / "log.txt").read_text() == "before\nduring\nafter\n"


def test_progress_vanishes_also_when_the_work_fails() -> None:
    console = terminal()
    with pytest.raises(KeyboardInterrupt), RunLog(console, None).progress("decoding", 3):
        raise KeyboardInterrupt
    assert "decoding" in shown(console)
    assert visible_after(shown(console)) == []
    assert "\x1b[?25h" in shown(console), "the cursor must come back"


def test_bars_can_be_nested_and_of_unknown_length() -> None:
    console = terminal()
    log = RunLog(console, None)
    with log.progress("epochs", 2) as outer:
        for _ in range(2):
            with log.progress("batches", None) as inner:
                inner.advance(5)
            outer.advance()
    assert visible_after(shown(console)) == []


def test_bar_text_is_not_markup() -> None:
    console = terminal()
    with RunLog(console, None).progress("[red]/x", 1):
        pass
    assert "[red]/x" in shown(console)


def test_dumb_terminal_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = terminal()
    with RunLog(console, None).progress("decoding", 1) as bar:
        bar.advance()
    assert shown(console).strip() == ""


def test_growing_table_prints_its_header_with_the_first_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = open_log(None).growing_table(["epoch", "val_ap"], width=7)
    assert capsys.readouterr().out == ""
    table.row([1, "0.912"])
    table.row([10, "0.950"])
    assert capsys.readouterr().out.splitlines() == [
        "  epoch   val_ap",
        "      1    0.912",
        "     10    0.950",
    ]


def test_table_aligns_numbers_right_and_words_left() -> None:
    lines = format_table(["class", "prevalence", "n"], [["NORMAL", "38.5%", 234], ["x", "-", 1]])
    assert lines == [
        "class   prevalence    n",
        "------  ----------  ---",
        "NORMAL       38.5%  234",
        "x                -    1",
    ]


def test_table_without_rows_is_its_header() -> None:
    assert format_table(["a", "bb"], []) == ["a  bb", "-  --"]


def test_screen_that_lacks_a_letter_gets_an_escape_not_an_error() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    RunLog(console, None).info("Entzündung")
    assert raw.getvalue() == b"Entz\\xfcndung\n"


def test_name_that_is_not_utf8_can_be_logged(tmp_path: Path) -> None:
    RunLog(None, tmp_path / "log.txt").info("bad file \udcff.png")
    assert (tmp_path / "log.txt").read_text() == "bad file \\xff.png\n"


def test_resumed_run_appends_to_its_log(tmp_path: Path) -> None:
    for word in ("first", "second"):
        open_log(tmp_path / "log.txt").info(word)
    assert (tmp_path / "log.txt").read_text() == "first\nsecond\n"


def test_silent_log_swallows_everything(capsys: pytest.CaptureFixture[str]) -> None:
    SILENT.info("x")
    SILENT.warn("x")
    SILENT.table("x", header=["a"], rows=[["b"]])
    SILENT.growing_table(["a"]).row(["b"])
    with SILENT.progress("x", 2) as bar:
        bar.advance()
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is POSIX")
def test_real_terminal_shows_the_bar_and_ends_clean(tmp_path: Path) -> None:
    import pty

    code = (
        "from medimg_baseline_cls.utils.log import open_log\n"
        "log = open_log(None)\n"
        "with log.progress('decoding', 2) as bar: bar.advance()\n"
        "log.info('done')\n"
    )
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "60"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], stdout=other, env=environment, check=True)
    os.close(other)
    output = os.read(main, 65536).decode()
    os.close(main)
    assert "decoding" in output
    assert visible_after(output) == ["done"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_log_that_cannot_be_written_stops_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    log = open_log(tmp_path / "log.txt")
    log.info("before")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", fail)
        log.info("lost")
        log.info("lost too")
    log.info("after")
    assert (tmp_path / "log.txt").read_text() == "before\nafter\n"
    shown, path = capsys.readouterr().out, tmp_path / "log.txt"
    why = os.strerror(number)
    warning = f"warning: lines are missing from {path}: it cannot be written ({why})"
    assert shown.splitlines() == ["before", "lost", warning, "lost too", "after"]


def test_a_screen_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    log = RunLog(Console(file=Full()), tmp_path / "log.txt")
    log.info("one")
    log.info("two")
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"
