"""How far images are from the training images, by what an acquisition leaves in an image.

Brightness, sharpness, corners, size and the outer frame are standardized and reduced to their main
axes; the distance of an image is that to its fifth nearest training image of another patient.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from medimg_baseline_cls.audit.shortcut_classifiers import ControlFeatures

LIMIT_SHARE = 0.99
MIN_TRAIN = 50
_NUM_AXES, _NEIGHBOR, _MAX_OF_PATIENT = 10, 5, 50

Distances = NDArray[np.float64]


def measure_distances(train: ControlFeatures, others: ControlFeatures) -> Distances | None:
    """Return the distance of other images from the training images, shape (N,).

    1 is the distance that 1 % of the training images exceed, each measured from those of other
    patients. None where there are fewer than 50 training images.
    """
    own, seen = (np.hstack([side.trivial, side.border]) for side in (train, others))
    if len(own) < MIN_TRAIN:
        return None
    middle, spread = own.mean(axis=0), own.std(axis=0)
    varies = spread > 1e-6 * np.maximum(abs(middle), 1)
    own, seen = ((side - middle)[:, varies] / spread[varies] for side in (own, seen))
    _, sizes, axes = np.linalg.svd(own.astype(np.float64), full_matrices=False)
    kept = (sizes > 1e-6 * sizes.max()) & (np.arange(len(sizes)) < _NUM_AXES)
    turn = axes[kept].T * (np.sqrt(len(own)) / sizes[kept])  # each axis with deviation 1
    tree = KDTree(own @ turn)
    limit = np.quantile(_measure_own(tree, train.groups), LIMIT_SHARE)
    found, _ = tree.query(seen @ turn, k=_NEIGHBOR)
    return found[:, -1] / limit


def _measure_own(tree: KDTree, groups: NDArray[np.str_]) -> Distances:
    """Return the distance of each training image from those of other patients."""
    largest = min(int(np.unique(groups, return_counts=True)[1].max()), _MAX_OF_PATIENT)
    near, index = tree.query(tree.data, k=min(_NEIGHBOR + largest, tree.n))
    is_other = groups[index] != groups[:, None]
    place = np.argmax(is_other.cumsum(axis=1) >= _NEIGHBOR, axis=1)
    return near[np.arange(len(near)), place]
