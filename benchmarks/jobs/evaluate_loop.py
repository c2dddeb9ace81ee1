"""Evaluation as a script does it: ImageFolder, a forward pass, scikit-learn, three figures.

With `resamples` above 0 also percentile intervals from a loop of scikit-learn calls: of AUROC and
average precision, or with `all_figures` of what medimg gives for VAL and TEST, except calibration.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import timm
import torch
from common import MEAN, STD, WORKERS, Diary, Job
from finish import judge_test
from plain_loop import score
from sklearn import metrics
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


def draw(part: tuple[Any, Any], number: int) -> Iterator[tuple[Any, Any]]:
    truth, scores = np.asarray(part[0]), np.asarray(part[1])
    rng = np.random.default_rng(0)
    for _ in range(number):
        rows = rng.integers(len(truth), size=len(truth))
        yield truth[rows], scores[rows]


def find_intervals(part: tuple[Any, Any], *, number: int) -> Any:
    found = [
        (metrics.roc_auc_score(*drawn), metrics.average_precision_score(*drawn))
        for drawn in draw(part, number)
    ]
    return np.percentile(np.array(found), [2.5, 97.5], axis=0).tolist()


def choose_cuts(truth: Any, scores: Any) -> list[float]:
    """Return 0.5, the threshold of the best F1 and that of a sensitivity of 0.9."""
    precision, recall, cuts = metrics.precision_recall_curve(truth, scores)
    f1_scores = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return [0.5, cuts[np.argmax(f1_scores[:-1])], cuts[recall[:-1] >= 0.9][-1]]


def find_figures(part: tuple[Any, Any], *, cuts: list[float], number: int) -> Any:
    """Return intervals of losses and of what a confusion matrix gives at each threshold."""
    found = []
    for truth, scores in draw(part, number):
        row = [metrics.brier_score_loss(truth, scores), metrics.log_loss(truth, scores)]
        for cut in cuts:
            (tn, fp), (fn, tp) = metrics.confusion_matrix(truth, scores >= cut, labels=[0, 1])
            row += [tp / (tp + fn), tn / (tn + fp), tp / max(tp + fp, 1), tn / max(tn + fn, 1)]
        found.append(row)
    return np.percentile(np.array(found), [2.5, 97.5], axis=0).tolist()


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
    if given.resamples:
        diary.facts["intervals"] = find_intervals(test, number=given.resamples)
    if given.all_figures:
        cuts = choose_cuts(*val)
        diary.facts["figures"] = [
            find_figures(part, cuts=cuts, number=given.resamples) for part in (val, test)
        ]
    diary.write(job)


if __name__ == "__main__":
    main()
