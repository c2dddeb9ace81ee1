"""(g) Cold starts: `medimg --help`, and `medimg predict` of one image against what it must import.

python benchmarks/cold_start.py
"""

import argparse
import json
from pathlib import Path

from films import Counts, make_films
from harness import OURS, Answer, median, run_command, spread, workplace, write_answer

# What a program needs that reads one film, builds the network and runs it once.
LEAST = """
import numpy, PIL.Image, timm, torch
net = timm.create_model("resnet18", num_classes=2)
net.load_state_dict(torch.load(r"{checkpoint}", weights_only=True)["model"])
with torch.inference_mode():
    net.eval()(torch.rand(1, 3, 224, 224))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with workplace() as folder:
        make_films(folder / "films", Counts(24, 8, 8), size=64, real=None)
        settings = {
            "data_dir": folder / "films",
            "output_dir": folder / "outputs",
            "pretrained": False,
            "image_size": 64,
            "head_epochs": 1,
            "finetune_epochs": 0,
            "val_strategy": "folder",
            "num_resamples": 50,
        }
        (folder / "job.json").write_text(json.dumps(settings, default=str))
        for words in (["train", "--config", folder / "job.json"], ["evaluate", "latest"]):
            run_command([OURS / "medimg", *words], folder=folder)
        run_dir = next((folder / "outputs" / "runs").glob("medimg_*"))
        film = next((folder / "films" / "test").rglob("*.jpeg"))
        script = folder / "least.py"
        script.write_text(LEAST.format(checkpoint=run_dir / "best.pt"))
        commands: dict[str, list[str | Path]] = {
            "medimg --help": [OURS / "medimg", "--help"],
            "medimg predict RUN one.jpeg": [OURS / "medimg", "predict", run_dir, film],
            "timm, torch, Pillow and one pass": [OURS / "python", script],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.repeats):
            for name, command in commands.items():
                seconds[name].append(run_command(command, folder=folder).seconds)
    names = list(commands)
    write_answer(
        Answer(
            name="cold_start",
            title="Cold starts, files already in the system's cache",
            header=["command", "seconds"],
            rows=[[name, spread(values, 2)] for name, values in seconds.items()],
            ratios={
                "medimg --help, seconds": (median(seconds[names[0]]), "<= 0.3"),
                "predict, to what it must import": (
                    median(seconds[names[1]]) / median(seconds[names[2]]),
                    "<= 1.25",
                ),
            },
            notes=[f"{options.repeats} starts of each in turn."],
            facts={"seconds": seconds},
        )
    )


if __name__ == "__main__":
    main()
