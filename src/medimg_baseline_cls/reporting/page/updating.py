"""What the page of an external evaluation says of updates, after the locked result.

Everything is read from updating.json.
"""

from collections.abc import Iterator
from dataclasses import replace

from medimg_baseline_cls.catalogue import DECISIONS, SCORES
from medimg_baseline_cls.records.updating import (
    ClassUpdating,
    EventsNeeded,
    Fitted,
    Gain,
    Sizes,
    UpdatedModel,
    UpdatingSummary,
)
from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.page.performance import (
    about_class,
    list_rules,
    rule_name,
    show_estimate,
    shown_classes,
    with_interval,
)
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import (
    UNDEFINED,
    capitalize,
    count_of,
    format_count,
    format_difference,
    format_difference_interval,
    format_score,
)
from medimg_baseline_cls.utils.quantities import format_threshold

_UPDATES = {
    "intercept": "Intercept of the logit fitted",
    "intercept_and_slope": "Intercept and slope of the logit fitted",
    "threshold": "Threshold chosen again",
}
_SAID = {"intercept": "a new intercept", "intercept_and_slope": "a new intercept and slope"}
_METRICS = {
    "intercept_at_slope_1": "Calibration in the large",
    "slope": "Calibration slope",
    **{name: metric.name for known in (SCORES, DECISIONS) for name, metric in known.items()},
    "expected_ratio": "Observed / expected",
}
_GAIN_NOTE = (
    "Each update is fitted on the other folds and applied to the patients of the held-out fold. "
    "A fitted line leaves AUROC and all decisions as they are, because the thresholds are carried "
    "along with the probabilities; decisions change only where thresholds are chosen again. The "
    "fit itself brings calibration in the large to 0 and, where the slope is fitted, the slope to "
    "1, so these changes have no interval. Second lines: 95 % intervals, patients resampled with "
    "the fits as they are."
)
_BY_FIT = ("intercept_at_slope_1", "slope")
_FIT_NOTE = (
    "Locked is the model of the run: intercept 0 and slope 1 leave a probability as it is. In the "
    "folds: the least and the greatest of the values that were applied."
)
_NEEDED_NOTE = (
    "For a 95 % interval of this width, if the model is as it is on these images (Riley et al., "
    "Statistics in Medicine 2021;40:4230). Images count as independent: more are needed where "
    "patients have several. Whatever a formula gives, at least 100 positive and 100 negative "
    "images are recommended (Vergouwe et al., J Clin Epidemiol 2005;58:475; Collins et al., "
    "Statistics in Medicine 2016;35:214)."
)
_LEAST = 100


def describe_updating(content: RunContent) -> str:
    """Return on what updates were fitted, or why there is none; "" for a run."""
    found = content.updating
    if found is None:
        return ""
    names = [name for name in shown_classes(content) if name in found.classes]
    if reason := found.reason or _find_reason(found, names):
        return f"Not available: {reason}."
    lead = (
        f"The results above are those of the locked model. Here the same images are used to fit "
        f"updates, in {found.num_folds} folds of whole patients."
    )
    if len(names) == 1 and (parts := found.classes[names[0]].fitting_parts):
        sizes, gains = _say_sizes(parts, names[0]), _say_gains(content, found.classes[names[0]])
        lead = " ".join(filter(None, (lead, sizes, gains)))
    return lead


def tabulate_updating(content: RunContent) -> list[Table]:
    """Return what updates of each class gain, what was fitted, and what a validation needs."""
    if content.updating is None:
        return []
    found = content.updating.classes
    blocks = {name: found[name] for name in shown_classes(content) if name in found}
    if _find_reason(content.updating, list(blocks)):
        return []
    return [
        *(_tabulate_gains(content, name, found=block) for name, block in blocks.items()),
        *(_tabulate_fits(content, name, found=b) for name, b in blocks.items() if b.updates),
        *(_tabulate_needed(content, name, found=b) for name, b in blocks.items() if b.needed),
    ]


def _find_reason(found: UpdatingSummary, names: list[str]) -> str:
    """Return why none of these classes could be updated; "" where one of them could."""
    reasons = {name: found.classes[name].reason for name in names}
    if not names or not all(reasons.values()):
        return ""
    is_one = len(set(reasons.values())) == 1
    return reasons[names[0]] if is_one else "; ".join(f"{n}: {why}" for n, why in reasons.items())


def _say_sizes(parts: tuple[Sizes, ...], name: str) -> str:
    images, patients, positive = (
        _span([getattr(part, key) for part in parts])
        for key in ("num_images", "num_patients", "num_positive")
    )
    return (
        f"Each fold was updated by a fit on the others: {images} images of {patients} patients, "
        f"{positive} of them {name}."
    )


def _say_gains(content: RunContent, found: ClassUpdating) -> str:
    """Return what is gained by which update; "" where nothing is known of it."""
    pairs = ((u, model.metrics.get("brier_score")) for u, model in found.updates.items())
    said: list[str] = []
    if gains := {update: gain for update, gain in pairs if gain is not None}:
        sides = [f"{format_score(next(iter(gains.values())).locked.value)} locked"]
        sides += [f"{format_score(g.updated.value)} with {_SAID[u]}" for u, g in gains.items()]
        said.append(f"the Brier score is {', '.join(sides)} (lower is better; decisions stay)")
    points = found.updates.get("threshold", UpdatedModel()).operating_points
    for rule in [rule for rule in list_rules(content) if rule in points][:1]:
        changes = [
            f"{_METRICS[key].lower()} goes from {format_score(gain.locked.value)} to "
            f"{format_score(gain.updated.value)}"
            for key, gain in points[rule].items()
        ]
        where = f"with the threshold of {rule_name(content, rule)} chosen again"
        said.append(f"{where} {' and '.join(changes)} (probabilities stay)")
    return f"What is gained: {'; '.join(said)}." if said else ""


