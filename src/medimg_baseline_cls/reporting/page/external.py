"""What the page of an external evaluation says first: differences, and what was left out.

The other data set is TEST on that page. Everything is read from external.json.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from medimg_baseline_cls.catalogue import DECISIONS, OVERALL, SCORES, name_rule
from medimg_baseline_cls.records.estimates import Estimate, Json
from medimg_baseline_cls.reporting.content import RunContent, as_mapping
from medimg_baseline_cls.reporting.documents.sentences import count_all
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import (
    count_of,
    format_difference,
    format_difference_interval,
    format_score,
    hide_paths,
)

_CALIBRATION = {
    "intercept_at_slope_1": "Calibration in the large",
    "slope": "Calibration slope",
    "ece_equal_mass": "Expected calibration error",
}
_NAMES = {k: m.name for known in (SCORES, DECISIONS, OVERALL) for k, m in known.items()}
_NOTE = (
    "Internal is TEST of the run, external the other data set, at the same locked thresholds. "
    "Second lines: 95 % confidence intervals of the difference; both sets are resampled by "
    "patient, each on its own. An interval that includes 0 leaves open whether anything changed."
)
_FALL = 0.15  # of the AUROC of a control
_CONTROLS = {"border": "the outer frame", "trivial": "size, brightness and sharpness"}
_CONTROLS_NOTE = "The controls see no anatomy, and were fitted on TRAIN of the run."
_OF_ALL = "Shares are of all images, with and without a value."
_OF_KNOWN = "Shares are of the images that have a value, which may be different kinds on each side."


def describe_external(content: RunContent) -> str:
    """Return what TEST is on this page; "" for a run on its own data."""
    found, own = content.external, as_mapping(content.external.get("internal"))
    if not found:
        return ""
    images = count_all(content, found["num_images"], groups=found["num_patients"])
    internal = count_of(int(own.get("num_images", 0)), "image")
    updates = " Updates have a section of their own." if content.updating else ""
    return (
        f"External validation: TEST on this page is {found['name']}, {images}. "
        f"Checkpoint, thresholds and recalibration are those of the run {found['run']}, as they "
        f"were for its own TEST ({internal}); nothing was fitted or chosen on {found['name']}."
        f"{updates}"
    )


def tabulate_external(content: RunContent) -> list[Table]:
    """Return the differences of each class, and the copies that were left out."""
    if not content.external:
        return []
    blocks = cast(Mapping[str, Json], as_mapping(content.external.get("differences")))
    shown = [name for name in blocks if name in content.class_names]
    tables = [
        Table(
            title=f"External minus internal, {name}",
            header=("Metric", "Internal", "External", "Difference"),
            rows=tuple(_list_rows(blocks[name])),
            notes=(_NOTE,) if name == shown[0] else (),
            about=name if len(shown) > 1 else "",
        )
        for name in shown
    ]
    return [
        *tables,
        *_tabulate_shift(content),
        *_tabulate_copies(as_mapping(content.external.get("duplicates"))),
    ]


def _list_rows(block: Json) -> Iterator[Row]:
    metrics = as_mapping(block.get("metrics"))
    for key, name in (_NAMES | _CALIBRATION).items():
        if key in metrics:
            yield _show(name, metrics[key])
    for rule, entries in as_mapping(block.get("operating_points")).items():
        for number, (key, entry) in enumerate(as_mapping(entries).items()):
            name = f"{_NAMES.get(key, key)}, {name_rule(rule)}"
            yield _show(name, entry, style="" if number else "start")


def _show(name: str, entry: Any, *, style: str = "") -> Row:
    content = as_mapping(entry)
    gap = Estimate.from_json(content)
    change, interval = format_difference(gap.value), format_difference_interval(gap.bounds)
    internal, external = (format_score(content.get(side)) for side in ("internal", "external"))
    label = f"{name}\n{gap.reason}" if gap.reason else name
    shown = f"{change}\n{interval}" if interval else change
    return Row((label, internal, external, shown), style)


def _tabulate_shift(content: RunContent) -> Iterator[Table]:
    """Yield what may explain a difference: two sides each, then the domain classifier."""
    shift = as_mapping(content.external.get("shift"))
    names = list(content.class_names)
    shown = [content.positive_class] if content.positive_class else names
    pairs = [(f"Prevalence of {n}", as_mapping(shift.get("prevalence")).get(n)) for n in shown]
    mix, notes = as_mapping(content.external.get("case_mix")), [_CONTROLS_NOTE]
    for column, subgroups in mix.items():
        pairs += [
            (f"Share of {column} {name}" if name else f"Share without {column}", found)
            for name, found in subgroups.items()
            if name or any(found.values())
        ]
    if mix:
        # An evaluation of an earlier version has no share of the images without a value.
        is_of_all = all("" in subgroups for subgroups in mix.values())
        notes.append(_OF_ALL if is_of_all else _OF_KNOWN)
    for control, found in as_mapping(shift.get("controls")).items():
        pairs += [(f"AUROC of the {control} control, {n}", found.get(n)) for n in shown]
    if pairs and shift:
        cells = [(label, as_mapping(found)) for label, found in pairs]
        yield Table(
            title="Why it may differ",
            header=("What", "Internal", "External"),
            rows=tuple(
                Row((label, *(format_score(found.get(s)) for s in ("internal", "external"))))
                for label, found in cells
            ),
            notes=(
                *notes,
                *_list_falls(as_mapping(shift.get("controls")), shown),
                *([f"Not compared: {hide_paths(shift['reason'])}"] if "reason" in shift else ()),
            ),
        )
    if domain := as_mapping(shift.get("domain")):
        named = ", ".join(shift.get("differs_in", ())) or "none of the properties that are measured"
        yield Table(
            title="Can external images be distinguished from internal ones? AUROC",
            header=("Class", "External or internal", "Random halves"),
            rows=tuple(
                Row((name, format_score(found["auroc"]), format_score(found["control"])))
                for name, found in domain.items()
            ),
            notes=(
                f"0.5: they cannot. The images differ in: {named} (a property alone reaches an "
                "AUROC of 0.75 within a class).",
            ),
        )

    total = int(content.external["num_images"])
    yield from _tabulate_far(as_mapping(shift.get("far")), total=total)


def _list_falls(controls: Json, names: list[str]) -> Iterator[str]:
    """Yield a sentence for each control whose AUROC is far lower on the other data."""
    for control, found in controls.items():
        for name in names:
            sides = as_mapping(as_mapping(found).get(name))
            internal, external = sides.get("internal"), sides.get("external")
            if internal is None or external is None or internal - external < _FALL:
                continue
            yield (
                f"The AUROC of the {control} control for {name} falls from "
                f"{format_score(internal)} to {format_score(external)}: what "
                f"{_CONTROLS.get(control, control)} told about {name} in the data of the run is "
                "not true here. A network that used it is worse here."
            )


def _tabulate_far(far: Json, *, total: int) -> Iterator[Table]:
    """Yield the images that look unlike every training image, the farthest first."""
    if "num_far" not in far:
        return
    count = int(far["num_far"])
    share = f"{100 * far['share_far']:.1f}\u00a0%"
    yield Table(
        title=f"External images that look unlike every training image: {count} of {total}",
        header=("External image", "Distance"),
        rows=tuple(
            Row((str(item["path"]), f"{item['distance']:.2f}")) for item in far.get("images", ())
        ),
        notes=(
            f"{share} of the external images have a distance above 1, as 1\u00a0% of TRAIN have. "
            "It is the distance to the fifth nearest training image of another patient, in size, "
            "brightness, sharpness, corners and outer frame. The network may fail on such images "
            "without notice.",
        ),
    )


def _tabulate_copies(found: Json) -> Iterator[Table]:
    """Yield the images that were left out as copies, or the reason why that is not known."""
    notes = [hide_paths(str(found["unchecked"]))] if found.get("unchecked") else []
    count = int(found.get("num_left_out", 0))
    if not count and not notes:
        notes = ["No image of the run, exact or nearly identical, is among the external ones."]
    rows = [
        Row((str(item["path"]), str(item["kind"]), str(item["split"]).upper(), item["copy_of"]))
        for item in found.get("images", ())
    ]
    if len(rows) < count:
        notes.append(f"{count - len(rows)} more are listed in duplicates.csv.")
    yield Table(
        title=f"Left out as copies of images of the run: {count}",
        header=("External image", "Kind", "Split", "Image of the run"),
        rows=tuple(rows),
        num_text=4,
        notes=tuple(notes),
    )
