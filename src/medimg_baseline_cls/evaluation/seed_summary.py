"""Turn runs that differ only in their seed into seeds_summary.json and their ensemble.

The seed is the unit: mean, SD and range of each metric. The interval of the mean covers both
sources of variation: seeds and patients are resampled together. Of S seeds, S - 1 are drawn:
drawing all S would underestimate the variance, by 1 / S (Rao and Wu, JASA 1988).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from medimg_baseline_cls.catalogue import HEADLINE_DECISIONS, HEADLINE_SCORES
from medimg_baseline_cls.evaluation.aligned_models import AlignedModel, align_models, draw_classes
from medimg_baseline_cls.evaluation.fold_summary import spread_cells, summarize_spread
from medimg_baseline_cls.evaluation.resampling import (
    Resampling,
    draw_part,
    list_values,
    resample_images,
)
from medimg_baseline_cls.records.comparisons import name_metric
from medimg_baseline_cls.records.estimates import Bounds
from medimg_baseline_cls.records.spreads import SpreadBlock, SpreadSummary
from medimg_baseline_cls.records.summaries import Average, MetricKey, SplitSummary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.bootstrap import Values, Weights, describe_values
from medimg_baseline_cls.statistics.intervals import LEVEL
from medimg_baseline_cls.utils.quantities import UNDEFINED, say_score
from medimg_baseline_cls.utils.seed import generator

METHOD = "bootstrap of seeds and patients"


def average_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Return the mean probabilities of several networks for the same images, in one order.

    Args:
        parts: of one split, aligned by `align_models`.

    >>> part = Predictions("val", ("a", "b"), ("1",), ("1",), ("1",), np.array([0]),
    ...                    np.array([[0.5, 0.5]]))
    >>> other = replace(part, probabilities=np.array([[1.0, 0.0]]))
    >>> average_predictions([part, other]).probabilities.tolist()
    [[0.75, 0.25]]
    """
    stacked = np.stack([part.probabilities for part in parts])  # (S, N, C)
    return replace(parts[0], probabilities=stacked.mean(axis=0))


def summarize_seeds(
    summaries: Sequence[SplitSummary],
    models: Sequence[AlignedModel],
    *,
    resampling: Resampling,
) -> SpreadSummary:
    """Return the spread of every TEST metric over seeds, each with an interval of its mean.

    Args:
        summaries: of TEST, one per seed, two or more.
        models: the same runs, in the same order.
        resampling: how often patients and seeds are resampled, and from which seed.

    Raises:
        RunError: the runs were not tested on the same images.
    """
    summary = summarize_spread(summaries)
    aligned = align_models(models)
    weights = draw_part(aligned[0].test, resampling)
    by_seed = [_resample(model, weights) for model in aligned]
    blocks = {name: _without_pooled(block) for name, block in summary.blocks.items()}
    for key, values in _draw_means(by_seed, resampling).items():
        # A mean of decisions over classes has no single threshold, and gets no interval; of two
        # classes only the positive one is resampled.
        is_drawn = key.rule is None and summary.positive_class is None
        if key.block in blocks and (key.block is not Average.MACRO or is_drawn):
            blocks[key.block] = _with_mean(blocks[key.block], key, values=values)
    return replace(
        summary,
        classes={name: blocks[name] for name in summary.classes},
        averages={name: blocks[name] for name in summary.averages},
        overall=blocks.get(Average.OVERALL),
        intervals={
            "level": LEVEL,
            "method": f"percentile {METHOD} (whole groups; S - 1 of S seeds)",
            "num_resamples": resampling.num_resamples,
            "seed": resampling.seed,
        },
    )


def tabulate_seeds(
    summary: SpreadSummary, ensemble: SplitSummary | None
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the end table: a metric of a class per row.

    Args:
        summary: from `summarize_seeds`.
        ensemble: the ensemble's summary of TEST; None where there is none.
    """
    header = ["class", "metric", "mean", "SD", "min", "max", "95 % interval"]
    header += ["ensemble", "95 % interval"] if ensemble is not None else []
    rows: list[list[str]] = []
    for name, block in summary.classes.items():
        keys = [MetricKey(name, None, metric) for metric in HEADLINE_SCORES]
        for rule in block.operating_points:
            keys += [MetricKey(name, rule, metric) for metric in HEADLINE_DECISIONS]
        for key in keys:
            seeds = block.look_up(key)
            assert seeds is not None
            interval = None if seeds.interval is None else seeds.interval.bounds
            cells = [*spread_cells(seeds), _ends(interval)]
            if ensemble is not None:
                joint = ensemble.classes[name].look_up(key)
                cells += [say_score(joint.value), _ends(joint.bounds)]
            rows.append([name, name_metric(key), *cells])
    return header, rows


def _resample(model: AlignedModel, weights: Weights) -> dict[MetricKey, Values]:
    """Return every metric of a model in each resample, at its stored thresholds."""
    test, drawn = model.test, draw_classes(model, weights)
    values = list_values(drawn, over_defined=test.has_findings)
    if test.task == "multiclass":
        return values
    return values | resample_images(
        test, drawn, weights=weights, positive_class=model.positive_class
    )


def _draw_means(
    by_seed: Sequence[Mapping[MetricKey, Values]], resampling: Resampling
) -> dict[MetricKey, Values]:
    """Return the mean of each metric over drawn seeds, on drawn patients; shape (B,) each."""
    # Drawing all S seeds understates the variance by 1 / S (decision 0015).
    num_drawn = max(len(by_seed) - 1, 1)
    random = generator(resampling.seed, "bootstrap", "seeds")
    drawn = random.integers(len(by_seed), size=(num_drawn, resampling.num_resamples))
    columns = np.arange(resampling.num_resamples)
    means: dict[MetricKey, Values] = {}
    for key in by_seed[0]:
        if all(key in values for values in by_seed):
            stacked = np.stack([values[key] for values in by_seed])  # (S, B)
            means[key] = stacked[drawn, columns].mean(axis=0)
    return means


def _with_mean(block: SpreadBlock, key: MetricKey, *, values: Values) -> SpreadBlock:
    return block.with_interval(key, replace(describe_values(values), method=METHOD))


def _without_pooled(block: SpreadBlock) -> SpreadBlock:
    """Drop pooled counts: all runs decide on the same images, so that sums mean nothing."""
    points = {rule: replace(p, pooled=None) for rule, p in block.operating_points.items()}
    return replace(block, operating_points=points)


def _ends(bounds: Bounds | None) -> str:
    return f"{say_score(bounds[0])} to {say_score(bounds[1])}" if bounds else UNDEFINED
