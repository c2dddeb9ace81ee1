"""(b) Wall time from the command to the end of a fixed job, on small files and on originals.

The job: find the images, 3 epochs of the head, 3 of everything, score VAL and TEST, draw Grad-CAM
panels: the rivals 16, medimg one of each mistake that it lists. medimg also gives intervals,
calibration, controls and a report in that time.

    python benchmarks/whole_job.py --data chest_xray --originals chest_xray_fullsize
"""

import argparse
from pathlib import Path
from typing import Any

from contestants import OUR_NAME, fastai, medimg, monai, plain
from films import Counts, make_films
from harness import Answer, Outcome, median, spread, take_turns, workplace, write_answer

PROGRAMS = (medimg(), plain(), monai(), fastai())
EPOCHS = {"head_epochs": 3, "finetune_epochs": 3}


def measure(folder: Path, *, panels: int, repeats: int) -> dict[str, list[Outcome]]:
    job: dict[str, Any] = {"data": folder, "arch": "resnet18", "panels": panels, **EPOCHS}
    return take_turns(PROGRAMS, job, repeats=repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="real films; none: phantoms")
    parser.add_argument("--originals", type=Path, help="real films of full size; none: phantoms")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--panels", type=int, default=16)
    options = parser.parse_args()
    rows: list[list[str]] = []
    ratios: dict[str, tuple[float, str]] = {}
    facts: dict[str, Any] = {}
    sources = {"224 px": (224, options.data), "originals": (None, options.originals)}
    for name, (size, real) in sources.items():
        with workplace() as folder:
            make_films(folder, Counts(options.images, 32, 48), size=size, real=real)
            found = measure(folder, panels=options.panels, repeats=options.repeats)
        seconds = {who: [o.seconds for o in outcomes] for who, outcomes in found.items()}
        own = median(seconds[OUR_NAME])
        rows += [
            [f"{who}, {name}", spread(values), f"{median(values) / own:.2f}"]
            for who, values in seconds.items()
        ]
        rivals = [median(values) for who, values in seconds.items() if who != OUR_NAME]
        wanted = ">= 3" if name == "originals" else "(none set)"
        ratios[f"best rival to medimg, {name}"] = (min(rivals) / own, wanted)
        facts[name] = {
            who: {"seconds": seconds[who], "last": outcomes[-1].facts}
            for who, outcomes in found.items()
        }
    write_answer(
        Answer(
            name="whole_job",
            title="A whole job, from the command to its end, ResNet-18",
            header=["program", "seconds", "times medimg's"],
            rows=rows,
            ratios=ratios,
            notes=[
                f"{options.images} training, 32 validation and 48 test images; "
                f"{options.repeats} run(s) of each program, in turn.",
                "medimg also computes intervals, calibration and controls and writes a report.",
            ],
            facts=facts,
        )
    )


if __name__ == "__main__":
    main()
