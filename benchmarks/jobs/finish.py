"""The end of a rival's job: a threshold from VAL, figures and curves of TEST, Grad-CAM panels.

As a script of a few lines would do it: scikit-learn, matplotlib and pytorch-grad-cam. It gives
no intervals, no calibration, no controls and no report, which medimg does in the same time.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from common import MEAN, STD, Diary, Job, target_layer
from sklearn import metrics
from torch import nn

mpl.use("Agg")
from matplotlib import pyplot as plt

Scored = tuple[list[int], list[float]]


def judge_test(diary: Diary, *, val: Scored, test: Scored, folder: Path) -> None:
    precision, recall, cuts = metrics.precision_recall_curve(*val)
    f1_scores = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    threshold = cuts[np.argmax(f1_scores[:-1])]
    truth, scores = np.asarray(test[0]), np.asarray(test[1])
    diary.note_test(truth, scores)
    called = scores >= threshold
    diary.facts["report"] = metrics.classification_report(truth, called, output_dict=True)
    displays = (
        metrics.RocCurveDisplay.from_predictions(truth, scores),
        metrics.PrecisionRecallDisplay.from_predictions(truth, scores),
        metrics.ConfusionMatrixDisplay.from_predictions(truth, called),
    )
    for number, display in enumerate(displays):
        display.figure_.savefig(folder / f"figure{number}.png")
        plt.close(display.figure_)


def draw_panels(net: nn.Module, films: Any, *, scored: Scored, job: Job) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    truth, scores = np.asarray(scored[0]), np.asarray(scored[1])
    worst = np.argsort(-np.abs(truth - scores))[: job.panels]
    net.eval()
    mean, std = np.array(MEAN), np.array(STD)
    with GradCAM(model=net, target_layers=[target_layer(net)]) as cam:
        for number in worst:
            pixels = films[int(number)][0]
            heat = cam(pixels[None], targets=[ClassifierOutputTarget(1)])[0]
            shown = np.asarray(pixels.permute(1, 2, 0)) * std + mean
            figure, axes = plt.subplots(1, 3, figsize=(9, 3))
            pictures = (shown, heat, show_cam_on_image(np.float32(shown.clip(0, 1)), heat, True))
            for place, picture in zip(axes, pictures, strict=True):
                place.imshow(np.clip(picture, 0, None), cmap="gray")
                place.axis("off")
            figure.suptitle(f"score {scores[number]:.3f}, class {truth[number]}")
            figure.savefig(Path(job.result).parent / f"panel{number}.png")
            plt.close(figure)
    torch.set_grad_enabled(True)
