"""Compare training settings on VALIDATION data: the evidence behind the defaults.

    python benchmarks/training_choices.py DATA WEIGHTS imbalance | batchnorm | finetune_lr

Trains tf_efficientnet_lite0 at 96 px from a file of pretrained weights, three seeds each (so
three different cuts of VAL), and prints mean and range over the seeds of the best epoch's
validation AP, AUROC and log loss. VAL is stratified here: log loss then judges calibration at
the prevalence of the data. TEST is never scored.
"""

import csv
import statistics
import sys
import tempfile
from pathlib import Path

from medimg_baseline_cls import Config, train
from medimg_baseline_cls.config import PRESETS

CHOICES = {
    "imbalance": ("none", "class_weights", "balanced_sampler", "focal"),
    "batchnorm": ("train", "frozen"),
    "finetune_lr": (3e-5, 1e-4, 3e-4, 1e-3),
}
SEEDS = (0, 1, 2)


def best_epoch(run_dir: Path) -> dict[str, str]:
    with (run_dir / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return max(rows, key=lambda row: (float(row["val_ap"]), -float(row["val_loss"])))


def describe(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def main() -> None:
    data, weights, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    lines = [f"| {name} | val AP | val AUROC | val log loss |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for value in CHOICES[name]:
            best = [
                best_epoch(
                    train(
                        Config(
                            data_dir=data,
                            output_dir=Path(folder),
                            arch="tf_efficientnet_lite0",
                            weights=weights,
                            image_size=96,
                            val_strategy="stratified",
                            val_fraction=0.2,
                            limit=1300,
                            seed=seed,
                            **(PRESETS["baseline"] | {"finetune_epochs": 2, name: value}),
                        )
                    ).run_dir
                )
                for seed in SEEDS
            ]
            figures = [[float(b[key]) for b in best] for key in ("val_ap", "val_auroc", "val_loss")]
            lines.append(f"| {value} | {' | '.join(map(describe, figures))} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
