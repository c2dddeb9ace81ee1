"""The commands of the README and of the pages that continue it run, in their order, on phantoms."""

import json
import os
import re
import shlex
import shutil
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
# Read one after the other: a page may use the runs of those before it. Other pages: test_docs.py.
PAGES = (
    "README.md",
    "docs/tutorials/your-radiographs.md",
    "docs/how-to/offline-weights.md",
    "docs/how-to/resume.md",
    "docs/how-to/cross-validation.md",
    "docs/how-to/seeds.md",
    "docs/how-to/compare.md",
    "docs/how-to/settings-files.md",
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = (
    "--image-size 64 -b 16 --head-epochs 1 --epochs 1 --limit 60 --num-hard-examples 2 "
    "--num-resamples 50"
).split()
UNTRAINED = ("--no-pretrained", "--arch", "test_resnet")
TINY = (
    "pretrained=False, image_size=64, batch_size=16, head_epochs=1, finetune_epochs=1, limit=60, "
    "num_resamples=50"
)


def blocks(language: str, page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def medimg_commands() -> list[str]:
    """Return every command once; but one that resumes, wherever it is."""
    text = "".join(block for page in PAGES for block in blocks("sh", page))
    lines = text.replace("\\\n", " ").splitlines()
    lines = [line for line in lines if line.startswith("medimg ")]
    return [x for i, x in enumerate(lines) if "--resume" in x or x not in lines[:i]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder as the README's reader has it: chest_xray/, new_images/ and a file of weights."""
    folder = tmp_path_factory.mktemp("desk")
    write_phantoms(folder / "chest_xray", num_train=60, num_test=20, image_size=64, seed=4)
    shutil.copytree(folder / "chest_xray/test/NORMAL", folder / "new_images")
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
    of_init = "chest_xray.yaml" in words  # the other settings files name weights, or none
    has_weights = "--weights" in words or ("--config" in words and not of_init)
    return [*words, *SMALL, *(() if has_weights else UNTRAINED)]


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


def test_readme_is_a_door_and_not_a_manual() -> None:
    assert README.count("\n") <= 110


@pytest.mark.slow
def test_medimg_commands_run_in_order(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in medimg_commands():
        if "--resume" in line:
            leave_unfinished(desk, shlex.split(line)[1])
        code = main(spread_patterns(shrink(shlex.split(line)))[1:])
        # The images of this test are few and noisy: the audit may warn of them.
        fine = (0, 1) if line.startswith("medimg check ") else (0,)
        assert code in fine, f"{line}\n{capsys.readouterr().err}"
    assert (desk / "predictions.csv").is_file()


@pytest.mark.slow
def test_torchrun_command_runs(desk: Path) -> None:
    lines = "".join(blocks("sh", "docs/how-to/several-gpus.md")).splitlines()
    line = next(line for line in lines if line.startswith("torchrun "))
    words = shlex.split(line)
    small = [*SMALL, *UNTRAINED, "--output-dir", "outputs_torchrun"]
    command = [sys.executable, "-m", "torch.distributed.run", *words[1:], *small]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, cwd=desk, check=True, env=env, timeout=300)


@pytest.mark.slow
def test_python_example_runs(desk: Path) -> None:
    (code,) = blocks("python", "README.md")
    small = code.replace('arch="resnet18")', f'arch="test_resnet", {TINY})')
    assert small != code
    exec(compile(small, "README.md", "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["add-an-augmentation", "callbacks", "add-a-backbone"])
def test_python_of_a_guide_is_what_train_takes(desk: Path, name: str) -> None:
    for code in blocks("python", f"docs/how-to/{name}.md"):
        code = code.replace(", pretrained=False)", ")")
        code = code.replace('data_dir="chest_xray")', f'data_dir="chest_xray", {TINY})')
        exec(compile(code, f"{name}.md", "exec"), {})


@pytest.mark.parametrize(
    ("page", "word"),
    [("reference/records", "max_f1 sensitivity"), ("how-to/add-a-metric", "prob_PNEUMONIA")],
)
def test_python_that_reads_a_run_reads_one(
    desk: Path, page: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (desk / "outputs" / "runs" / "latest").exists():
        pytest.skip("the run of this module was not made (only this test was chosen)")
    (code,) = blocks("python", f"docs/{page}.md")
    exec(compile(code, f"{page}.md", "exec"), {})
    assert word in capsys.readouterr().out


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(targets) > 15
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_run_folder_table_names_what_a_run_writes(desk: Path) -> None:
    page = (ROOT / "docs/reference/run-folder.md").read_text(encoding="utf-8")
    table = page.split("Other folders under")[0].split("|---|---|")[1]
    named = re.findall(r"`([\w/]+\.\w+)`", table)
    assert len(named) > 25
    runs = sorted(desk.glob("outputs/runs/medimg_*"))
    if not runs:
        pytest.skip("the run of this module was not made (only this test was chosen)")
    assert [name for name in named if not (runs[0] / name).is_file()] == []


def test_json_page_names_only_keys_that_a_run_writes(desk: Path) -> None:
    runs = sorted(desk.glob("outputs/runs/medimg_*"))
    if not runs:
        pytest.skip("the run of this module was not made (only this test was chosen)")
    page = (ROOT / "docs/reference/json.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:4]
    for section in sections:
        title, _, body = section.partition("\n")
        files = re.findall(r"\w+\.json", title)
        written = "".join((runs[0] / name).read_text(encoding="utf-8") for name in files)
        shapes = "".join(re.findall(r"^```text\n(.*?)^```", body, flags=re.MULTILINE | re.DOTALL))
        named = re.findall(r'"(\w+)"', shapes)
        assert len(named) > 5
        missing = {name for name in named if f'"{name}"' not in written}
        assert missing <= {"target", "max_f1_at_prevalence"}, title
