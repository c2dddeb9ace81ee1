"""Turn a source of pixels into a source of features: each image passes the backbone once.

For the stage that trains only the head: the backbone is frozen, so that the features of an
image without augmentation never change.
"""

import numpy as np
import torch
from torch import Tensor, nn

from medimg_baseline_cls.evaluation.inference import BatchLike, ToUnitRange
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.training.sources import BatchSource, FeatureSource
from medimg_baseline_cls.training.steps import TrainingContext
from medimg_baseline_cls.training.validation import stoppable
from medimg_baseline_cls.utils.device import autocast
from medimg_baseline_cls.utils.distributed import gather_items, wait_for_all


class HeadOnly(nn.Module):
    """The head of a classifier as a separate network: features in, logits out."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of features (B, D)."""
        return self.model.head(features)


def cache_features(
    context: TrainingContext, model: Classifier, *, source: BatchSource, to_unit_range: ToUnitRange
) -> FeatureSource:
    """Compute the features of every image of a source, shared among the processes.

    Args:
        context: where.
        model: in eval mode; it is not changed.
        source: the images.
        to_unit_range: moves stored pixels to the device.

    Returns:
        A source of the same batches with all features in every process, so that each image
        has the same features everywhere.
    """
    parts: list[BatchLike] = []
    total = -(-source.num_images // (source.batch_size * context.shard[1]))
    with context.log.progress("features", total) as bar:
        for pixels, labels, rows in stoppable(context, source.ordered(), where="features"):
            unit = to_unit_range(pixels, context.device)
            parts.append((extract_features(context, model, pixels=unit).cpu(), labels, rows))
            bar.advance()
    wait_for_all(context.accelerator)  # without a time limit: shares are uneven (decision 0016)
    gathered = gather_items(parts, context.accelerator)
    return FeatureSource(
        source,
        torch.cat([features for features, _, _ in gathered]).to(context.device),
        rows=np.concatenate([rows for _, _, rows in gathered]),
        labels=np.concatenate([labels.numpy() for _, labels, _ in gathered]),
        shard=context.shard,
    )


def extract_features(context: TrainingContext, model: Classifier, *, pixels: Tensor) -> Tensor:
    """Return the features of a batch in [0, 1], shape (B, D), float32, without a gradient."""
    channels_last = pixels.contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), autocast(context.device, context.precision):
        return model.features(channels_last)


def pass_features(features: Tensor, device: torch.device) -> Tensor:
    """Move features to the device: the counterpart of `to_unit_range` for pixels."""
    return features.to(device)
