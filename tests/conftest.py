"""Small predictions, and an invented TEST that is not like VAL."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from medimg_baseline_cls.plots import style
from medimg_baseline_cls.schema import Predictions

BINARY = ("NORMAL", "PNEUMONIA")
MANY = tuple(f"finding {k}" for k in range(14))
MakePredictions = Callable[..., Predictions]


def predictions_of(
    split: str,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    *,
    class_names: tuple[str, ...] = BINARY,
) -> Predictions:
    ids = tuple(f"{split}/image, {i:03d}.png" for i in range(len(labels)))
    return Predictions(
        split=split,
        class_names=class_names,
        image_ids=ids,
        paths=ids,
        groups=tuple(f"{split}-person{i // 2}" for i in range(len(labels))),
        labels=np.asarray(labels, dtype=np.int64),
        probabilities=probabilities,
    )


def draw_predictions(
    split: str, *, class_names: tuple[str, ...] = BINARY, num_images: int = 80, seed: int = 0
) -> Predictions:
    """Draw a fair classifier's softmax; a tenth of the images share their logits."""
    generator = np.random.default_rng([seed, len(split), split == "val"])
    num_classes = len(class_names)
    labels = generator.integers(0, num_classes, size=num_images)
    labels[:num_classes] = np.arange(num_classes)
    logits = generator.normal(size=(num_images, num_classes)) + 1.5 * np.eye(num_classes)[labels]
    logits[-num_images // 10 :] = logits[0]
    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return predictions_of(split, labels, probabilities, class_names=class_names)


def binary_of(split: str, truth: list[bool], scores: list[float]) -> Predictions:
    """Return predictions of the two classes with these scores for the positive one."""
    positive = np.array(scores, dtype=np.float64)
    both = np.stack([1 - positive, positive], axis=1)
    return predictions_of(split, np.array(truth, dtype=np.int64), both)


def draw_findings(
    split: str,
    *,
    class_names: tuple[str, ...] = ("Effusion", "Mass", "Nodule"),
    num_images: int = 80,
    unknown: float = 0.2,
    seed: int = 0,
) -> Predictions:
    """Draw a fair classifier's sigmoid for several findings, a share of them unknown."""
    generator = np.random.default_rng([seed, len(split), split == "val"])
    truth = generator.random((num_images, len(class_names))) < 0.4
    logits = generator.normal(size=truth.shape) + 2.0 * truth - 1.0
    logits[-num_images // 10 :] = logits[0]
    labels = np.where(generator.random(truth.shape) < unknown, -1, truth)
    found = predictions_of(split, labels, 1 / (1 + np.exp(-logits)), class_names=class_names)
    return replace(found, task="multilabel")


def with_column(predictions: Predictions, k: int, value: int) -> Predictions:
    """Return predictions of findings, one of which has the same label wherever it is known."""
    labels = predictions.labels.copy()
    labels[:, k] = np.where(labels[:, k] < 0, -1, value)
    return replace(predictions, labels=labels)


def draw_odd_findings() -> tuple[Predictions, Predictions]:
    """Return VAL without a positive of finding 1, and TEST in which finding 2 is never known."""
    val, other = (draw_findings(split, class_names=MANY) for split in ("val", "test"))
    return with_column(val, 1, 0), with_column(other, 2, -1)


def known_of(predictions: Predictions, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels and scores of one finding on the images where it is known."""
    known = predictions.labels[:, k] >= 0
    return predictions.labels[known, k], predictions.probabilities[known, k]


def flip_unknown(predictions: Predictions) -> Predictions:
    """Return predictions of findings that say the contrary wherever a finding is unknown."""
    scores = predictions.probabilities
    return replace(predictions, probabilities=np.where(predictions.labels < 0, 1 - scores, scores))


@pytest.fixture(scope="session", autouse=True)
def print_dpi() -> Iterator[int]:
    """Draw all figures with few pixels, which takes less time; return the DPI of real ones."""
    with pytest.MonkeyPatch.context() as patch:
        real = style.DPI
        patch.setattr(style, "DPI", 80)
        yield real


@pytest.fixture
def findings() -> MakePredictions:
    return draw_findings


@pytest.fixture
def draw() -> MakePredictions:
    return draw_predictions


@pytest.fixture
def binary() -> MakePredictions:
    return binary_of


@pytest.fixture
def val() -> Predictions:
    return draw_predictions("val")


@pytest.fixture
def held_out() -> Predictions:
    return draw_predictions("test", seed=1)