def _span(counts: list[int]) -> str:
    low, high = format_count(min(counts)), format_count(max(counts))
    return low if low == high else f"{low} to {high}"


def _tabulate_gains(content: RunContent, name: str, *, found: ClassUpdating) -> Table:
    rows: list[Row] = []
    notes = [_GAIN_NOTE]
    for update, model in found.updates.items():
        if model.reason:
            notes.append(f"{_UPDATES[update]}: not available, because {model.reason}.")
            continue
        rows.append(Row((_UPDATES[update], "", "", ""), "start"))
        # In files of earlier versions a fitted line has decisions at thresholds left behind.
        points = model.operating_points if update == "threshold" else {}
        rows += _list_gains(content, replace(model, operating_points=points))
    if found.reason:
        notes = [f"{name}: not available, because {found.reason}."]
    elif about_class(content, name):
        notes += filter(None, (_say_gains(content, found), _say_sizes(found.fitting_parts, name)))
    return Table(
        title=f"Updated minus locked, {name}",
        header=("Metric", "Locked", "Updated", "Change"),
        rows=tuple(rows),
        notes=tuple(notes),
        about=about_class(content, name),
    )


def _list_gains(content: RunContent, model: UpdatedModel) -> Iterator[Row]:
    for key, gain in model.metrics.items():
        yield _show_gain(_METRICS[key], replace(gain, interval=None) if key in _BY_FIT else gain)
    for rule, gains in model.operating_points.items():
        for key, gain in gains.items():
            yield _show_gain(f"{_METRICS[key]}, {rule_name(content, rule)}", gain)


def _show_gain(label: str, gain: Gain) -> Row:
    change, interval = format_difference(gain.value), format_difference_interval(gain.bounds)
    shown = f"{change}\n{interval}" if interval else change
    return Row((label, show_estimate(gain.locked), show_estimate(gain.updated), shown))


def _tabulate_fits(content: RunContent, name: str, *, found: ClassUpdating) -> Table:
    rows: list[Row] = []
    for update, model in found.updates.items():
        for key, fitted in model.fitted.items():
            label = f"Threshold, {rule_name(content, key)}"
            if update != "threshold":
                label = f"{capitalize(key)}{' alone' if len(model.fitted) == 1 else ''}"
            rows.append(_show_fit(label, fitted, is_threshold=update == "threshold"))
    return Table(
        title=f"What was fitted, {name}",
        header=("Value", "Locked", "On all images", "In the folds"),
        rows=tuple(rows),
        notes=(_FIT_NOTE,),
        about=about_class(content, name),
    )


def _show_fit(label: str, fitted: Fitted, *, is_threshold: bool) -> Row:
    write = format_threshold if is_threshold else format_score
    ends = f"{write(min(fitted.folds))} to {write(max(fitted.folds))}"
    whole = with_interval(write(fitted.estimate.value), fitted.estimate)
    return Row((label, write(fitted.locked), whole, ends))


def _tabulate_needed(content: RunContent, name: str, *, found: ClassUpdating) -> Table:
    own = found.sizes
    here = (
        f"Here are {count_of(own.num_images, 'image')} of {count_of(own.num_patients, 'patient')}, "
        f"{format_count(own.num_positive)} of them {name}."
    )
    (first, *_), reasons = found.needed, {entry.reason for entry in found.needed}
    is_none = bool(first.reason) and len(reasons) == 1
    rows = [*map(_show_needed, found.needed), _show_least(own, name)]
    notes = (_NEEDED_NOTE, f"{here} {_say_most(found)}")
    return Table(
        title=f"How many {name} images an external validation needs",
        header=("Metric", "Expected", "Width of its interval", f"{name} images", "Images"),
        rows=() if is_none else tuple(rows),
        notes=(f"Not available, because {first.reason}.",) if is_none else notes,
        about=about_class(content, name),
    )


def _show_least(own: Sizes, name: str) -> Row:
    label = f"At least {_LEAST} {name} and {_LEAST} others"
    return Row((label, "", "", *map(format_count, _find_least(own))), "start")


def _find_least(own: Sizes) -> tuple[int, int]:
    """Return the positive images and all images with which both sides have enough."""
    total, positive = own.num_images, own.num_positive
    count = -(-_LEAST * total // min(positive, total - positive))  # rounded up
    return -(-count * positive // total), count


def _say_most(found: ClassUpdating) -> str:
    """Return what needs the most images, and whether there are as many here."""
    own = found.sizes
    sizes = {
        f"{_METRICS[entry.metric]} with an interval of width {format_score(entry.width)}": (
            entry.num_images
        )
        for entry in found.needed
        if entry.num_images is not None
    }
    sizes[f"the recommendation of {_LEAST} on each side"] = _find_least(own)[1]
    most = max(sizes, key=sizes.__getitem__)
    is_enough = own.num_images >= sizes[most]
    return (
        f"The most images are needed for {most}: {format_count(sizes[most])}, which is "
        f"{'not ' * (not is_enough)}reached here."
    )


def _show_needed(entry: EventsNeeded) -> Row:
    numbers = map(format_score, (entry.value, entry.width))
    sizes = (entry.num_positive, entry.num_images)
    counts = (UNDEFINED if size is None else format_count(size) for size in sizes)
    label = "\n".join(filter(None, (_METRICS[entry.metric], entry.reason)))
    return Row((label, *numbers, *counts))
