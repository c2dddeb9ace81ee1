"""Does bf16 reach what fp32 reaches? Validation AP of small trainings, several seeds of each.

ResNet-18 from random weights at 128 px. VAL is the same in all; the seed draws the first weights,
the order and the augmentation.

    python benchmarks/precision_seeds.py
"""

import argparse
import csv
import statistics
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from films import Counts, make_films
from harness import Answer, spread, tell, workplace, write_answer
from scipy import stats

from medimg_baseline_cls import Config, train
from medimg_baseline_cls.config import PRESETS

COUNTS = Counts(320, 120, 8)
SIDE, EPOCHS = 128, 4


def best_ap(films: Path, outputs: Path, *, precision: str, seed: int) -> tuple[float, float]:
    """Return the AP of the best epoch, and the seconds of all epochs."""
    settings = PRESETS["baseline"] | {
        "data_dir": films,
        "output_dir": outputs,
        "arch": "resnet18",
        "pretrained": False,
        "image_size": SIDE,
        "val_strategy": "folder",
        "head_epochs": 0,
        "finetune_epochs": EPOCHS,
        "device": "cpu",
    }
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        run_dir = train(Config(**settings, precision=precision, seed=seed)).run_dir
    history, timings = (
        list(csv.DictReader((run_dir / name).read_text().splitlines()))
        for name in ("history.csv", "timings.csv")
    )
    seconds = sum(float(row["seconds"]) for row in timings)
    return max(float(row["val_ap"]) for row in history), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="real films; none: phantoms")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"fp32": [], "bf16": []}
    with workplace() as work:
        films = make_films(work / "films", COUNTS, size=SIDE, real=options.data)
        for seed in range(options.seeds):
            for precision, results in found.items():
                results.append(best_ap(films, work, precision=precision, seed=seed))
                ap, seconds = results[-1]
                tell(f"  seed {seed}, {precision}: AP {ap:.4f}, {seconds:.1f} s")
    plain, short = ([ap for ap, _ in found[name]] for name in ("fp32", "bf16"))
    # Welch's interval of a difference of means
    interval = stats.ttest_ind(short, plain, equal_var=False).confidence_interval(0.95)
    gap, half = statistics.mean(short) - statistics.mean(plain), (interval.high - interval.low) / 2
    write_answer(
        Answer(
            name="precision_seeds",
            title=f"Validation AP of bf16 and of fp32, ResNet-18, {SIDE} px, {options.seeds} seeds",
            header=["precision", "AP of the best epoch", "standard deviation", "seconds"],
            rows=[
                [
                    f"medimg, {name}",
                    spread([ap for ap, _ in results], 4),
                    f"{statistics.stdev([ap for ap, _ in results]):.4f}",
                    spread([seconds for _, seconds in results]),
                ]
                for name, results in found.items()
            ],
            ratios={
                "difference of means, to half its 95 % interval": (abs(gap) / half, "<= 1"),
            },
            notes=[
                f"bf16 less fp32: {gap:+.4f}, 95 % interval {interval.low:+.4f} to "
                f"{interval.high:+.4f} (Welch's t).",
                f"{COUNTS.train} training and {COUNTS.val} validation images, {EPOCHS} epochs.",
            ],
            facts={name: [ap for ap, _ in results] for name, results in found.items()},
        )
    )


if __name__ == "__main__":
    main()
