"""Who takes part: medimg itself, and what a user would pick instead."""

import csv
import itertools
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from harness import OURS, RIVALS, Outcome, Program, run_command, run_job

from medimg_baseline_cls.utils.device import choose_precision

OUR_NAME = "medimg"
# torchvision's network up to its pooling, then the head of ultralytics' classifiers.
_YOLO_NETWORK = """nc: 2
backbone:
  - [-1, 1, TorchVision, [512, {arch}, None, True, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""
# medimg prints a row when an epoch is over and its best weights are on disk.
_EPOCH_LINE = re.compile(r"\s*(head|finetune)\s+\d+/\d+\s")


def plain(*, fast: bool = False, compiled: bool = False) -> Program:
    """PyTorch with torchvision's ImageFolder, as in a tutorial."""
    name = "PyTorch loop" + (", every flag" if compiled else ", flags" if fast else "")

    def run(job: dict[str, Any]) -> Outcome:
        precision = choose_precision("auto", torch.device("cpu"))
        flags = {"fast": fast, "compiled": compiled, "has_fast_bf16": precision == "bf16"}
        return run_job(RIVALS / "python", "plain_loop.py", job | flags)

    return Program(name, run)


def monai() -> Program:
    """MONAI's CacheDataset and SupervisedTrainer."""
    return Program("MONAI trainer", lambda job: run_job(RIVALS / "python", "monai_loop.py", job))


def monai_volumes(arch: str, *, fast: bool = False) -> Program:
    """MONAI's CacheDataset and one of its networks for volumes, in the loop of its tutorials."""
    name = f"MONAI {arch}" + (", flags" if fast else "")

    def run(job: dict[str, Any]) -> Outcome:
        precision = choose_precision("auto", torch.device("cpu"))
        flags = {"arch": arch, "fast": fast, "has_fast_bf16": precision == "bf16"}
        return run_job(OURS / "python", "monai_volumes.py", job | flags)

    return Program(name, run)


def fastai(*, fast: bool = False) -> Program:
    """fastai's Learner."""
    return Program(
        "fastai" + (", flags" if fast else ""),
        lambda job: run_job(RIVALS / "python", "fastai_loop.py", job | {"fast": fast}),
    )


def ultralytics() -> Program:
    """The program `yolo classify train`; it has no stage for the head alone and no panels."""
    return Program("ultralytics", _run_yolo)


def medimg() -> Program:
    """`medimg train`, or `medimg run` where a job asks for panels."""
    return Program(OUR_NAME, _run_ours)


def _run_yolo(job: dict[str, Any]) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="bench_") as name:
        folder = Path(name)
        network = folder / f"{job['arch']}-cls.yaml"
        network.write_text(_YOLO_NETWORK.format(arch=job["arch"]))
        settings = {
            "model": network,
            "data": job["data"],
            "epochs": job["finetune_epochs"],
            "imgsz": job["image_size"],
            "batch": job["batch_size"],
            "workers": 2,
            "device": "cpu",
            "pretrained": False,
            "amp": False,
            "plots": False,
            "optimizer": "AdamW",
            "lr0": 1e-4,
            # equal strength: no mirror, no erasing, no policy; a mild crop and exposure stay
            "fliplr": 0.0,
            "erasing": 0.0,
            "auto_augment": None,
            "scale": 0.1,
            "hsv_h": 0.0,
            "hsv_s": 0.0,
            "hsv_v": 0.1,
            "project": folder / "runs",
            "name": "job",
        }
        words = [f"{key}={value}" for key, value in settings.items()]
        outcome = run_command([RIVALS / "yolo", "classify", "train", *words], folder=folder)
        table = next(folder.rglob("results.csv"))
        with table.open(newline="") as file:
            rows = [{k.strip(): v for k, v in row.items()} for row in csv.DictReader(file)]
    clock = [float(row["time"]) for row in rows]
    num_train = sum(1 for path in (Path(job["data"]) / "train").rglob("*") if path.is_file())
    # Its own clock also counts the validation of each epoch, here of very few images.
    seconds = [after - before for before, after in itertools.pairwise(clock)]
    epochs = [{"stage": "finetune", "images_per_second": num_train / s} for s in seconds]
    return Outcome(outcome.seconds, outcome.peak_mib, {"epochs": epochs})


def _run_ours(job: dict[str, Any]) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="bench_") as name:
        folder = Path(name)
        chosen = {
            "data_dir": job["data"],
            "output_dir": folder / "outputs",
            "val_strategy": "folder",
            "arch": job["arch"],
            "image_size": job.get("image_size", 224),
            "batch_size": job.get("batch_size", 32),
            "head_epochs": job.get("head_epochs", 0),
            "finetune_epochs": job.get("finetune_epochs", 3),
            "augment": "light",
            "select": "val_ap",
            "frozen_stem": False,
            **({"slices": job["slices"], "intensity": "lung"} if job.get("slices") else {}),
            **({"weights": job["weights"]} if job.get("weights") else {"pretrained": False}),
        }
        (folder / "job.json").write_text(json.dumps(chosen, default=str))
        verb = "run" if job.get("panels") else "train"
        command = [OURS / "medimg", verb, "--config", folder / "job.json"]
        outcome = run_command(command, folder=folder)
        facts = _read_run(next((folder / "outputs" / "runs").glob("medimg_*")))
    ends = [seconds for seconds, line in outcome.lines if _EPOCH_LINE.match(line)]
    for epoch, elapsed in zip(facts["epochs"], ends, strict=True):
        epoch["elapsed"] = elapsed
    return Outcome(outcome.seconds, outcome.peak_mib, facts)


def _read_run(run_dir: Path) -> dict[str, Any]:
    """Return what a run says of itself: speed and VAL per epoch, TEST, panels."""
    with (run_dir / "timings.csv").open(newline="") as file:
        timings = list(csv.DictReader(file))
    with (run_dir / "history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    epochs = [
        {
            "stage": row["stage"],
            "images_per_second": float(row["images_per_second"]),
            "seconds": float(row["seconds"]),
            "val_ap": float(seen["val_ap"]) if seen["val_ap"] else None,
        }
        for row, seen in zip(timings, history, strict=True)
    ]
    facts: dict[str, Any] = {"epochs": epochs}
    panels = len([*(run_dir / "gradcam").rglob("*.png")]) if (run_dir / "gradcam").is_dir() else 0
    summary = run_dir / "test_summary.json"
    if summary.is_file():
        found = json.loads(summary.read_text())
        metrics = found["classes"][found["positive_class"]]["metrics"]
        facts |= {"test_auroc": metrics["auroc"]["value"], "panels": panels}
    return facts
