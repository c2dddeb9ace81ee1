"""How often the interval of external minus internal contains the true difference.

Pairs of data sets are drawn: patients with one to three images each, a model that separates the
classes worse in the external one, another prevalence there. The truth is that of 400,000 patients.

    python benchmarks/external_coverage.py --pairs 500
"""

import argparse
import json
from pathlib import Path

import numpy as np

from medimg_baseline_cls.evaluation.external_difference import subtract_internal
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.records.summaries import MetricKey
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.statistics.metrics import (
    auroc_score,
    average_precision_score,
    brier_score,
    count_confusion,
    operating_point_metrics,
)

CLASSES = ("NORMAL", "PNEUMONIA")
CUT = 0.4
POINTS = {
    "PNEUMONIA": (Threshold(rule="max_f1", value=CUT, description="", class_name="PNEUMONIA"),)
}
INTERNAL = {"num_patients": 150, "gap": 2.0, "prevalence": 0.5}
EXTERNAL = {"num_patients": 120, "gap": 1.4, "prevalence": 0.35}
SCORES = ("auroc", "average_precision", "brier_score")
RATES = ("sensitivity", "specificity", "ppv")


def draw_set(seed: int, *, num_patients: int, gap: float, prevalence: float) -> Predictions:
    """Draw a data set: each patient is positive as often as the prevalence says."""
    random = np.random.default_rng([seed, num_patients])
    sizes = random.integers(1, 4, size=num_patients)
    truth = random.random(num_patients) < prevalence
    own = random.normal(size=num_patients) + gap * truth
    owner = np.repeat(np.arange(num_patients), sizes)
    logits = own[owner] + 0.5 * random.normal(size=len(owner)) - gap / 2
    scores = 1 / (1 + np.exp(-1.5 * logits))
    ids = tuple(map(str, range(len(owner))))
    return Predictions(
        split="test",
        class_names=CLASSES,
        image_ids=ids,
        paths=ids,
        groups=tuple(map(str, owner)),
        labels=truth[owner].astype(np.int64),
        probabilities=np.stack([1 - scores, scores], axis=1),
    )


def measure(part: Predictions) -> dict[str, float]:
    """Return the metrics of a data set."""
    truth, scores = part.truth("PNEUMONIA"), part.scores("PNEUMONIA")
    rates = operating_point_metrics(count_confusion(truth, scores, threshold=CUT))
    functions = (auroc_score, average_precision_score, brier_score)
    found = {name: get(truth, scores) for name, get in zip(SCORES, functions, strict=True)}
    return {**found, **{name: rates[name] for name in RATES}}


def main() -> None:
    """Simulate, print the coverage, and write it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    many = {"num_patients": 400_000}
    inside, outside = (measure(draw_set(7, **{**s, **many})) for s in (INTERNAL, EXTERNAL))
    true = {name: outside[name] - inside[name] for name in inside}
    hits = dict.fromkeys(true, 0)
    for number in range(options.pairs):
        gaps = subtract_internal(
            draw_set(10_000 + number, **INTERNAL),
            draw_set(20_000 + number, **EXTERNAL),
            thresholds=POINTS,
            positive_class="PNEUMONIA",
            resampling=Resampling(options.resamples, number),
        )
        for name, value in true.items():
            rule = "max_f1" if name in RATES else None
            low, high = gaps[MetricKey("PNEUMONIA", rule, name)].bounds or (np.nan, np.nan)
            hits[name] += bool(low <= value <= high)
    coverage = {name: round(count / options.pairs, 4) for name, count in hits.items()}
    content = {
        "pairs": options.pairs,
        "resamples": options.resamples,
        "internal": INTERNAL,
        "external": EXTERNAL,
        "true_difference": {name: round(value, 4) for name, value in true.items()},
        "coverage": coverage,
    }
    print(json.dumps(content, indent=2))
    if options.output is not None:
        options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
