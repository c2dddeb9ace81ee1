"""What the pooling of slices learns: phantom CTs with a lesion in 2 of 24 slices, several seeds.

    python benchmarks/volume_learning.py WEIGHTS [--seeds N] [--pooling NAME,...]
    python benchmarks/volume_learning.py --page-only

Each seed draws other volumes and trains with each pooling from the same file of pretrained weights
of tf_efficientnet_lite0. TEST is scored once for each network. Results are appended to
docs/benchmarks/volumes.jsonl, runs that are in it are not repeated, and volumes.md is written.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from medimg_baseline_cls import Config, run
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.data.pixels.volumes import preprocess_volume
from medimg_baseline_cls.data.read import decode_volume
from medimg_baseline_cls.models.build import rebuild_model
from medimg_baseline_cls.models.slices import weigh_slices
from medimg_baseline_cls.phantom.image_folder import MASK_FOLDER
from medimg_baseline_cls.phantom.volume_folder import POSITIVE, write_volumes
from medimg_baseline_cls.utils.env import collect_environment
from medimg_baseline_cls.utils.files import read_csv

RESULTS = Path(__file__).resolve().parents[1] / "docs/benchmarks"
ROWS, PAGE = RESULTS / "volumes.jsonl", RESULTS / "volumes.md"
NUM_SLICES, SIDE, NUM_TRAIN, NUM_TEST = 24, 64, 600, 200
SETTINGS: dict[str, Any] = {
    "arch": "tf_efficientnet_lite0",
    "slices": NUM_SLICES,
    "image_size": SIDE,
    "intensity": "lung",
    "batch_size": 16,
    "finetune_epochs": 10,
}


def measure(pooling: str, *, seed: int, weights: Path, folder: Path) -> dict[str, Any]:
    """Train on the volumes of a seed, score TEST, and look where the attention is."""
    config = Config(
        data_dir=folder / "data",
        output_dir=folder / "outputs",
        project=pooling,
        weights=weights,
        slice_pooling=pooling,  # pyright: ignore[reportArgumentType]
        seed=seed,
        **SETTINGS,
    )
    start = time.perf_counter()
    found = run(config)
    seconds = time.perf_counter() - start
    summary = json.loads((found.run_dir / "eval_summary.json").read_text())
    auroc = {
        "final": summary["headline"]["test"]["auroc"]["value"],
        "head-only": summary["head_only"]["test"]["auroc"]["value"],
    }
    row = {"pooling": pooling, "seed": seed, "auroc": auroc, "seconds": round(seconds)}
    if pooling == "attention":
        row |= look(found.run_dir, folder / "data")
    return row | {"cpu": collect_environment([])["cpu"]}


def read_threshold(run_dir: Path) -> float:
    rules = json.loads((run_dir / "thresholds.json").read_text())["classes"][POSITIVE]
    return float(rules["max_f1"]["threshold"])


@torch.no_grad()
def look(run_dir: Path, data: Path) -> dict[str, float]:
    """Return how often the slice with the highest attention has the lesion, and other facts."""
    best = torch.load(run_dir / "best.pt", weights_only=True)
    model = rebuild_model(best["description"], best["model"]).eval()
    pixels = PixelSettings(**best["pixels"])
    threshold = read_threshold(run_dir)
    hits, moves = list[bool](), list[float]()
    order = torch.randperm(NUM_SLICES, generator=torch.manual_seed(0))
    for row in read_csv(run_dir / "predictions_test.csv"):
        if row["label"] != POSITIVE or float(row[f"prob_{POSITIVE}"]) < threshold:
            continue
        volume = decode_volume((data / row["path"]).read_bytes())
        stored = preprocess_volume(volume, pixels, deep=False)
        unit = torch.from_numpy(stored)[None].float() / 255  # (1, K, S, S)
        attention = weigh_slices(model, unit, targets=torch.tensor([0]))[0]
        mask = decode_volume((data / MASK_FOLDER / row["path"]).read_bytes()).voxels
        hits.append(bool(mask[int(attention.argmax())].any()))
        before, after = (model(part).softmax(1) for part in (unit, unit[:, order]))
        moves.append(float((before - after).abs().max()))
    return {
        "true_positives": len(hits),
        "lesion_in_top_slice": statistics.mean(hits),
        "largest_change_by_order": max(moves),
    }


def read_rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def write_page(rows: Sequence[dict[str, Any]]) -> None:
    """Write the table of all runs, and means for each pooling."""
    head = "| pooling | seed | AUROC head-only | AUROC | lesion in the slice of highest attention |"
    lines = [
        "# Volumes",
        "",
        "Made by `python benchmarks/volume_learning.py WEIGHTS`. Phantom CTs, not patients: a",
        f"lesion in 2 of {NUM_SLICES} slices of half of them, {NUM_TRAIN} volumes for TRAIN and",
        f"VAL, {NUM_TEST} in TEST, {SIDE} px, `tf_efficientnet_lite0` from ImageNet weights, the",
        f"default settings but for {SETTINGS['finetune_epochs']} epochs of fine-tuning and batches",
        f"of {SETTINGS['batch_size']}. Each seed draws other volumes. Where the two numbers are",
        "the same, no epoch of fine-tuning was better on VAL. Seconds are those of one thread of a",
        "busy machine, and say little.",
        "",
        head + " seconds |",
        "|" + "---|" * 6,
    ]
    for row in sorted(rows, key=lambda row: (row["pooling"], row["seed"])):
        top = ""
        if "true_positives" in row:
            top = f"{row['lesion_in_top_slice']:.0%} of {row['true_positives']} true positives"
        lines.append(
            f"| {row['pooling']} | {row['seed']} | {row['auroc']['head-only']:.3f} "
            f"| {row['auroc']['final']:.3f} | {top} | {row['seconds']:,} |"
        )
    PAGE.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="?", help="tf_efficientnet_lite0.safetensors")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--pooling", default="attention,mean")
    parser.add_argument("--page-only", action="store_true")
    options = parser.parse_args()
    rows = read_rows()
    done = {(row["pooling"], row["seed"]) for row in rows}
    for seed in () if options.page_only else options.seeds:
        wanted = [name for name in options.pooling.split(",") if (name, seed) not in done]
        if not wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="bench_data_") as name:
            folder = Path(name)
            shape = {"num_slices": NUM_SLICES, "image_size": SIDE}
            write_volumes(
                folder / "data", num_train=NUM_TRAIN, num_test=NUM_TEST, seed=seed, **shape
            )
            for pooling in wanted:
                row = measure(pooling, seed=seed, weights=options.weights, folder=folder)
                print(json.dumps(row), flush=True)
                with ROWS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                rows.append(row)
    write_page(rows)


if __name__ == "__main__":
    main()
