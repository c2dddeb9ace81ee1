"""(i) Growth of time, memory and disk with the number of images: a whole training on tiny films.

PNG files of 32 px of random grain, one epoch of a tiny network; so time and memory are those of
everything around the network.

    python benchmarks/growth.py --sizes 1000 10000 100000
"""

import argparse
import csv
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from harness import OURS, Answer, run_command, workplace, write_answer
from PIL import Image

SIDE = 32


def draw_grain(task: tuple[Path, int, int]) -> None:
    folder, first, last = task
    for number in range(first, last):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        label = "sick" if number % 2 else "well"
        Image.fromarray(pixels).save(folder / label / f"p{number:07d}.png", compress_level=1)


def measure(size: int) -> dict[str, Any]:
    with workplace() as folder:
        films = folder / "films"
        for label in ("sick", "well"):
            (films / label).mkdir(parents=True)
        starts = range(0, size, 1000)
        with ProcessPoolExecutor() as pool:
            list(pool.map(draw_grain, [(films, s, min(s + 1000, size)) for s in starts]))
        settings = {
            "data_dir": films,
            "output_dir": folder / "outputs",
            "arch": "test_resnet",
            "pretrained": False,
            "image_size": SIDE,
            "batch_size": 100,
            "head_epochs": 0,
            "finetune_epochs": 1,
        }
        (folder / "job.json").write_text(json.dumps(settings, default=str))
        outcome = run_command(
            [OURS / "medimg", "train", "--config", folder / "job.json"], folder=folder
        )
        (pixels,) = (folder / "outputs" / "cache").rglob("pixels.npy")
        with next((folder / "outputs" / "runs").glob("*/timings.csv")).open(newline="") as file:
            (row,) = csv.DictReader(file)
        return {
            "images": size,
            "seconds": outcome.seconds,
            "epoch_seconds": float(row["seconds"]),
            "peak_mib": outcome.peak_mib,
            "cache_mib": pixels.stat().st_size / 2**20,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    options = parser.parse_args()
    found = [measure(size) for size in options.sizes]
    first, last = found[0], found[-1]
    more = last["images"] - first["images"]
    per_image = (last["seconds"] - first["seconds"]) / more
    write_answer(
        Answer(
            name="growth",
            title="A training on more and more images of 32 px, a tiny network",
            header=["images", "seconds", "of them, the epoch", "peak MiB", "cache, MiB"],
            rows=[
                [
                    f"{f['images']:,} images",
                    f"{f['seconds']:.1f}",
                    f"{f['epoch_seconds']:.1f}",
                    f"{f['peak_mib']:,.0f}",
                    f"{f['cache_mib']:,.1f}",
                ]
                for f in found
            ],
            ratios={
                "bytes of memory for each further image": (
                    (last["peak_mib"] - first["peak_mib"]) * 2**20 / more,
                    "<= 100",
                ),
                "milliseconds for each further image": (per_image * 1000, "(linear)"),
            },
            notes=["One run of each size; time without the start is linear if rows agree."],
            facts={"sizes": found},
        )
    )


if __name__ == "__main__":
    main()
