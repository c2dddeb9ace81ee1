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
from sklearn import metrics as oracle

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
    points = [point_figures(part, cut) for cut in cuts]
    best = max(range(len(cuts)), key=lambda k: (points[k]["f1_score"], -k))
    reach = next(k for k, point in enumerate(points) if point["sensitivity"] >= target)
    return {"max_f1": float(cuts[best]), "target_sensitivity": float(cuts[reach]), "default": 0.5}


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


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


class Tables(HTMLParser):
    """The tables of a page: caption to rows of cells, the second line of a cell left out."""

    def __init__(self) -> None:
        super().__init__()
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
        elif self._in_cell and not self._in_small:
            self.found[-1][1][-1][-1] += data.strip()


def read_tables(page: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yield each table of a page as its caption and its rows by column title."""
    parser = Tables()
    parser.feed(page)
    for caption, (header, *rows) in parser.found:
        yield caption, [dict(zip(header, row, strict=True)) for row in rows]
