"""How much the best of several models on VAL owes to the choice, by a bootstrap of its patients.

The best of many values on the same images is too high: their chance is chosen too. In each
resample of the patients the best model is chosen again, and its value there is compared with what
it is on all of VAL (the optimism of Efron and Tibshirani, 1993, chapter 17). Values on VAL spread
more than the models do, which hides a third of the optimism of equal models; they are drawn
together first as far as chance explains their spread (Efron and Morris, 1973).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import Values, Weights, draw_weights, weighted_class


@dataclass(frozen=True, slots=True)
class Optimism:
    """What the choice of the best of several models adds to its value on VAL, on average.

    Attributes:
        optimism: to be subtracted from the value of the best; None where it is not defined.
        num_models: among which was chosen.
        num_resamples: of the patients.
    """

    optimism: float | None
    num_models: int
    num_resamples: int


def estimate_optimism(
    models: Sequence[Sequence[Predictions]],
    *,
    positive_class: str | None,
    num_resamples: int,
    seed: int,
) -> Optimism:
    """Return the optimism of the best of several models on VAL.

    Args:
        models: of each, its predictions of the same images; several, as under several stresses,
            have the mean of their values.
        positive_class: whose average precision is the value; None for the mean over all classes.
        num_resamples: of the patients.
        seed: of the resamples.
    """
    first = models[0][0]
    strata = first.labels if first.labels.ndim == 1 else np.zeros(len(first.labels), np.int64)
    weights = draw_weights(
        first.groups, strata, num_resamples=num_resamples, seed=seed, purpose="val"
    )
    whole = np.ones((1, len(first.groups)), dtype=np.uint16)
    names = first.class_names if positive_class is None else (positive_class,)
    values = np.array([_rate(views, names, weights=whole)[0] for views in models])
    resampled = np.stack([_rate(views, names, weights=weights) for views in models])
    found = measure_optimism(values, resampled)
    return Optimism(found, num_models=len(models), num_resamples=num_resamples)


def measure_optimism(values: Values, resampled: Values) -> float | None:
    """Return the mean gain of the models that are best in resamples, over their values on VAL.

    Args:
        values: of each model on VAL, shape (M,).
        resampled: the same in each resample, shape (M, B); resamples with NaN are left out.

    Returns:
        None for a single model, or where no resample is defined.
    """
    resampled = resampled[:, ~np.isnan(resampled).any(axis=0)]
    if len(values) < 2 or np.isnan(values).any() or resampled.shape[1] < 2:
        return None
    chance = resampled - resampled.mean(axis=1, keepdims=True)  # (M, B), of each model
    centers = values.mean() + _shrinkage(values, chance) * (values - values.mean())
    chosen = (centers[:, None] + chance).argmax(axis=0)  # (B,)
    return float(chance[chosen, np.arange(chance.shape[1])].mean())


def _shrinkage(values: Values, chance: Values) -> float:
    """Return the share of the spread of the values that chance does not explain, in [0, 1]."""
    spread = values.var(ddof=1)
    by_chance = chance.var(axis=0, ddof=1).mean()
    return float(max(0.0, 1 - by_chance / spread)) if spread > 0 else 0.0


def _rate(views: Sequence[Predictions], names: Sequence[str], *, weights: Weights) -> Values:
    """Return the average precision in each resample, as training rates an epoch; shape (B,)."""
    return _mean_of_defined([_rate_view(view, names, weights=weights) for view in views])


def _rate_view(view: Predictions, names: Sequence[str], *, weights: Weights) -> Values:
    columns: list[Values] = []
    for name in names:
        known = view.known(name)
        truth, scores = view.truth(name)[known], view.scores(name)[known]
        if truth.any():
            found, _ = weighted_class(truth, scores, thresholds={}, weights=weights[:, known])
            columns.append(found["average_precision"])
    return _mean_of_defined(columns) if columns else np.full(len(weights), np.nan)


def _mean_of_defined(columns: Sequence[Values]) -> Values:
    table: NDArray[np.float64] = np.stack(columns)  # (C, B)
    is_defined = ~np.isnan(table)
    count = is_defined.sum(axis=0)
    total = np.where(is_defined, table, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
