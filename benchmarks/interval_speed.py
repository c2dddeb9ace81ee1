"""Time of the intervals of all figures: resamples at once, against a loop of scikit-learn calls.

Both compute, for each resample of VAL and TEST, the operating points on VAL and every figure of
a summary on TEST. The loop is timed on fewer resamples and scaled up, as it is linear in them.

    OMP_NUM_THREADS=1 python benchmarks/interval_speed.py
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from medimg_baseline_cls.statistics.bootstrap import (
    choose_in_resamples,
    describe_values,
    draw_weights,
    weighted_points,
    weighted_scores,
)
from medimg_baseline_cls.utils.log import format_table

TARGET, FIXED = 0.95, 0.5
Images = tuple[NDArray[np.bool_], NDArray[np.float64], list[str]]


def draw_images(number: int, *, seed: int) -> Images:
    rng = np.random.default_rng(seed)
    truth = rng.random(number) < 0.6
    scores = 1 / (1 + np.exp(-(rng.normal(size=number) + 1.5 * truth - 0.75)))
    return truth, scores, [f"p{i // 2}" for i in range(number)]


def resample_at_once(val: Images, test: Images, *, num_resamples: int) -> dict[str, object]:
    weights = [
        draw_weights(
            groups, truth.astype(np.int64), num_resamples=num_resamples, seed=0, purpose=name
        )
        for name, (truth, _, groups) in (("val", val), ("test", test))
    ]
    cuts = choose_in_resamples(*val[:2], weights=weights[0], target=TARGET)
    found = {
        n: describe_values(v) for n, v in weighted_scores(*test[:2], weights=weights[1]).items()
    }
    for rule, thresholds in (cuts | {"default": np.full(num_resamples, FIXED)}).items():
        values = weighted_points(*test[:2], thresholds=thresholds, weights=weights[1])
        found |= {f"{rule}: {name}": describe_values(column) for name, column in values.items()}
    return found


def resample_in_a_loop(val: Images, test: Images, *, num_resamples: int) -> list[list[float]]:
    rng = np.random.default_rng(0)
    return [
        measure_by_scikit_learn(*(draw_patients(part, rng=rng) for part in (val, test)))
        for _ in range(num_resamples)
    ]


def draw_patients(part: Images, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return truth and score of one resample; pairs of images stand next to each other."""
    pairs = rng.integers(len(part[0]) // 2, size=len(part[0]) // 2)
    rows = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
    return np.stack([part[0][rows], part[1][rows]])


def measure_by_scikit_learn(val: NDArray[np.float64], test: NDArray[np.float64]) -> list[float]:
    precision, recall, cuts = metrics.precision_recall_curve(*val)
    f1_scores = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    reached = np.flatnonzero(recall[:-1] >= TARGET)[-1]
    truth, scores = test
    figures = [
        metrics.roc_auc_score(truth, scores),
        metrics.average_precision_score(truth, scores),
        metrics.brier_score_loss(truth, scores),
        metrics.log_loss(truth, scores),
    ]
    for threshold in (cuts[np.argmax(f1_scores[:-1])], cuts[reached], FIXED):
        call = scores >= threshold
        figures += [
            metrics.recall_score(truth, call),
            metrics.recall_score(truth, call, pos_label=0),
            metrics.precision_score(truth, call, zero_division=0),
            metrics.precision_score(truth, call, pos_label=0, zero_division=0),
            metrics.f1_score(truth, call),
            metrics.accuracy_score(truth, call),
            metrics.balanced_accuracy_score(truth, call),
            metrics.matthews_corrcoef(truth, call),
        ]
    return [float(figure) for figure in figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--loop-resamples", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, help="JSON to write")
    options = parser.parse_args()
    val, test = (draw_images(options.images, seed=seed) for seed in (0, 1))
    at_once, loop = list[float](), list[float]()
    for _ in range(options.repeats):  # alternating, so that both meet the same load
        start = time.perf_counter()
        resample_at_once(val, test, num_resamples=options.resamples)
        middle = time.perf_counter()
        resample_in_a_loop(val, test, num_resamples=options.loop_resamples)
        at_once.append(middle - start)
        scale = options.resamples / options.loop_resamples
        loop.append((time.perf_counter() - middle) * scale)
    medians = {
        "all at once": statistics.median(at_once),
        "loop of scikit-learn": statistics.median(loop),
    }
    ratio = medians["loop of scikit-learn"] / medians["all at once"]
    rows = [[name, f"{value:.2f}"] for name, value in medians.items()]
    print("\n".join(format_table(["28 figures of each resample", "seconds, median"], rows)))
    print(
        f"{options.images} images, {options.resamples} resamples (the loop: "
        f"{options.loop_resamples}, scaled), {options.repeats} repeats; ratio {ratio:.0f}"
    )
    if options.output:
        facts = {k: v for k, v in vars(options).items() if k != "output"}
        content = {"settings": facts, "seconds": medians, "ratio": ratio}
        options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
