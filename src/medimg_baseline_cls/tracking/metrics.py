"""Names and values of the metrics that trackers are sent, the same names for every run.

"test/auroc" is that of the positive class, or the macro average, and "test/sensitivity" that at the
operating point of the run; "_lower" and "_upper" are the ends of the 95 % CI. Each class of several
has its own: "test/NAME/auroc". Over several runs "test/auroc" is the mean.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medimg_baseline_cls.records.estimates import Estimate, Spread
from medimg_baseline_cls.records.spreads import SpreadSummary
from medimg_baseline_cls.records.summaries import Average, ClassMetrics, SplitSummary, read_summary
from medimg_baseline_cls.utils.files import read_json
from medimg_baseline_cls.utils.quantities import format_interval, format_score

_UNSAFE = re.compile(r"[^\w.-]+")
_LONGEST = 60
_SPLITS = ("val", "test")
_MAIN = {"auroc": "AUROC", "average_precision": "AP"} | {
    name: name for name in ("sensitivity", "specificity")
}
_TRIALS = ("num_trials", "num_complete", "num_pruned", "num_failed")


def list_summaries(folder: Path, *, rule: str) -> dict[str, float]:
    """Return the metrics of VAL and TEST, of images and of patients, as far as there are any.

    Args:
        folder: of the run.
        rule: of the operating point at which decisions are measured.
    """
    found: dict[str, float] = {}
    for split in _SPLITS:
        for place, prefix in ((folder, split), (folder / "patients", f"{split}_patients")):
            if (path := place / f"{split}_summary.json").is_file():
                found |= list_summary(path, rule=rule, prefix=prefix)
    return found


def list_summary(path: Path, *, rule: str, prefix: str) -> dict[str, float]:
    """Return the metrics of one summary file."""
    summary = read_summary(path)
    keys = name_classes(summary.class_names)
    found = {f"{prefix}/num_images": float(summary.num_images)}
    for block, name in _list_blocks(summary, keys):
        for metric, estimate in _list_estimates(block, rule):
            found |= _describe(f"{prefix}/{name}{metric}", estimate)
    of_images = {} if summary.positive_class is not None else summary.overall
    for metric, estimate in of_images.items():
        found |= _describe(f"{prefix}/overall/{metric}", estimate)
    return found


def list_thresholds(folder: Path) -> dict[str, float]:
    """Return the thresholds of each rule: "threshold/max_f1", or with the class before the rule."""
    path = folder / "thresholds.json"
    classes: Mapping[str, Mapping[str, Any]] = (
        read_json(path).get("classes", {}) if path.is_file() else {}
    )
    keys = name_classes(tuple(classes))
    return {
        f"threshold/{f'{keys[name]}/' * (len(classes) > 1)}{rule}": float(entry["threshold"])
        for name, rules in classes.items()
        for rule, entry in rules.items()
        if entry.get("threshold") is not None
    }


def list_spreads(content: Mapping[str, Any], *, rule: str) -> dict[str, float]:
    """Return the means over the runs of a sweep, with SD and range, from its summary file."""
    summary, found = SpreadSummary.from_json(content), dict[str, float]()
    keys = name_classes(summary.class_names)
    is_binary = summary.positive_class is not None
    for block, spreads in summary.blocks.items():
        if block is Average.MACRO and is_binary:
            continue  # it is the positive class
        is_first = block is Average.MACRO or (is_binary and not isinstance(block, Average))
        name = block.value if isinstance(block, Average) else keys[block]
        prefix = "test" if is_first else f"test/{name}"
        point = spreads.operating_points.get(rule)
        more = {} if point is None else point.metrics
        for metric, spread in {**spreads.metrics, **more}.items():
            found |= _describe_spread(f"{prefix}/{metric}", spread)
    return {"test/num_runs": float(summary.num_runs), **found}


def list_trials(content: Mapping[str, Any]) -> dict[str, float]:
    """Return how many trials a sweep over settings has, and the best value of its objective."""
    best: Mapping[str, Any] = content.get("best") or {}
    values = {f"trials/{name}": content.get(name) for name in _TRIALS}
    values |= {
        f"best/{content.get('objective')}": best.get("value"),
        "best/trial": best.get("number"),
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def describe_main(metrics: Mapping[str, float]) -> str:
    """Return the main values of TEST and VAL, or of a sweep, as a text; "" without any.

    >>> describe_main({"test/auroc": 0.9, "test/auroc_lower": 0.8, "test/auroc_upper": 0.95})
    'TEST: AUROC 0.900 (95 % CI 0.800–0.950)'
    """
    texts: list[str] = []
    for split in reversed(_SPLITS):
        found = {f"{split}/{name}": word for name, word in _MAIN.items()}
        values = [f"{w} {_show(metrics, key)}" for key, w in found.items() if key in metrics]
        if values:
            runs = metrics.get(f"{split}/num_runs")
            mean = "" if runs is None else f", mean of {runs:.0f} runs"
            texts.append(f"{split.upper()}{mean}: {', '.join(values)}")
    best = [key for key in metrics if key.startswith("best/") and key != "best/trial"]
    texts += [f"best trial: {key.removeprefix('best/')} {_show(metrics, key)}" for key in best]
    return "; ".join(texts)


def _show(metrics: Mapping[str, float], key: str) -> str:
    bounds = [metrics[f"{key}{end}"] for end in ("_lower", "_upper") if f"{key}{end}" in metrics]
    interval = f" (95 % CI {format_interval((bounds[0], bounds[1]))})" if bounds else ""
    return f"{format_score(metrics[key])}{interval}"


def name_classes(names: tuple[str, ...]) -> dict[str, str]:
    """Return each class with a name that every tracker accepts, no two the same.

    >>> name_classes(("No finding", "a*b", "a+b"))
    {'No finding': 'No_finding', 'a*b': 'a_b', 'a+b': 'a_b_2'}
    """
    keys: dict[str, str] = {}
    for number, name in enumerate(names):
        key = _UNSAFE.sub("_", name)[:_LONGEST] or "_"
        while key in keys.values():
            key = f"{key}_{number}"
        keys[name] = key
    return keys


def _list_blocks(
    summary: SplitSummary, keys: Mapping[str, str]
) -> Iterator[tuple[ClassMetrics, str]]:
    """Yield the classes and averages, each with what its names begin with."""
    if summary.positive_class is not None:
        yield summary.classes[summary.positive_class], ""
        return
    yield summary.macro, ""
    if summary.micro is not None:
        yield summary.micro, f"{Average.MICRO.value}/"
    for name, block in summary.classes.items():
        yield block, f"{keys[name]}/"


def _list_estimates(block: ClassMetrics, rule: str) -> Iterator[tuple[str, Estimate]]:
    """Yield what needs no threshold, and what is measured at one operating point."""
    for found, metric, estimate in block.items():
        if found in (None, rule):
            yield metric, estimate


def _describe(name: str, estimate: Estimate) -> dict[str, float]:
    if estimate.value is None:
        return {}
    bounds = () if estimate.bounds is None else estimate.bounds
    ends = zip((f"{name}_lower", f"{name}_upper"), bounds, strict=False)
    return {name: float(estimate.value), **{end: float(value) for end, value in ends}}


def _describe_spread(name: str, spread: Spread) -> dict[str, float]:
    if spread.mean is None:
        return {}
    bounds = None if spread.interval is None else spread.interval.bounds
    values = {
        name: spread.mean,
        f"{name}_sd": spread.sd,
        f"{name}_min": spread.minimum,
        f"{name}_max": spread.maximum,
        f"{name}_lower": None if bounds is None else bounds[0],
        f"{name}_upper": None if bounds is None else bounds[1],
    }
    return {key: float(value) for key, value in values.items() if value is not None}
