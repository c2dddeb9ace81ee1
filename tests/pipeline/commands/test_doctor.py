"""The doctor: lines in order, an exit code by the worst, a layout for any terminal."""

import shutil
import subprocess
import sys
from collections import namedtuple

import pytest
from tests import sabotaged

from medimg_baseline_cls import doctor
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.pipeline.commands import doctor as command
from medimg_baseline_cls.pipeline.steps import machine_checks
from medimg_baseline_cls.pipeline.steps.probes import Probed

HEALTHY = {
    "import torch": Probed(seconds=1.0),
    "device": Probed({"kind": "cpu", "text": "CPU", "num_threads": 4, "cuda": ""}),
    "step": Probed({"speed": 10.0, "step": "resnet18", "hub_id": "timm/net"}),
    "codecs": Probed({"tried": ["JPEG", "PNG"], "missing": {}}),
    "dicom": Probed({"missing": [], "absent": []}),
    "decode": Probed(),
    "cache": Probed({"place": "/c", "is_offline": False, "endpoint": "https://h", "weights": []}),
    "hub": Probed({"is_reachable": True}),
}
LINES = [
    *("python", "versions", "loading", "device", "training", "threads", "codecs", "dicom"),
    *("nifti", "parquet", "decoding", "disk", "output", "cache", "hub", "weights", "home"),
    "locale",
]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A healthy machine; the results of the probes can be changed."""
    results = dict(HEALTHY)
    usage = namedtuple("Usage", "total used free")(10**12, 0, 10**12)
    monkeypatch.setattr(command, "run_probes", lambda groups, request, seconds: results)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(machine_checks, "count_cores", lambda: 4)
    monkeypatch.setattr(machine_checks, "read_cpu_limit", lambda: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    return results


def test_a_healthy_machine_is_fine(machine, tmp_path, capsys):
    result = doctor()
    assert [check.name for check in result.checks] == LINES
    assert {check.status for check in result.checks} == {"ok"}
    assert result.status == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) == len(LINES) + 1
    assert text.endswith("0 errors and 0 warnings; nothing was written\n")
    assert list(tmp_path.iterdir()) == []


def test_the_worst_line_is_the_exit_code(machine, capsys):
    machine["hub"] = Probed({"is_reachable": False})
    assert main(["doctor"]) == 1
    machine["import torch"] = Probed(error="ImportError: broken\x1b[2J")
    assert main(["doctor"]) == 3
    text = capsys.readouterr().out
    assert "error    torch       cannot be loaded: ImportError: broken\\x1b[2J" in text
    assert "         -> Reinstall: pip install --force-reinstall torch torchvision." in text
    assert "1 error and 1 warning" in text


def test_what_is_not_ok_says_what_to_do(machine):
    machine.clear()
    result = doctor()
    assert result.status == 3
    for check in result.checks:
        assert bool(check.advice) == (check.status != "ok"), check


def test_flags_choose_what_is_looked_at(machine, tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "w.pth").write_bytes(b"<html>")
    cache, output = str(tmp_path / "file"), str(tmp_path / "file" / "out")
    flags = ["--cache-dir", cache, "--output-dir", output, "--weights", str(tmp_path / "w.pth")]
    assert main(["doctor", *flags]) == 3
    wrong = [text.split()[1] for text in capsys.readouterr().out.splitlines() if "error  " in text]
    assert wrong == ["output", "cache", "weights"]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_lines_fit_the_terminal(machine, monkeypatch, capsys, columns):
    monkeypatch.setattr(command.RunLog, "width", columns)
    machine["hub"] = Probed({"is_reachable": False})
    machine["import torch"] = Probed(error="RuntimeError: " + "a word " * 40)
    doctor()
    lines = capsys.readouterr().out.splitlines()
    # A path stays whole, so that it can be copied.
    assert all(len(line) <= columns or "/" in line.split()[-1] for line in lines)
    assert len(lines) > len(LINES) + 2


def test_a_data_set_is_passed_on(machine, monkeypatch):
    asked = []

    def run(groups, request, *, seconds):
        asked.append((request, seconds))
        return machine

    monkeypatch.setattr(command, "run_probes", run)
    names = [check.name for check in doctor("data", seconds=5).checks]
    doctor(arch="densenet121", image_size=96)
    network = {"arch": "densenet121", "image_size": 96}
    assert asked == [({"data": "data"}, 5), (network, 60)]
    assert names.index("data") == names.index("decoding") + 1


OF_THE_MACHINE = [
    (sabotage, line)
    for sabotage, line in sabotaged.SABOTAGES
    if line in ("cache", "torch", "disk", "locale", "home")
]
ALONE = """
from medimg_baseline_cls.pipeline.commands import doctor as command
command.run_probes = lambda groups, request, seconds: {}
import sys
from medimg_baseline_cls.cli import main
sys.exit(main(["doctor", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(
    ("sabotage", "line"), OF_THE_MACHINE, ids=[s.__name__ for s, _ in OF_THE_MACHINE]
)
def test_a_sabotaged_machine_is_named_in_a_process_of_its_own(tmp_path, sabotage, line):
    made = sabotage(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *made.flags],
        cwd=tmp_path,
        env=sabotaged.environment(made, tmp_path),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    named = [text.split()[:2] for text in done.stdout.splitlines() if text[:1].isalpha()]
    assert line in [name for status, name in named if status in ("warning", "error")]
    assert done.returncode == 3  # nothing was probed
    assert done.stderr == ""
