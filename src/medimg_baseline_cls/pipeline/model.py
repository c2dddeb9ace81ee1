"""A run's checkpoint as a network on the run's device."""

from collections.abc import Mapping
from typing import Any

from medimg_baseline_cls.models.build import rebuild_model
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.pipeline.session import Session
from medimg_baseline_cls.train.checkpoint import read_checkpoint


def load_model(session: Session, name: str) -> tuple[Classifier, Mapping[str, Any]]:
    """Return the network of a checkpoint of the run, in eval mode, and the checkpoint itself.

    Args:
        session: the open run.
        name: "best.pt" or "best_head.pt".

    Raises:
        RunError: the run has no such checkpoint.
    """
    checkpoint = read_checkpoint(session.run_dir / name)
    model = rebuild_model(checkpoint["description"], checkpoint["model"])
    return model.to(session.device).eval(), checkpoint
