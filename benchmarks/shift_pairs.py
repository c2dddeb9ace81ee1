"""Split one data set so that training and test images differ in acquisition, by whole patients.

Each pair has a test set from far away ("shifted") and one of the same size from the patients of the
training side ("near"), so that one network is scored on both. The patients of a class are
clustered by what an acquisition leaves in an image and a diagnosis does not need: brightness, the
border, the texture that an early layer of a pretrained network sees. How far apart the two sides
are is measured by a classifier that separates them (AUROC, with random halves as control), class by
class.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from medimg_baseline_cls.audit.pixel_measures import STATISTICS, Measures, frame_pixels, shrink
from medimg_baseline_cls.audit.shortcut_classifiers import assign_folds, cross_validate, score_auroc
from medimg_baseline_cls.models.build import build_model

PATIENT = re.compile(r"(person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+)")
SHIFTED_SHARE, GAP_SHARE = 0.18, 0.18  # of the patients of a class
LEAST_CLUSTER = 0.05
NEAR_SHARE = 0.15
_THUMB_SIDE, _NUM_CLUSTERS, _NUM_AXES = 12, 6, 10
_BRIGHTNESS = ("mean", "standard deviation", "share of black", "share of white")
_FRAME = ("border mean", "border deviation")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a folder: paths below it, class, patient, and what an acquisition leaves."""

    paths: tuple[str, ...]
    positive: Mask
    patients: NDArray[np.str_]
    views: dict[str, NDArray[np.float64]]

    @property
    def everything(self) -> NDArray[np.float64]:
        """All views next to each other, as the domain classifier sees them."""
        return np.concatenate(list(self.views.values()), axis=1)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Which images are for training, near, shifted and other tests; and how far apart they are."""

    name: str
    what: str
    train: Mask
    near: Mask
    shifted: Mask
    domain_auroc: dict[str, float]
    control_auroc: dict[str, float]
    others: dict[str, Mask] = field(default_factory=dict[str, Mask])


def name_patients(paths: Sequence[str]) -> NDArray[np.str_]:
    """Return the patient of each file, as the data set names them."""
    found = [PATIENT.search(path) for path in paths]
    return np.array([path if m is None else m[1] for path, m in zip(paths, found, strict=True)])


def view_acquisition(
    measures: Measures, pixels: NDArray[np.uint8], *, weights: Path
) -> dict[str, NDArray[np.float64]]:
    """Return the views of images by which their acquisitions are clustered, (N, F) each."""
    statistics = {name: measures.statistics[:, i] for i, name in enumerate(STATISTICS)}
    corners = [name for name in STATISTICS if name.endswith("corner")]
    percentiles = [name for name in STATISTICS if name.startswith("percentile")]
    thumbs = shrink(measures.thumbs, _THUMB_SIDE).astype(np.uint8)
    frame = PCA(_NUM_AXES, random_state=0).fit_transform(frame_pixels(thumbs))
    early = _see_early(pixels, weights)
    return {
        "brightness": _columns(statistics, (*_BRIGHTNESS, *percentiles)),
        "border": np.concatenate([_columns(statistics, (*_FRAME, *corners)), frame], axis=1),
        "texture": np.concatenate([_columns(statistics, ("sharpness",)), early], axis=1),
    }


def make_pairs(images: Images) -> list[Pair]:
    """Return the pairs and, last, the controls: random patients and blocks of file names."""
    both, every = (True, False), tuple(images.views)
    pairs = [
        _pair(images, "brightness", "brightness of both classes", views=("brightness",), of=both),
        _pair(images, "border", "border and corners of both classes", views=("border",), of=both),
        _pair(images, "texture", "texture of both classes", views=("texture",), of=both),
        _pair(images, "normal", "everything, NORMAL alone", views=every, of=(False,)),
        _pair(images, "pneumonia", "everything, PNEUMONIA alone", views=every, of=(True,)),
    ]
    second = np.array(["NORMAL2" in patient for patient in images.patients])
    found = [re.search(r"person(\d+)", patient) for patient in images.patients]
    numbers = np.array([-1 if match is None else int(match[1]) for match in found])
    late = images.positive & (numbers >= np.quantile(numbers[images.positive], 0.8))
    blocks = late | (second & ~images.positive)
    drawn = _draw(images, SHIFTED_SHARE, seed=1)
    return [
        *pairs,
        finish_pair(images, "names", "control: blocks of file names", blocks),
        finish_pair(images, "random", "control: random patients", drawn),
    ]


def _pair(
    images: Images, name: str, what: str, *, views: Sequence[str], of: Sequence[bool]
) -> Pair:
    features = np.concatenate([images.views[view] for view in views], axis=1)
    shifted, left_out = np.zeros((2, len(images.paths)), dtype=np.bool_)
    for positive in (True, False):
        within = images.positive == positive
        if positive in of:
            shifted[within], left_out[within] = _farthest(features[within], images.patients[within])
        else:  # this class comes from the same place in both tests
            shifted |= within & _draw(images, SHIFTED_SHARE, seed=2)
    return finish_pair(images, name, what, shifted, left_out=left_out)


def _farthest(features: NDArray[np.float64], patients: NDArray[np.str_]) -> tuple[Mask, Mask]:
    """Return the images of the patients farthest away, and those in between, who are left out.

    Patients are clustered; the axis leads from all others to the cluster farthest from them.
    """
    names, inverse = np.unique(patients, return_inverse=True)
    sums = np.zeros((len(names), features.shape[1]))
    np.add.at(sums, inverse, features)
    means = sums / np.bincount(inverse)[:, None]  # (patients, features)
    means = (means - means.mean(axis=0)) / np.maximum(means.std(axis=0), 1e-9)
    axes = PCA(min(_NUM_AXES, means.shape[1]), random_state=0).fit_transform(means)
    clusters = KMeans(
        _NUM_CLUSTERS,
        n_init=10,  # pyright: ignore[reportArgumentType]
        random_state=0,
    ).fit_predict(axes)
    ways = np.array(
        [
            axes[clusters == c].mean(axis=0) - axes[clusters != c].mean(axis=0)
            for c in range(_NUM_CLUSTERS)
            if (clusters == c).mean() >= LEAST_CLUSTER
        ]
    )
    along = axes @ ways[np.linalg.norm(ways, axis=1).argmax()]
    near, far = np.quantile(along, (1 - SHIFTED_SHARE - GAP_SHARE, 1 - SHIFTED_SHARE))
    return (along >= far)[inverse], ((along >= near) & (along < far))[inverse]


def finish_pair(
    images: Images,
    name: str,
    what: str,
    shifted: Mask,
    *,
    left_out: Mask | None = None,
    near_share: float = NEAR_SHARE,
) -> Pair:
    """Draw the near test from what is neither shifted nor left out, and measure the distance."""
    others = ~shifted if left_out is None else ~shifted & ~left_out
    near = others & _draw(images, near_share, seed=0)
    train = others & ~near
    parts = {"NORMAL": ~images.positive, "PNEUMONIA": images.positive}
    domain, control = {}, {}
    for label, within in parts.items():
        compared = within & (train | shifted)
        domain[label] = _separate(images, compared, shifted)
        control[label] = _separate(
            images, compared, _draw(images, shifted[compared].mean(), seed=3)
        )
    return Pair(
        name=name, what=what, train=train, near=near, shifted=shifted,
        domain_auroc=domain, control_auroc=control,
    )  # fmt: skip


def _separate(images: Images, compared: Mask, is_other: Mask) -> float:
    features = images.everything[compared].astype(np.float32)
    truth = is_other[compared]
    folds = assign_folds(images.patients[compared], truth)
    return score_auroc(truth, cross_validate(features, truth, folds=folds)) or 0.0


def _draw(images: Images, share: float, *, seed: int) -> Mask:
    """Draw this share of the patients of each class."""
    random = np.random.default_rng(seed)
    drawn: set[str] = set()
    for positive in (True, False):
        names = np.unique(images.patients[images.positive == positive])
        drawn |= set(random.permutation(names)[: round(share * len(names))].tolist())
    return np.array([patient in drawn for patient in images.patients])


def _columns(
    statistics: dict[str, NDArray[np.float32]], names: Sequence[str]
) -> NDArray[np.float64]:
    return np.stack([statistics[name] for name in names], axis=1).astype(np.float64)


@torch.inference_mode()
def _see_early(pixels: NDArray[np.uint8], weights: Path) -> NDArray[np.float64]:
    """Return mean and deviation of each channel of an early layer, on ten principal axes."""
    network = build_model(
        "tf_efficientnet_lite0", num_classes=2, seed=0, image_size=pixels.shape[-1], weights=weights
    ).eval()
    found: list[torch.Tensor] = []
    layer = network.net.get_submodule("blocks.0")
    layer.register_forward_hook(lambda _module, _input, output: found.append(
        torch.cat([output.mean(dim=(2, 3)), output.std(dim=(2, 3))], dim=1)
    ))  # fmt: skip
    for start in range(0, len(pixels), 64):
        network(torch.from_numpy(np.ascontiguousarray(pixels[start : start + 64])) / 255)
    seen = torch.cat(found).numpy()
    seen = (seen - seen.mean(axis=0)) / np.maximum(seen.std(axis=0), 1e-9)
    return PCA(_NUM_AXES, random_state=0).fit_transform(seen).astype(np.float64)
