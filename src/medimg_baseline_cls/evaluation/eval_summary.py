"""Turn the summaries of VAL and TEST into eval_summary.json, warnings and the end table.

Warnings are about what a reader could overlook: an inverted class order, a threshold that does
not transfer, a split that is too small to choose on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from medimg_baseline_cls.catalogue import name_rule
from medimg_baseline_cls.evaluation.operating_points import Thresholds, describe_thresholds
from medimg_baseline_cls.evaluation.shortcut_baselines import warn_of_controls
from medimg_baseline_cls.records.evaluations import EvaluationSummary, ShortcutBaseline
from medimg_baseline_cls.records.summaries import ClassMetrics, SplitSummary
from medimg_baseline_cls.schema import Mistake
from medimg_baseline_cls.utils.quantities import format_threshold, frame_class, say_score

FEW_IMAGES = 20
LARGE_SHIFT = 0.1
MIN_TRANSFER_IMAGES = 10
NO_VAL = (
    "There is no VAL, so no threshold could be chosen: only metrics that need no threshold are "
    "given. Pass the predictions of VAL for the others."
)

_NUM_SHOWN = 5
Blocks = Mapping[str, ClassMetrics]
_POINT_COLUMNS = ("sensitivity", "specificity", "ppv", "npv", "f1_score")


def summarize_evaluation(
    val: SplitSummary | None,
    test: SplitSummary,
    *,
    checkpoint: Mapping[str, Any],
    thresholds: Thresholds,
    mistakes: Sequence[Mistake],
    head_only: Mapping[str, SplitSummary] | None = None,
    controls: Sequence[ShortcutBaseline] = (),
) -> EvaluationSummary:
    """Return the content of eval_summary.json.

    Args:
        val: summary of VAL; None where there is no VAL, and so no operating point.
        test: summary of TEST.
        checkpoint: its stage, epoch and sha256.
        thresholds: the operating points, from VAL.
        mistakes: the mined mistakes.
        head_only: summaries "val" and "test" of the head-only model, where there is one.
        controls: classifiers on shortcuts, from `summarize_control`.
    """
    return EvaluationSummary(
        checkpoint=checkpoint,
        class_names=test.class_names,
        positive_class=test.positive_class,
        task=test.task,
        thresholds=describe_thresholds(thresholds),
        headline={part.split: part.headline for part in (val, test) if part is not None},
        num_mistakes=_count_mistakes(mistakes),
        warnings=(
            *warn_of_controls(test.headline, controls),
            *((NO_VAL,) if val is None else find_warnings(val, test)),
        ),
        controls=tuple(controls),
        head_only=None if head_only is None else {s: h.headline for s, h in head_only.items()},
    )


def find_warnings(val: SplitSummary, test: SplitSummary | None = None) -> list[str]:
    """Return one sentence for each kind of problem that a reader could overlook, classes joined.

    Chance in a few images gives no warning: an AUROC below 0.5 counts only if its interval is
    below too, a lower metric on TEST only if VAL has 10 images for it.
    """
    is_finding = val.has_findings
    order = () if is_finding else val.class_names
    blocks = val.classes
    warnings = [
        *(
            s
            for name, block in blocks.items()
            for s in _warn_of_order(name, block, class_names=order)
        ),
        *_warn_of_counts(blocks, is_finding=is_finding),
        *_warn_of_threshold(blocks),
    ]
    if test is not None:
        warnings += _warn_of_prevalence(blocks, test.classes)
        warnings += _warn_of_transfer(blocks, test.classes)
    return warnings


def tabulate_summaries(summaries: Iterable[SplitSummary]) -> tuple[list[str], list[list[str]]]:
    """Return the end table of the command line: its header, and rows of text.

    A row is one operating point; metrics of the whole split are in its first row. For a finding,
    n is the number of images where it is known.

    Args:
        summaries: of VAL and TEST, in the order of the table.
    """
    listed = list(summaries)
    is_binary = all(summary.positive_class is not None for summary in listed)
    head = ["split", "n", "prevalence", "AUROC", "AP (baseline)"]
    tail = ["operating point", "threshold", "sensitivity", "specificity", "PPV", "NPV", "F1"]
    header = head + tail if is_binary else [head[0], "class", *head[1:], *tail]
    rows: list[list[str]] = []
    for summary in listed:
        for name, block in summary.classes.items():
            lead = [summary.split.upper(), *([] if is_binary else [name])]
            num_known = (block.num_positive or 0) + (block.num_negative or 0)
            rows += _tabulate_block(block, lead=[*lead, str(num_known)])
        if not is_binary:
            rows.append(_tabulate_macro(summary, width=len(header)))
        if summary.micro is not None:
            lead = [summary.split.upper(), "micro (all pairs)"]
            num_pairs = str(summary.num_known_pairs)
            rows += _tabulate_block(summary.micro, lead=[*lead, num_pairs])
        if "quadratic_weighted_kappa" in summary.overall:
            rows.append(_tabulate_grades(summary, header=header))
    return header, rows


def _count_mistakes(mistakes: Sequence[Mistake]) -> dict[str, dict[str, dict[str, int]]]:
    """Count the mined mistakes by class, operating point and kind."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for mistake in mistakes:
        points = counts.setdefault(mistake.class_name, {})
        point = points.setdefault(mistake.rule, {"FP": 0, "FN": 0})
        point[mistake.kind] += 1
    return counts


