"""(b) Wall time from the command to the end of a fixed job, on small files and on originals.

The job: find the images, 3 epochs of the head, 3 of everything, score VAL and TEST, draw Grad-CAM
panels: the rivals 16, medimg one of each mistake that it lists. medimg also gives intervals,
calibration, controls and a report in that time. All start from one file of weights: ResNet-18,
trained before on other phantoms.

(c) From the same runs: seconds until the best validation AP that every program reaches.

    python benchmarks/whole_job.py --data chest_xray --originals chest_xray_fullsize
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from contestants import OUR_NAME, fastai, medimg, monai, plain
from films import Counts, make_films
from harness import (
    OURS,
    Answer,
    Outcome,
    median,
    run_command,
    spread,
    take_turns,
    workplace,
    write_answer,
)

PROGRAMS = (medimg(), plain(), monai(), fastai())
EPOCHS = {"head_epochs": 3, "finetune_epochs": 3}


PRETRAINING = Counts(200, 32, 8)


def pretrain(folder: Path) -> Path:
    """Train ResNet-18 on phantoms that no job sees, and return a file of its weights."""
    films = make_films(folder / "films", PRETRAINING, size=224, real=None, first=1_000_000)
    settings = {
        "data_dir": films,
        "output_dir": folder / "outputs",
        "arch": "resnet18",
        "pretrained": False,
        "head_epochs": 0,
        "finetune_epochs": 4,
        "val_strategy": "folder",
    }
    (folder / "job.json").write_text(json.dumps(settings, default=str))
    run_command([OURS / "medimg", "train", "--config", folder / "job.json"], folder=folder)
    checkpoint = next((folder / "outputs" / "runs").glob("medimg_*")) / "best.pt"
    torch.save(torch.load(checkpoint, weights_only=True)["model"], folder / "weights.pth")
    return folder / "weights.pth"


def measure(folder: Path, *, weights: Path, panels: int, repeats: int) -> dict[str, list[Outcome]]:
    job: dict[str, Any] = {"data": folder, "arch": "resnet18", "panels": panels, **EPOCHS}
    return take_turns(PROGRAMS, job | {"weights": weights}, repeats=repeats)


def find_goal(found: dict[str, list[Outcome]]) -> float:
    """Return the highest validation AP that every run of every program reaches."""
    runs = [outcome for outcomes in found.values() for outcome in outcomes]
    return min(max(epoch["val_ap"] for epoch in run.facts["epochs"]) for run in runs)


def seconds_to(goal: float, outcome: Outcome) -> float:
    epochs = outcome.facts["epochs"]
    return min(epoch["elapsed"] for epoch in epochs if epoch["val_ap"] >= goal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="real films; none: phantoms")
    parser.add_argument("--originals", type=Path, help="real films of full size; none: phantoms")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--more", type=int, default=224, help="images of the job on originals")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--panels", type=int, default=16)
    options = parser.parse_args()
    rows: list[list[str]] = []
    ratios: dict[str, tuple[float, str]] = {}
    facts: dict[str, Any] = {}
    notes: list[str] = []
    sources = {
        "224 px": (224, options.data, options.images),
        "originals": (None, options.originals, options.more),
    }
    with workplace() as work:
        weights = pretrain(work / "pretraining")
        for name, (size, real, number) in sources.items():
            films = make_films(work / name, Counts(number, 48, 48), size=size, real=real)
            found = measure(films, weights=weights, panels=options.panels, repeats=options.repeats)
            goal = find_goal(found)
            seconds = {who: [o.seconds for o in outcomes] for who, outcomes in found.items()}
            early = {who: [seconds_to(goal, o) for o in runs] for who, runs in found.items()}
            for who, values in seconds.items():
                times = median(values) / median(seconds[OUR_NAME])
                rows.append([f"{who}, {name}", spread(values), f"{times:.2f}", spread(early[who])])
            wanted = ">= 3" if name == "originals" else "(none set)"
            ratios[f"best rival to medimg, {name}"] = (best_rival(seconds), wanted)
            ratios[f"the same, to a VAL AP of {goal:.3f}"] = (best_rival(early), "(none set)")
            notes.append(
                f"AP of column 4, {name}: {goal:.3f}, the best that every program reaches."
            )
            facts[name] = {
                who: {"seconds": seconds[who], "to_goal": early[who], "last": runs[-1].facts}
                for who, runs in found.items()
            }
    write_answer(
        Answer(
            name="whole_job",
            title="A whole job, from the command to its end, ResNet-18",
            header=["program", "seconds", "times medimg's", "seconds to the AP below"],
            rows=rows,
            ratios=ratios,
            notes=[
                f"{options.images} training images (originals: {options.more}), 48 validation and "
                "48 test images; "
                f"{options.repeats} run(s) of each program, in turn.",
                "medimg also computes intervals, calibration and controls and writes a report.",
                *notes,
            ],
            facts=facts,
        )
    )


def best_rival(seconds: dict[str, list[float]]) -> float:
    """Return how many times medimg's time the fastest of the others takes."""
    rivals = [median(values) for who, values in seconds.items() if who != OUR_NAME]
    return min(rivals) / median(seconds[OUR_NAME])


if __name__ == "__main__":
    main()
