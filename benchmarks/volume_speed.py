"""(i) Wall time of a whole training on volumes, and volumes per second, against MONAI's routes.

The job: read phantom CTs of 32 slices of 112 px from NIfTI files, 1 epoch of the head and 2 of
everything in batches of 4, from random weights, VAL after each epoch. medimg and MILModel compute
ResNet-18 on every slice and attention over the slices, DenseNet121 has 3D convolutions.

    python benchmarks/volume_speed.py
"""

import argparse

from contestants import OUR_NAME, medimg, monai_volumes
from films import Counts, make_volumes
from harness import Answer, Outcome, median, spread, take_turns, workplace, write_answer

PROGRAMS = (
    medimg(),
    monai_volumes("DenseNet121"),
    monai_volumes("MILModel"),
    monai_volumes("MILModel", fast=True),
)
SHAPE = {"slices": 32, "image_size": 112}
JOB = {"arch": "resnet18", "batch_size": 4, "head_epochs": 1, "finetune_epochs": 2, **SHAPE}
NUM_VOLUMES, MINUTES = 200, 6  # the target: so many volumes in so many minutes, on 2 cores


def tabulate(
    found: dict[str, list[Outcome]], *, num_volumes: int
) -> tuple[list[list[str]], dict[str, tuple[float, str]]]:
    """Return the rows of the table, and the ratios with what is wanted."""
    seconds = {name: [o.seconds for o in outcomes] for name, outcomes in found.items()}
    own = median(seconds[OUR_NAME])
    rows = []
    ratios = {
        "minutes": (own / 60, f"<= {MINUTES}" if num_volumes == NUM_VOLUMES else "(none set)")
    }
    for name, outcomes in found.items():
        times = median(seconds[name]) / own
        speeds = [o.facts["epochs"][-1]["images_per_second"] for o in outcomes]
        peak = median([o.peak_mib for o in outcomes])
        rows.append(
            [name, spread(seconds[name]), f"{times:.2f}", spread(speeds, 2), f"{peak:,.0f}"]
        )
        if name != OUR_NAME:
            ratios[f"{name} to medimg"] = (times, "(none set)" if "flags" in name else "> 1")
    return rows, ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=NUM_VOLUMES, help="to train on")
    parser.add_argument("--val", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    with workplace() as work:
        counts = Counts(options.volumes, options.val, 8)
        folder = make_volumes(work / "volumes", counts, **SHAPE)
        found = take_turns(PROGRAMS, JOB | {"data": folder}, repeats=options.repeats)
    rows, ratios = tabulate(found, num_volumes=options.volumes)
    write_answer(
        Answer(
            name="volume_speed",
            title=f"A whole training on {options.volumes} CTs of 32 slices, 112 px",
            header=["program", "seconds", "times medimg's", "volumes/s", "peak MiB"],
            rows=rows,
            ratios=ratios,
            notes=[
                f"{options.volumes} training and {options.val} validation volumes in batches of 4, "
                "1 epoch of the head and 2 of everything, from random weights; "
                f"{options.repeats} run(s) of each program, in turn.",
                "medimg and MILModel: ResNet-18 on every slice, attention over slices; "
                "DenseNet121: 3D convolutions; flags: bf16 and channels last. Volumes/s are of the "
                "last epoch, without VAL.",
                "Three epochs from random weights say nothing about accuracy.",
            ],
            facts={
                name: [{"seconds": o.seconds, **o.facts} for o in outcomes]
                for name, outcomes in found.items()
            },
        )
    )


if __name__ == "__main__":
    main()