def _warn_of_order(name: str, block: ClassMetrics, *, class_names: Sequence[str]) -> Iterator[str]:
    """Warn of an inverted score; findings have no order, so `class_names` is empty for them."""
    auroc = block.metrics["auroc"]
    interval = auroc.bounds
    if interval is None:
        is_sure = min(block.num_positive or 0, block.num_negative or 0) >= FEW_IMAGES
    else:
        is_sure = interval[1] < 0.5
    if auroc.value is None or auroc.value >= 0.5 or not is_sure:
        return
    cause = f"1 and 0 may be swapped in the labels of {name}; look at some of its images."
    if class_names:
        cause = (
            f"the class order may be inverted. It is {', '.join(class_names)}; check class_names "
            f"and positive_class."
        )
    yield f"The AUROC of {name} on VAL is {say_score(auroc.value)}, below 0.5: {cause}"


def _warn_of_counts(blocks: Blocks, *, is_finding: bool) -> Iterator[str]:
    missing: list[str] = []
    few: list[str] = []
    for name, block in blocks.items():
        of_class = frame_class(name)
        others = (f"non-{name} ", "") if of_class[0] else ("", f" of other classes than {name}")
        words = (of_class, others)
        if is_finding:
            words = (("", f" with {name}"), ("", f" known to be without {name}"))
        counts = (block.num_positive or 0, block.num_negative or 0)
        for count, (lead, end) in zip(counts, words, strict=True):
            if count == 0:
                missing.append(f"no {lead}image{end}")
            elif count < FEW_IMAGES:
                few.append(f"{count} {lead}image{'s' if count > 1 else ''}{end}")
    if missing:
        yield f"VAL has {_join(missing)}, so that some metrics and thresholds are undefined."
    if few:
        named = " and ".join(few) if len(few) == 2 else _join(few)
        yield f"VAL has only {named}: thresholds chosen on so few are uncertain."


def _warn_of_threshold(blocks: Blocks) -> Iterator[str]:
    names: list[str] = []
    for name, block in blocks.items():
        point = block.operating_points.get("max_f1")
        if point is not None and point.counts(("tn", "fn")) == 0 and point.counts(("fp",)) > 0:
            names.append(name)
    if names:
        yield (
            f"The Max-F1 threshold of {_join(names)} calls every VAL image positive: the scores "
            f"separate the classes too little for this rule."
        )


def _warn_of_prevalence(
    val: Mapping[str, ClassMetrics], test: Mapping[str, ClassMetrics]
) -> Iterator[str]:
    shifted: list[str] = []
    for name, block in val.items():
        before, after = block.prevalence, test[name].prevalence
        if before is not None and after is not None and abs(before - after) > LARGE_SHIFT:
            shares = f"{say_score(before)} on VAL and {say_score(after)} on TEST"
            shifted.append(f"of {name} is {shares}")
    if shifted:
        yield (
            f"The prevalence {_join(shifted)}: AP, PPV, NPV, F1 and the Max-F1 threshold depend "
            f"on the prevalence that they were computed at."
        )


