"""The command as users start it, in a process of its own: exit codes and both streams."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from medimg_baseline_cls.config import Config, field_facts


def medimg(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `medimg ARGUMENTS` in a folder, without a terminal."""
    command = [sys.executable, "-m", "medimg_baseline_cls", *map(str, arguments)]
    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120
    )


def refused(*arguments: object, cwd: Path) -> str:
    """Return the one sentence on stderr with which a command is refused."""
    done = medimg(*arguments, cwd=cwd)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("medimg: ")
    assert done.stderr.endswith(".\n")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_value_out_of_range_is_refused_before_any_work(tmp_path: Path):
    said = refused("run", "--data-dir", "films", "--image-size", "5000", cwd=tmp_path)
    assert said == (
        "medimg: image_size = 5000: expected a whole number from 32 to 1024, for example 224.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_printed_settings_are_taken_back_by_another_process(tmp_path: Path):
    first = medimg("train", "--img-size=96", "--class-names", "no", "a b", "--print-config",
                   cwd=tmp_path)  # fmt: skip
    assert (first.returncode, first.stderr) == (0, "")
    (tmp_path / "s.yaml").write_text(first.stdout)
    second = medimg("run", "--config", "s.yaml", "--print-config", cwd=tmp_path)
    assert (second.returncode, second.stderr) == (0, "")
    expected = Config(image_size=96, class_names=("no", "a b"))
    for printed in (first.stdout, second.stdout):
        assert Config(**yaml.safe_load(printed)) == expected
    assert second.stdout.count("# s.yaml\n") == len(field_facts())


def test_a_run_that_is_not_there_is_one_sentence_of_the_real_pipeline(tmp_path: Path):
    assert "nowhere" in refused("evaluate", "nowhere", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
