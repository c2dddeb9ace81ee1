"""Evaluation as a script does it: ImageFolder, a forward pass, scikit-learn, three figures.

With `resamples` above 0 also percentile intervals of AUROC and average precision, from a loop of
scikit-learn calls.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import timm
import torch
from common import MEAN, STD, WORKERS, Diary, Job
from finish import judge_test
from plain_loop import score
from sklearn.metrics import average_precision_score, roc_auc_score
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder


def load(folder: Path, size: int) -> DataLoader:
    steps = [
        transforms.Resize((size, size)),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    films = ImageFolder(str(folder), transforms.Compose(steps))
    return DataLoader(films, batch_size=64, num_workers=WORKERS)


def main() -> None:
    given = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text()))
    job, diary = Job(data=given.data, result=given.result), Diary()
    net = timm.create_model("resnet18", num_classes=2)
    net.load_state_dict(torch.load(given.checkpoint, weights_only=True)["model"])
    val, test = (
        score(net, load(Path(given.data) / split, given.image_size), job=job)
        for split in ("val", "test")
    )
    judge_test(diary, val=val, test=test, folder=Path(given.result).parent)
    truth, scores = np.asarray(test[0]), np.asarray(test[1])
    rng = np.random.default_rng(0)
    found = []
    for _ in range(given.resamples):
        rows = rng.integers(len(truth), size=len(truth))
        found.append(
            (
                roc_auc_score(truth[rows], scores[rows]),
                average_precision_score(truth[rows], scores[rows]),
            )
        )
    if found:
        diary.facts["intervals"] = np.percentile(np.array(found), [2.5, 97.5], axis=0).tolist()
    diary.write(job)


if __name__ == "__main__":
    main()
