"""Fit the head as logistic regression on the features of the frozen backbone.

The loss is that of training, plus an L2 penalty on the weights of standardized features: a convex
problem, solved to convergence, so that the result does not depend on rates, epochs or seed. The
penalty is chosen by cross-validation over whole patients. A loss that is not convex (focal) is
refused by the settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.models.classifier import Classifier
from medimg_baseline_cls.statistics.updating import assign_folds
from medimg_baseline_cls.training.losses import Criterion
from medimg_baseline_cls.training.sources import FeatureSource
from medimg_baseline_cls.training.steps import TrainingContext
from medimg_baseline_cls.utils.distributed import share_weights
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.seed import permutation

PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""From strong to weak, per image."""

_NUM_FOLDS = 5
_MOST_CHOOSING = 20_000  # more images than this do not change the choice of the penalty
_RESOLUTION = 1e-6
_LEAST_WEIGHT = 1e-30
_EXACT = {"gtol": 1e-9, "ftol": 1e-15, "maxiter": 5000, "maxcor": 20}
_ROUGH = {"gtol": 1e-5, "ftol": 1e-9, "maxiter": 200, "maxcor": 20}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticFit:
    """The fitted head: `weight` (C, D) and `bias` (C,), float64, for features as they are.

    `penalty` is that of the weights of standardized features; `loss` the mean training loss
    without it.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    loss: float


def solve_head(
    context: TrainingContext,
    model: Classifier,
    *,
    train: FeatureSource,
    groups: Sequence[str],
    criterion: Criterion,
) -> float:
    """Set the head to the minimum on the features of TRAIN; return the mean loss there.

    Args:
        context: of the training.
        model: only its last linear layer is changed.
        train: the features of all training images.
        groups: the patient of each row.
        criterion: as in `fit_logistic`.

    Raises:
        TrainingError: the last layer has no bias.
    """
    weight, bias = model.head_layer.weight, model.head_layer.bias
    if not isinstance(weight, Tensor) or not isinstance(bias, Tensor):
        raise TrainingError(
            f"The last layer of {model.arch} has no bias, which logistic regression needs: use "
            "head_fit=adamw."
        )
    features, labels, positions = train.everything()
    rows: list[int] = positions.tolist()
    is_whole: list[bool] = features.isfinite().all(dim=1).tolist()
    broken = [row for row, whole in zip(rows, is_whole, strict=True) if not whole]
    if broken:
        names = [context.image_ids[row] if context.image_ids else str(row) for row in broken[:5]]
        raise TrainingError(
            f"The features of {say_count(len(broken), 'training images')} are not finite, such as "
            f"those of {', '.join(names)}: try precision=fp32, or look at the images and the file "
            "of weights."
        )
    fitted = fit_logistic(
        features.cpu(),
        labels.cpu(),
        groups=[groups[row] for row in rows],
        criterion=criterion,
        num_outputs=len(bias),
        seed=context.seed,
    )
    with torch.no_grad():
        weight.copy_(fitted.weight.view_as(weight))
        bias.copy_(fitted.bias)
        # Other processors may differ in the last digits.
        share_weights(model.net, context.accelerator)
    context.log.info(f"logistic regression: L2 penalty {fitted.penalty:g}")
    return fitted.loss


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    *,
    groups: Sequence[str],
    criterion: Criterion,
    num_outputs: int,
    seed: int,
) -> LogisticFit:
    """Return the head that minimizes mean loss + penalty / 2 * sum of squared weights.

    The penalty is the strongest whose cross-validated loss is within one standard error of the
    lowest (Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, 7.10):
    weaker ones fit what only these images have in common.

    Args:
        features: shape (N, D).
        labels: shape (N,), or (N, C) of several findings.
        groups: the patient of each image, length N.
        criterion: the loss of training, convex in the logits.
        num_outputs: C.
        seed: of the draw of the folds.
    """
    inputs = features.double()
    center, scale = inputs.mean(dim=0), inputs.std(dim=0, correction=0)
    # What varies less than float32 resolves is constant: without weight, as inputs / inf is 0.
    scale = torch.where(scale > _RESOLUTION * center.abs(), scale, torch.inf)
    standardized = (inputs - center) / scale
    # Along the principal axes, scaled by the curvature there, L-BFGS needs few steps.
    variances, axes = torch.linalg.eigh(standardized.T @ standardized / len(inputs))
    whole = _Problem(standardized @ axes, labels, variances.clamp(min=0), criterion, num_outputs)
    penalty = _choose_penalty(whole, groups, seed=seed)
    solution = whole.solve(penalty, whole.origin())
    weight = solution[:, :-1] @ axes.T / scale
    bias = solution[:, -1] - weight @ center
    return LogisticFit(weight=weight, bias=bias, penalty=penalty, loss=whole.loss(solution).item())


@dataclass(frozen=True, slots=True)
class _Problem:
    """Features (n, D) along axes with these variances (D,), and their labels, with the loss."""

    inputs: Tensor
    labels: Tensor
    variances: Tensor
    criterion: Criterion
    num_outputs: int

    def part(self, rows: NDArray[np.int64]) -> "_Problem":
        index = torch.from_numpy(rows)
        inputs, labels = self.inputs[index], self.labels[index]
        return _Problem(inputs, labels, self.variances, self.criterion, self.num_outputs)

    def loss(self, parameters: Tensor) -> Tensor:
        """Return the mean loss of weights and bias (C, D + 1)."""
        logits = self.inputs @ parameters[:, :-1].T + parameters[:, -1]
        losses, weights = self.criterion(logits, self.labels)
        return losses.sum() / weights.sum().clamp(min=_LEAST_WEIGHT)

    def origin(self) -> Tensor:
        """Return weights and bias of 0."""
        return torch.zeros(self.num_outputs, self.inputs.shape[1] + 1, dtype=torch.float64)

    def solve(self, penalty: float, start: Tensor, *, is_rough: bool = False) -> Tensor:
        """Return weights and bias (C, D + 1) at the minimum, by L-BFGS in float64."""
        curvature = torch.cat([self.variances / 4 + penalty, torch.full((1,), 0.25)])
        unit = curvature.rsqrt()  # (D + 1,)

        def evaluate(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            scaled = torch.from_numpy(values).view(start.shape).requires_grad_()
            parameters = scaled * unit
            penalized = self.loss(parameters) + penalty / 2 * parameters[:, :-1].square().sum()
            (gradient,) = torch.autograd.grad(penalized, scaled)
            return penalized.item(), gradient.flatten().numpy()

        found = minimize(
            evaluate,
            (start / unit).flatten().numpy(),
            jac=True,
            method="L-BFGS-B",
            options=_ROUGH if is_rough else _EXACT,
        )
        return torch.from_numpy(found.x).view(start.shape) * unit


def _choose_penalty(whole: _Problem, groups: Sequence[str], *, seed: int) -> float:
    order = permutation(seed, "penalty", size=len(groups))
    rows = np.sort(order[:_MOST_CHOOSING])
    chosen = np.array(groups)[rows].tolist()
    num_folds = min(_NUM_FOLDS, len(set(chosen)))
    if num_folds < 2:
        return PENALTIES[len(PENALTIES) // 2]
    labels = whole.labels.numpy()[rows]
    is_positive = labels.reshape(len(rows), -1).max(axis=1) > 0
    folds = assign_folds(chosen, is_positive, num_folds=num_folds, seed=seed)
    parts = [
        (whole.part(rows[folds != fold]), whole.part(rows[folds == fold]))
        for fold in range(num_folds)
    ]
    solutions = [whole.origin()] * num_folds
    losses = list[NDArray[np.float64]]()
    best = 0
    for penalty in PENALTIES:
        solutions = [
            fitted.solve(penalty, start, is_rough=True)
            for (fitted, _), start in zip(parts, solutions, strict=True)
        ]
        pairs = zip(parts, solutions, strict=True)
        losses.append(np.array([held_back.loss(found).item() for (_, held_back), found in pairs]))
        best = min(range(len(losses)), key=lambda index: losses[index].mean())
        if len(losses) > best + 2:  # weaker penalties only fit more of what is not there
            break
    limit = losses[best].mean() + losses[best].std(ddof=1) / num_folds**0.5
    return PENALTIES[next(i for i, values in enumerate(losses) if values.mean() <= limit)]
