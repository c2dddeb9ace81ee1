"""Features of a frozen backbone, one row per image: what the doubtful labels are judged by."""

import numpy as np
import torch
from numpy.typing import NDArray

from medimg_baseline_cls.audit.images import AuditImages
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.batches.loaders import ImageSet, Loader, to_unit_range
from medimg_baseline_cls.evaluation.inference import INFERENCE_BATCH_SIZE
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.utils.device import (
    autocast,
    choose_device,
    choose_precision,
    tune_allocator,
)
from medimg_baseline_cls.utils.log import RunLog


def extract_frozen_features(
    config: Config, images: AuditImages, *, model: Classifier, log: RunLog
) -> NDArray[np.float32]:
    """Return the features of every image by the chosen network, which is not trained.

    Args:
        config: device and seed.
        images: the data set.
        model: the network of the settings.
        log: for the progress bar, and a hint where the weights are random.

    Returns:
        Shape (N, D), in the order of the records.
    """
    tune_allocator()
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device, is_3d=model.facts.is_3d)
    if model.weights_report.kind == "random":
        log.hint("doubtful labels by random features mean little", fix="use pretrained weights")
    model = model.to(device).eval()
    count = len(images.rows)
    rows = np.arange(count, dtype=np.int64)
    loader = Loader(
        ImageSet(images.pixels, images.rows, rows, np.zeros(count, dtype=np.int64)),
        batch_size=INFERENCE_BATCH_SIZE,
        seed=config.seed,
    )
    parts: list[NDArray[np.float32]] = []
    with log.progress("features", count) as bar, torch.inference_mode():
        for pixels, _, _ in loader.ordered():
            unit = to_unit_range(pixels, device).contiguous(memory_format=torch.channels_last)
            with autocast(device, precision):
                features = model.features(unit)
            parts.append(features.float().cpu().numpy())
            bar.advance(len(pixels))
    return np.concatenate(parts)