def _warn_of_transfer(
    val: Mapping[str, ClassMetrics], test: Mapping[str, ClassMetrics]
) -> Iterator[str]:
    """Warn of thresholds whose sensitivity or specificity is much lower on TEST."""
    falls = [
        fall for name, block in val.items() for fall in _find_falls(name, block, test=test[name])
    ]
    if falls:
        falls.sort(key=lambda fall: -fall[0])
        yield (
            f"{_join([text for _, text in falls])}: such a threshold transfers badly. Report both "
            f"metrics; never tune on TEST."
        )


def _find_falls(name: str, val: ClassMetrics, *, test: ClassMetrics) -> Iterator[tuple[float, str]]:
    """Yield how much, and where, a metric of one class falls from VAL to TEST."""
    counts = {"sensitivity": val.num_positive or 0, "specificity": val.num_negative or 0}
    for rule, point in val.operating_points.items():
        for metric, count in counts.items():
            before = point.metrics[metric].value
            after = test.operating_points[rule].metrics[metric].value
            if before is None or after is None or count < MIN_TRANSFER_IMAGES:
                continue
            if before - after > LARGE_SHIFT:
                where = f"At {name_rule(rule)}, the {metric} of {name}"
                fall = f"{say_score(before)} on VAL to {say_score(after)} on TEST"
                text = f"{where} falls from {fall}"
                yield before - after, text


def _join(parts: Sequence[str]) -> str:
    """Return the first parts as a list, and how many more there are.

    >>> _join(["a", "b"]), _join(list("abcdefg"))
    ('a; b', 'a; b; c; d; e and 2 more')
    """
    shown = "; ".join(parts[:_NUM_SHOWN])
    more = len(parts) - _NUM_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _tabulate_block(block: ClassMetrics, *, lead: list[str]) -> list[list[str]]:
    metrics = block.metrics
    precision = metrics["average_precision"]
    first = [
        *lead,
        say_score(block.prevalence),
        say_score(metrics["auroc"].value),
        f"{say_score(precision.value)} ({say_score(precision.chance)})",
    ]
    blank = [""] * len(first)
    rows: list[list[str]] = []
    for rule, point in block.operating_points.items():
        # Micro metrics have no single threshold: each finding has its own.
        threshold = point.threshold
        cells = [name_rule(rule), "" if threshold is None else format_threshold(threshold)]
        cells += [say_score(point.metrics[column].value) for column in _POINT_COLUMNS]
        rows.append([*(blank if rows else first), *cells])
    return rows or [[*first, *[""] * (2 + len(_POINT_COLUMNS))]]


def _tabulate_macro(summary: SplitSummary, *, width: int) -> list[str]:
    metrics = summary.macro.metrics
    precision = metrics["average_precision"]
    cells = [
        summary.split.upper(),
        _name_macro(summary),
        str(summary.num_images),
        "",
        say_score(metrics["auroc"].value),
        f"{say_score(precision.value)} ({say_score(precision.chance)})",
    ]
    return cells + [""] * (width - len(cells))


def _name_macro(summary: SplitSummary) -> str:
    """Return the name of a macro row; for findings with the number that define its metrics."""
    metrics = summary.macro.metrics
    auroc, precision = (metrics[m].num_defined for m in ("auroc", "average_precision"))
    if auroc is None:
        return "macro mean"
    number = f"{auroc}" if auroc == precision else f"AUROC {auroc}, AP {precision}"
    return f"macro mean ({number} of {len(summary.classes)})"


def _tabulate_grades(summary: SplitSummary, *, header: Sequence[str]) -> list[str]:
    """Return the row of quadratic weighted kappa and of the mean error in grades."""
    overall = summary.overall
    cells = dict.fromkeys(header, "")
    cells["split"], cells["n"] = summary.split.upper(), str(summary.num_images)
    if "class" in cells:
        cells["class"] = "most probable grade"
    kappa, error = overall["quadratic_weighted_kappa"], overall["mean_grade_error"]
    cells["operating point"] = f"kappa {say_score(kappa.value)}, error {say_score(error.value)}"
    return list(cells.values())
