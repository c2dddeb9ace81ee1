"""How often the 95 % intervals hold the truth, by simulation of a test whose truth is known.

Logits are normal, with a patient effect shared by two images (their correlation 0.3); the
classes are a shift apart. AUROC, sensitivity and specificity then follow in closed form, the
other figures by numerical integration. Each draw has its own VAL and TEST, from which the
package makes its intervals as `medimg evaluate` does.

    python benchmarks/interval_coverage.py --draws 1000
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
from scipy import integrate, optimize, stats

from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling, add_intervals
from medimg_baseline_cls.evaluation.split_summary import summarize_predictions
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.log import format_table

SHIFT, CORRELATION, PREVALENCE, TARGET = 1.8, 0.3, 0.5, 0.9
OFFSET = SHIFT / 2  # logits are centered between the classes


def draw_predictions(split: str, *, num_patients: int, rng: np.random.Generator) -> Predictions:
    """Draw two images a patient, as many patients of each class."""
    truth = np.repeat(np.arange(num_patients) < num_patients * PREVALENCE, 2)
    patient = np.repeat(rng.normal(scale=math.sqrt(CORRELATION), size=num_patients), 2)
    noise = rng.normal(scale=math.sqrt(1 - CORRELATION), size=len(truth))
    scores = 1 / (1 + np.exp(-(SHIFT * truth + patient + noise - OFFSET)))
    names = tuple(f"{split}{i}" for i in range(len(truth)))
    return Predictions(
        split=split,
        class_names=("no", "yes"),
        image_ids=names,
        paths=names,
        groups=tuple(f"{split}-p{i // 2}" for i in range(len(truth))),
        labels=truth.astype(np.int64),
        probabilities=np.stack([1 - scores, scores], axis=1),
    )


def true_figures() -> dict[str, float]:
    """Return what each figure is in the population."""

    def sensitivity(logit: float) -> float:
        return float(stats.norm.sf(logit, SHIFT - OFFSET))

    def false_share(logit: float) -> float:
        return float(stats.norm.sf(logit, -OFFSET))

    def precision(logit: float) -> float:
        hits = PREVALENCE * sensitivity(logit)
        return hits / (hits + (1 - PREVALENCE) * false_share(logit))

    def f1_score(logit: float) -> float:
        return 2 / (1 / sensitivity(logit) + 1 / precision(logit))

    def mean(function: object, center: float) -> float:
        density = stats.norm(center).pdf
        return float(
            integrate.quad(lambda x: function(x) * density(x), center - 9, center + 9)[0]  # type: ignore[operator]
        )

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    positive, negative = SHIFT - OFFSET, -OFFSET
    best = optimize.minimize_scalar(lambda x: -f1_score(x), bounds=(-3, 3), method="bounded").x
    reach = float(stats.norm.isf(TARGET, positive))
    figures = {
        "auroc": float(stats.norm.cdf(SHIFT / math.sqrt(2))),
        "average_precision": mean(precision, positive),
        "brier_score": PREVALENCE * mean(lambda x: (1 - sigmoid(x)) ** 2, positive)
        + (1 - PREVALENCE) * mean(lambda x: sigmoid(x) ** 2, negative),
        "log_loss": PREVALENCE * mean(lambda x: -math.log(sigmoid(x)), positive)
        + (1 - PREVALENCE) * mean(lambda x: -math.log(1 - sigmoid(x)), negative),
    }
    for rule, logit in (("default", 0.0), ("target_sensitivity", reach), ("max_f1", best)):
        figures |= {
            f"{rule}: sensitivity": sensitivity(logit),
            f"{rule}: specificity": 1 - false_share(logit),
            f"{rule}: ppv": precision(logit),
            f"{rule}: f1_score": f1_score(logit),
        }
    return figures


def intervals_of(
    val: Predictions, test: Predictions, *, seed: int, num_resamples: int
) -> dict[str, tuple[float, float] | None]:
    thresholds = choose_thresholds(val, classes=("yes",), target_sensitivity=TARGET)
    summaries = {
        part.split: summarize_predictions(part, thresholds, positive_class="yes")
        for part in (val, test)
    }
    block = add_intervals(
        summaries,
        (val, test),
        target_sensitivity=TARGET,
        resampling=Resampling(num_resamples, seed),
    )["test"].classes["yes"]
    found = {name: estimate.bounds for name, estimate in block.metrics.items()}
    for rule, point in block.operating_points.items():
        for name in ("sensitivity", "specificity", "ppv", "f1_score"):
            found[f"{rule}: {name}"] = point.metrics[name].bounds
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=150, help="of VAL, and of TEST")
    parser.add_argument("--output", type=Path, help="JSON to write")
    options = parser.parse_args()
    truth, start = true_figures(), time.perf_counter()
    hits, widths = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0.0)
    for draw in range(options.draws):
        rng = np.random.default_rng([2026, draw])
        parts = [
            draw_predictions(split, num_patients=options.patients, rng=rng)
            for split in ("val", "test")
        ]
        found = intervals_of(*parts, seed=draw, num_resamples=options.resamples)
        for name, value in truth.items():
            low, high = found[name] or (1.0, 0.0)
            hits[name] += low <= value <= high
            widths[name] += (high - low) / options.draws
    rows = [
        {
            "figure": name,
            "truth": truth[name],
            "coverage": hits[name] / options.draws,
            "mean_width": widths[name],
        }
        for name in truth
    ]
    header = ["figure on TEST", "truth", "coverage", "mean width"]
    cells = [[r["figure"], *(f"{r[k]:.3f}" for k in list(r)[1:])] for r in rows]
    print("\n".join(format_table(header, cells)))
    error = 1.96 * math.sqrt(0.95 * 0.05 / options.draws)
    print(
        f"{options.draws} draws of {options.patients} patients with two images each, for VAL and "
        f"for TEST; {options.resamples} resamples; Monte Carlo error of a coverage of 0.95: "
        f"{error:.3f}; {time.perf_counter() - start:.0f} s"
    )
    if options.output:
        facts = {k: v for k, v in vars(options).items() if k != "output"}
        options.output.write_text(json.dumps({"settings": facts, "figures": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
