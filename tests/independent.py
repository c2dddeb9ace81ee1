"""Figures of a finished run computed again from its CSV files, by other means than the package.

Only pandas, NumPy, SciPy and scikit-learn; nothing of the package is imported. Intervals are
drawn again by a plain loop with random numbers of its own.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn import metrics as oracle
from sklearn.linear_model import LogisticRegression

Figures = dict[str, float]


@dataclass(frozen=True)
class Part:
    """Predictions of one split of two classes."""

    truth: NDArray[np.bool_]
    scores: NDArray[np.float64]
    groups: NDArray[np.str_]


def read_part(run: Path, split: str, *, positive: str) -> Part:
    table = pd.read_csv(run / f"predictions_{split}.csv", dtype={"label": str, "group": str})
    return Part(
        truth=(table["label"] == positive).to_numpy(),
        scores=table[f"prob_{positive}"].to_numpy(dtype=np.float64),
        groups=table["group"].to_numpy(dtype=np.str_),
    )


def score_figures(part: Part) -> Figures:
    truth, scores = part.truth, part.scores
    return {
        "auroc": float(oracle.roc_auc_score(truth, scores)),
        "average_precision": float(oracle.average_precision_score(truth, scores)),
        "brier_score": float(oracle.brier_score_loss(truth, scores)),
        "log_loss": float(oracle.log_loss(truth, scores, labels=[False, True])),
    }


def point_figures(part: Part, threshold: float) -> Figures:
    """Return counts and figures of a decision; what is undefined is left out."""
    call = part.scores >= threshold
    tn, fp, fn, tp = (float(n) for n in oracle.confusion_matrix(part.truth, call).ravel())
    ratios = {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "f1_score": (2 * tp, 2 * tp + fp + fn),
        "accuracy": (tp + tn, tp + tn + fp + fn),
    }
    found = {name: part / whole for name, (part, whole) in ratios.items() if whole}
    found["balanced_accuracy"] = (found["sensitivity"] + found["specificity"]) / 2
    if (tp + fp) and (tn + fn):
        found["mcc"] = float(oracle.matthews_corrcoef(part.truth, call))
    return {"tp": tp, "fp": fp, "fn": fn, "tn": tn} | found


def choose_thresholds(part: Part, *, target: float) -> Figures:
    """Return the thresholds of Max-F1 and of the target sensitivity, by trying every score."""
    cuts = np.unique(part.scores)[::-1]
    calls = part.scores >= cuts[:, None]  # (cuts, images)
    tp, positives = (calls & part.truth).sum(axis=1), part.truth.sum()
    f1_scores = 2 * tp / (calls.sum(axis=1) + positives)
    reached = np.flatnonzero(tp / positives >= target)
    best, first = int(np.argmax(f1_scores)), int(reached[0])
    return {"max_f1": float(cuts[best]), "target_sensitivity": float(cuts[first]), "default": 0.5}


def draw_patients(part: Part, rng: np.random.Generator) -> Part:
    """Draw whole patients again, those of each mixture of classes among themselves."""
    images = {group: np.flatnonzero(part.groups == group) for group in np.unique(part.groups)}
    kinds: dict[frozenset[bool], list[str]] = {}
    for group, rows in images.items():
        kinds.setdefault(frozenset(part.truth[rows].tolist()), []).append(group)
    drawn = [
        images[str(group)]
        for groups in kinds.values()
        for group in rng.choice(groups, size=len(groups))
    ]
    rows = np.concatenate(drawn)
    return Part(part.truth[rows], part.scores[rows], part.groups[rows])


def draw_figures(val: Part, test: Part, *, target: float, times: int, seed: int) -> pd.DataFrame:
    """Return the figures of TEST in each resample, a column each; "rule/figure" at a threshold."""
    rng = np.random.default_rng(seed)
    lines = list[Figures]()
    for _ in range(times):
        own, other = draw_patients(val, rng), draw_patients(test, rng)
        line = score_figures(other)
        for rule, cut in choose_thresholds(own, target=target).items():
            line |= {f"{rule}/{k}": v for k, v in point_figures(other, cut).items()}
            line[f"{rule}/threshold"] = cut
        lines.append(line)
    return pd.DataFrame(lines)


def logits_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return logit(np.clip(scores, 1e-8, 1 - 1e-8))


def fit_line(
    truth: NDArray[np.bool_],
    logits: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> Figures:
    """Return slope and intercept of a logistic regression without a penalty."""
    middle, scale = logits.mean(), logits.std()
    line = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    line.fit(((logits - middle) / scale)[:, None], truth, sample_weight=weights)
    slope = float(np.ravel(line.coef_)[0] / scale)
    return {"slope": slope, "intercept": float(np.ravel(line.intercept_)[0] - slope * middle)}


def mass_bins(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return ten bins by rank, fewer for under 50 images; equal scores share their mean rank."""
    count = max(1, min(10, len(scores) // 5))
    middle = pd.Series(scores).rank(method="average").to_numpy() - 0.5
    return np.minimum(np.floor(middle * count / len(scores)), count - 1).astype(np.int64)


def width_bins(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    edges = np.linspace(0, 1, 16)
    return np.minimum(np.digitize(scores, edges) - 1, 14)


def calibration_error(part: Part, bins: NDArray[np.int64]) -> float:
    gaps = np.bincount(bins, part.truth) - np.bincount(bins, part.scores)
    return float(np.abs(gaps).sum() / len(bins))


def calibration_figures(part: Part, *, with_line: bool = True) -> Figures:
    """Return calibration in the large and both errors; the line where it is not separated."""
    truth, logits = part.truth, logits_of(part.scores)

    def excess(intercept: float) -> float:
        return float((expit(logits + intercept) - truth).mean())

    offset: Any = brentq(excess, -60, 60, xtol=1e-13)
    found = {
        "intercept_at_slope_1": float(offset),
        "ece_equal_mass": calibration_error(part, mass_bins(part.scores)),
        "ece_equal_width": calibration_error(part, width_bins(part.scores)),
    }
    hits, others = logits[truth], logits[~truth]
    if not with_line or hits.min() >= others.max() or others.min() >= hits.max():
        return found
    return found | fit_line(truth, logits)


def brier_parts(part: Part) -> Figures:
    """Return Murphy's parts over bins of equal mass, and what the bins do not see."""
    bins = mass_bins(part.scores)
    sizes = np.maximum(np.bincount(bins), 1)
    share = (np.bincount(bins, part.truth) / sizes)[bins]
    mean = (np.bincount(bins, part.scores) / sizes)[bins]
    base = float(part.truth.mean())
    found = {
        "value": float(oracle.brier_score_loss(part.truth, part.scores)),
        "reliability": float(((mean - share) ** 2).mean()),
        "resolution": float(((share - base) ** 2).mean()),
        "uncertainty": base * (1 - base),
    }
    rest = found["value"] - found["reliability"] + found["resolution"] - found["uncertainty"]
    return found | {"within_bin": rest}


def prevalence_weights(part: Part, prevalence: float) -> NDArray[np.float64]:
    """Return what each image weighs where this share of them is positive."""
    share = part.truth.mean()
    return np.where(part.truth, prevalence / share, (1 - prevalence) / (1 - share))


def figures_at(part: Part, *, threshold: float, prevalence: float) -> Figures:
    """Return the figures of a decision with weighted images; what is undefined is left out."""
    call, weights = part.scores >= threshold, prevalence_weights(part, prevalence)
    tp, fn = (float(weights[part.truth & own].sum()) for own in (call, ~call))
    fp, tn = (float(weights[~part.truth & own].sum()) for own in (call, ~call))
    found = {
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp),
        "f1_score": 2 * tp / (2 * tp + fp + fn),
    }
    found |= {"ppv": tp / (tp + fp)} if call.any() else {}
    return found | ({} if call.all() else {"npv": tn / (tn + fn)})


def max_f1_at(part: Part, *, prevalence: float) -> float:
    """Return the threshold of the highest weighted F1, of equals the highest one."""
    cuts = np.unique(part.scores)[::-1].tolist()
    scores = [figures_at(part, threshold=c, prevalence=prevalence)["f1_score"] for c in cuts]
    return next(c for c, s in zip(cuts, scores, strict=True) if s > max(scores) - 1e-12)


def average_precision_at(part: Part, *, prevalence: float) -> float:
    weights = prevalence_weights(part, prevalence)
    return float(oracle.average_precision_score(part.truth, part.scores, sample_weight=weights))


def net_benefit(part: Part, threshold: float) -> float:
    """Return the net benefit of a call, in true positives per image."""
    call = part.scores >= threshold
    tp, fp = np.mean(call & part.truth), np.mean(call & ~part.truth)
    return float(tp - fp * threshold / (1 - threshold))


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


class Tables(HTMLParser):
    """The tables of a page: caption to rows of cells, the second line of a cell left out."""

    def __init__(self, *, with_second_lines: bool = False) -> None:
        super().__init__()
        self._with_second_lines = with_second_lines
        self.found: list[tuple[str, list[list[str]]]] = []
        self._caption: list[str] | None = None
        self._in_cell = self._in_small = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "caption":
            self._caption = []
        elif tag == "tr" and self.found:
            self.found[-1][1].append([])
        elif tag in ("td", "th") and self.found:
            self._in_cell = True
            self.found[-1][1][-1].append("")
        self._in_small = tag == "small" or (self._in_small and tag != "bdi")

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption" and self._caption is not None:
            self.found.append(("".join(self._caption).strip(), []))
            self._caption = None
        elif tag in ("td", "th"):
            self._in_cell = False
        elif tag == "small":
            self._in_small = False

    def handle_data(self, data: str) -> None:
        if self._caption is not None:
            self._caption.append(data)
        elif self._in_cell and self._in_small and self._with_second_lines:
            self.found[-1][1][-1][-1] += f"\n{data.strip()}"
        elif self._in_cell and not self._in_small:
            self.found[-1][1][-1][-1] += data.strip()


def read_tables(
    page: str, *, with_second_lines: bool = False
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yield each table of a page as its caption and its rows by column title."""
    parser = Tables(with_second_lines=with_second_lines)
    parser.feed(page)
    for caption, (header, *rows) in parser.found:
        yield caption, [dict(zip(header, row, strict=True)) for row in rows]
