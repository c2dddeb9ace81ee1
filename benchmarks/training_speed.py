"""(a) Training images per second at steady state, and (h) peak memory, against the rivals.

The whole network learns, at 224 px in batches of 32. A rival's speed is taken between the first
and the last step of an epoch; medimg's is of whole epochs, with the first batch and the last.
The first epoch of each is left out.

    python benchmarks/training_speed.py --data chest_xray
"""

import argparse
from pathlib import Path

from contestants import OUR_NAME, fastai, medimg, monai, plain, ultralytics
from films import Counts, make_films
from harness import Answer, Outcome, Program, median, spread, take_turns, workplace, write_answer

FULL = (
    medimg(),
    plain(),
    monai(),
    fastai(),
    ultralytics(),
    plain(fast=True),
    fastai(fast=True),
    plain(fast=True, compiled=True),
)
SHORT = (medimg(), plain(), monai(), plain(fast=True))
SHAPE = {"image_size": 224, "batch_size": 32}
AS_IT_COMES = ("PyTorch loop", "MONAI trainer", "fastai", "ultralytics")


def steady_speeds(outcomes: list[Outcome]) -> list[float]:
    """Return the speed of every epoch but the first of each process."""
    speeds = []
    for outcome in outcomes:
        found = [e["images_per_second"] for e in outcome.facts["epochs"]]
        # ultralytics' clock starts at the end of its first epoch
        speeds += found[1:] if len(found) > 1 else found
    return speeds


def compare(
    arch: str, programs: tuple[Program, ...], *, folder: Path, epochs: int, repeats: int
) -> tuple[list[list[str]], dict[str, float], dict[str, float]]:
    """Return rows of a table, the median speed and the median peak memory of each program."""
    job = {"data": folder, "arch": arch, "finetune_epochs": epochs, **SHAPE}
    found = take_turns(programs, job, repeats=repeats)
    speeds = {name: steady_speeds(outcomes) for name, outcomes in found.items()}
    memory = {name: median([o.peak_mib for o in outcomes]) for name, outcomes in found.items()}
    own = median(speeds[OUR_NAME])
    rows = [
        [
            f"{name}, {arch}",
            spread(values),
            f"{own / median(values):.2f}",
            f"{memory[name]:,.0f}",
        ]
        for name, values in speeds.items()
    ]
    return rows, {name: median(values) for name, values in speeds.items()}, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="real films; none: phantoms")
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--short", type=int, default=128, help="images for DenseNet-121")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    with workplace() as folder:
        how = {"epochs": options.epochs, "repeats": options.repeats}
        films = [
            make_films(folder / str(number), Counts(number, 8, 8), size=224, real=options.data)
            for number in (options.images, options.short)
        ]
        rows, speeds, memory = compare("resnet18", FULL, folder=films[0], **how)
        dense_rows, dense, _ = compare("densenet121", SHORT, folder=films[1], **how)
    own = speeds[OUR_NAME]
    flagged = max(speed for name, speed in speeds.items() if "flag" in name)
    rival = max(speeds[name] for name in AS_IT_COMES)
    dense_rival = max(dense["PyTorch loop"], dense["MONAI trainer"])
    write_answer(
        Answer(
            name="training_speed",
            title="Training, images per second at steady state, 224 px, batches of 32",
            header=["program", "images/s", "medimg is faster by", "peak MiB"],
            rows=rows + dense_rows,
            ratios={
                "ResNet-18, to the plain loop": (own / speeds["PyTorch loop"], ">= 3.3"),
                "ResNet-18, to the best rival as it comes": (own / rival, ">= 3.0"),
                "ResNet-18, to the best rival with every flag": (own / flagged, ">= 1.25"),
                "DenseNet-121, to the plain loop": (
                    dense[OUR_NAME] / dense["PyTorch loop"],
                    ">= 3.3",
                ),
                "DenseNet-121, to the best as it comes": (dense[OUR_NAME] / dense_rival, ">= 3.0"),
                "peak memory, to the plain loop": (
                    memory[OUR_NAME] / memory["PyTorch loop"],
                    "<= 1",
                ),
            },
            notes=[
                f"{options.images} training images (DenseNet-121: {options.short}); "
                f"{options.repeats} run(s) of {options.epochs} epochs, the first left out.",
                "Peak memory: anonymous pages of all processes of a program, looked at every 2 s.",
                "A rival is timed from the end of the first step of an epoch, when its workers "
                "have read a few batches ahead: the shorter the epoch, the more that flatters it.",
            ],
            facts={"images_per_second": speeds, "densenet121": dense, "peak_mib": memory},
        )
    )


if __name__ == "__main__":
    main()
