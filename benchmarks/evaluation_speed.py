"""(e) Evaluation of 10,000 images: `medimg evaluate` against a script of scikit-learn calls.

medimg gives every figure at three operating points with intervals from 2,000 resamples,
calibration, controls, mistakes and figures; the script gives AUROC, average precision, a threshold
and three figures; in its second form two intervals from as many resamples, in its third intervals
of all those figures. The run has one stage, so that medimg scores one network, as the script does.

    python benchmarks/evaluation_speed.py
"""

import argparse
import json
from pathlib import Path
from typing import Any

from films import Counts, make_films
from harness import (
    OURS,
    RIVALS,
    Answer,
    Outcome,
    Program,
    median,
    run_command,
    run_job,
    spread,
    take_turns,
    workplace,
    write_answer,
)

SIDE = 64


def train(folder: Path) -> Path:
    """Train a network for one epoch and return its run folder."""
    settings = {
        "data_dir": folder / "films",
        "output_dir": folder / "outputs",
        "pretrained": False,
        "image_size": SIDE,
        "head_epochs": 0,
        "finetune_epochs": 1,
        "val_strategy": "folder",
    }
    (folder / "job.json").write_text(json.dumps(settings, default=str))
    run_command([OURS / "medimg", "train", "--config", folder / "job.json"], folder=folder)
    return next((folder / "outputs" / "runs").glob("medimg_*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    with workplace() as folder:
        make_films(folder / "films", Counts(64, 200, options.images), size=SIDE, real=None)
        run_dir = train(folder)

        def ours(_job: dict[str, Any]) -> Outcome:
            words = ["evaluate", run_dir, "--reason", "benchmark"]
            return run_command([OURS / "medimg", *words], folder=folder)

        def script(name: str, *, resamples: int, all_figures: bool) -> Program:
            def run(job: dict[str, Any]) -> Outcome:
                more = {"resamples": resamples, "all_figures": all_figures}
                return run_job(RIVALS / "python", "evaluate_loop.py", job | more)

            return Program(f"scikit-learn, {name}", run)

        number = options.resamples
        programs = (
            Program("medimg", ours),
            script("no intervals", resamples=0, all_figures=False),
            script("two intervals", resamples=number, all_figures=False),
            script("all intervals", resamples=number, all_figures=True),
        )
        job = {
            "data": folder / "films",
            "image_size": SIDE,
            "checkpoint": run_dir / "best.pt",
        }
        found = take_turns(programs, job, repeats=options.repeats)
    seconds = {who: [o.seconds for o in outcomes] for who, outcomes in found.items()}
    own, bare, two, full = (median(values) for values in seconds.values())
    write_answer(
        Answer(
            name="evaluation_speed",
            title=f"Evaluation of {options.images:,} images of {SIDE} px, ResNet-18",
            header=["program", "seconds", "times medimg's", "peak MiB"],
            rows=[
                [
                    who,
                    spread(values),
                    f"{median(values) / own:.2f}",
                    f"{median([o.peak_mib for o in found[who]]):,.0f}",
                ]
                for who, values in seconds.items()
            ],
            ratios={
                "script with all intervals, to medimg": (full / own, ">= 2"),
                "script with two intervals, to medimg": (two / own, "(none set)"),
                "script without intervals, to medimg": (bare / own, "(none set)"),
            },
            notes=[f"{options.repeats} run(s) of each in turn."],
            facts={"seconds": seconds},
        )
    )


if __name__ == "__main__":
    main()
