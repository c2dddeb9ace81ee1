"""Every command of the README runs, in its order, on phantoms and with small settings."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from medimg_baseline_cls.cli import main
from medimg_baseline_cls.phantom.image_folder import write_phantoms

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = "--image-size 64 -b 16 --head-epochs 1 --epochs 1 --limit 60 --num-hard-examples 2".split()
TINY = "image_size=64, batch_size=16, head_epochs=1, finetune_epochs=1, limit=60, pretrained=False"
# What a test cannot do without a network, a second installation or itself.
NOT_RUN_HERE = {
    "source .venv/bin/activate": "a shell's own business",
    "python -m venv .venv": "tests/test_packaging.py installs the wheel",
    ".venv/bin/pip install .": "tests/test_packaging.py installs the wheel",
    ".venv/bin/medimg demo": "tests/pipeline/commands/test_demo.py",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder as the README's reader has it: chest_xray/ and a file of weights."""
    folder = tmp_path_factory.mktemp("desk")
    write_phantoms(folder / "chest_xray", num_train=60, num_test=20, image_size=64, seed=4)
    torch.manual_seed(0)
    save_file(timm.create_model("resnet18").state_dict(), folder / "resnet18.safetensors")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def shrink(words: list[str]) -> list[str]:
    """Append small settings to a command that trains."""
    if words[1] not in ("run", "train", "cv") or "--resume" in words:
        return words
    words = ["2" if before == "--folds" else word for before, word in pairwise(["", *words])]
    has_weights = "--weights" in words or "--config" in words
    return [*words, *SMALL, *([] if has_weights else ["--no-pretrained"])]


def spread_patterns(words: list[str]) -> list[str]:
    """Do what a shell does with the patterns of `compare`."""
    if words[1] != "compare":
        return words
    return [*words[:2], *(str(path) for word in words[2:] for path in Path().glob(word))]


def leave_unfinished(folder: Path, command: str) -> None:
    room = {"cv": "cv", "run": "seeds"}[command]
    summaries = list(folder.glob(f"outputs/{room}/*/{room}_summary.json"))
    if summaries:
        summaries[0].unlink()
        return
    statuses = folder.glob("outputs/runs/medimg_*/status.json")
    newest = max(statuses, key=lambda path: path.stat().st_mtime)
    newest.write_text(json.dumps({"state": "interrupted"}), encoding="utf-8")


def test_every_kind_of_command_is_known() -> None:
    words = {shlex.split(line)[0] for line in commands() if line not in NOT_RUN_HERE}
    assert words == {"make", "medimg", "torchrun"}
    assert set(NOT_RUN_HERE) <= set(commands())


def test_make_words_exist() -> None:
    for line in commands():
        if line.startswith("make "):
            subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, check=True)


@pytest.mark.slow
def test_medimg_commands_run_in_order(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands():
        if not line.startswith("medimg "):
            continue
        if "--resume" in line:
            leave_unfinished(desk, shlex.split(line)[1])
        code = main(spread_patterns(shrink(shlex.split(line)))[1:])
        # The images of this test are few and noisy: the audit may warn of them.
        fine = (0, 1) if line.startswith("medimg check ") else (0,)
        assert code in fine, f"{line}\n{capsys.readouterr().err}"
    assert (desk / "predictions.csv").is_file()


@pytest.mark.slow
def test_torchrun_command_runs(desk: Path) -> None:
    (line,) = [line for line in commands() if line.startswith("torchrun ")]
    words = shlex.split(line)
    small = [*SMALL, "--no-pretrained", "--output-dir", "outputs_torchrun"]
    command = [sys.executable, "-m", "torch.distributed.run", *words[1:], *small]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, cwd=desk, check=True, env=env, timeout=300)


@pytest.mark.slow
def test_python_example_runs(desk: Path) -> None:
    (code,) = blocks("python")
    small = code.replace('arch="resnet18")', f'arch="resnet18", {TINY})')
    assert small != code
    exec(compile(small, "README.md", "exec"), {})


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_run_folder_table_names_what_a_run_writes(desk: Path) -> None:
    section = README.split("## A run folder")[1].split("\n## ")[0]
    named = re.findall(r"`([\w/]+\.\w+)`", section)
    runs = sorted(desk.glob("outputs/runs/medimg_*"))
    if not runs:
        pytest.skip("the run of this module was not made (only this test was chosen)")
    assert [name for name in named if not (runs[0] / name).is_file()] == []
