"""What a run can say to each topic of a reporting checklist, in sentences.

A topic is a name that checklists.toml uses. An answer that the authors must complete says
which part is "not available"; a topic about which the run knows nothing has no words.
"""

from collections.abc import Callable, Iterator, Set

from medimg_baseline_cls.reporting.content import RunContent, number_of
from medimg_baseline_cls.reporting.documents.checklist_subgroups import SUBGROUP_ANSWERS
from medimg_baseline_cls.reporting.documents.methods import list_methods
from medimg_baseline_cls.reporting.documents.sentences import describe_data, describe_performance
from medimg_baseline_cls.reporting.page.headline import describe_weights, summarize_run
from medimg_baseline_cls.reporting.page.performance import (
    control_values,
    count_resamples,
    list_rules,
    operating_points,
    rule_name,
    shown_classes,
)
from medimg_baseline_cls.reporting.page.tables import count_labels
from medimg_baseline_cls.reporting.text.format import format_count, format_setting, hide_paths
from medimg_baseline_cls.reporting.text.measures import list_metrics, list_points
from medimg_baseline_cls.reporting.text.names import name_split
from medimg_baseline_cls.schema import SPLIT_NAMES

NOT_AVAILABLE = "not available"
# What predictions of another program do not tell.
_OF_DEVELOPMENT = frozenset(
    """
    method model preprocessing training weights choice selection missing sizes rejection disjoint
    inputs poor_input prediction ensemble availability flow internal_test external_test
    """.split()
)

Words = Iterator[str]
Answer = Callable[[RunContent, Set[str]], Words]


def answer_topics(content: RunContent, files: Set[str]) -> dict[str, str]:
    """Return what the run can say to each topic that checklists.toml names; "" for nothing.

    Args:
        content: the run.
        files: names of files in the run folder.
    """
    unknown = _OF_DEVELOPMENT if content.is_judged else ()
    return {
        name: "" if name in unknown else " ".join(filter(None, say(content, files)))
        for name, say in ANSWERS.items()
    }


def _say_method(content: RunContent, _: Set[str]) -> Words:
    yield f"Deep learning, image classification: {summarize_run(content).lede}"


def _say_aim(content: RunContent, _: Set[str]) -> Words:
    what = "Testing alone" if content.is_judged else "Development and internal testing"
    if content.external:
        what = "External testing"
    yield f"{summarize_run(content).lede} {what}."


def _say_data(content: RunContent, _: Set[str]) -> Words:
    yield describe_data(content)


def _say_results(content: RunContent, _: Set[str]) -> Words:
    sentences = describe_performance(content, has_all_points=False)
    yield from sentences
    if sentences:
        yield "All metrics: tables/performance.csv, tables/operating_points.csv."


def _say_source(content: RunContent, _: Set[str]) -> Words:
    if content.config.get("data_dir"):
        layout = content.provenance.get("layout")
        yield f"Folder {hide_paths(str(content.config['data_dir']))}" + (
            f" ({layout})." if layout else "."
        )
        yield "Its origin and dates: not available."


def _say_rejection(content: RunContent, files: Set[str]) -> Words:
    if "rejected.csv" in files:
        yield f"{format_count(len(content.rejected))} files were rejected; reasons: rejected.csv."
        yield "Inclusion criteria for patients: not available."


def _facts(part: str) -> Answer:
    def say(content: RunContent, _: Set[str]) -> Words:
        facts = [f"{name}: {value}" for own, name, value in list_methods(content) if own == part]
        if facts:
            yield f"{'; '.join(facts)}."

    return say


def _say_selection(content: RunContent, _: Set[str]) -> Words:
    limit = content.config.get("limit")
    if content.split:
        yield f"At most {limit} images were used." if limit else "All readable images were used."


def _say_missing(content: RunContent, _: Set[str]) -> Words:
    rule = content.config.get("on_bad_image")
    if rule:
        yield "A file that cannot be read " + (
            "is left out and listed in rejected.csv." if rule == "skip" else "stops the run."
        )
    for key, what in (("uncertain_labels", "Uncertain"), ("missing_labels", "Missing")):
        if content.has_findings and content.config.get(key):
            yield f"{what} labels: {content.config[key]}."


def _say_sizes(content: RunContent, _: Set[str]) -> Words:
    sides = {(number_of(r.get("width")), number_of(r.get("height"))) for r in content.split}
    known = [(int(w), int(h)) for w, h in sides if w is not None and h is not None]
    if known:
        low, high = min(known), max(known)
        extent = "" if low == high else f" to {high[0]} × {high[1]}"
        yield f"Images of {low[0]} × {low[1]}{extent} px. Devices and protocol: not available."


def _say_labels(content: RunContent, _: Set[str]) -> Words:
    if content.class_names:
        yield f"Labels as provided with the data: {', '.join(content.class_names)}."
        yield "How they were obtained: not available."


def _say_partition(content: RunContent, _: Set[str]) -> Words:
    yield describe_data(content)
    strategy = content.provenance.get("val_strategy")
    if content.split and strategy:
        yield f"VAL: {strategy}. Each image's split: split.csv."


def _say_disjoint(content: RunContent, _: Set[str]) -> Words:
    if content.split:
        yield (
            "Each group (patient, where known) is in one split; a group or a byte-identical file "
            "in more than one is refused."
        )


def _say_test_size(content: RunContent, _: Set[str]) -> Words:
    number = sum(row["split"] == "test" for row in content.split)
    if number:
        yield f"TEST has {format_count(number)} images; how this number was chosen: not available."


def _say_weights(content: RunContent, _: Set[str]) -> Words:
    yield f"{describe_weights(content)}."


def _say_ensemble(content: RunContent, _: Set[str]) -> Words:
    if content.history:
        yield "None: one network."


def _say_measures(content: RunContent, _: Set[str]) -> Words:
    names = [m.name for m in (*list_metrics(content), *list_points(content))]
    if names:
        yield f"{', '.join(dict.fromkeys(names))}."


def _say_uncertainty(content: RunContent, _: Set[str]) -> Words:
    number = count_resamples(content)
    if number is not None:
        more = ""
        if list_rules(content):
            more = (
                ", thresholds re-selected in each; also Wilson and Clopper-Pearson for proportions"
            )
        yield f"95% intervals: whole {content.unit}s resampled {format_count(number)} times{more}."


def _say_controls(content: RunContent, _: Set[str]) -> Words:
    for split in list(content.summaries)[-1:]:
        values = control_values(content, split, metric="auroc").items()
        known = [f"{name} {value:.2f}" for name, value in values if value is not None]
        if known:
            yield f"Controls without the anatomy, {name_split(split)} AUROC: {', '.join(known)}."


def _say_explanation(content: RunContent, _: Set[str]) -> Words:
    number = sum(map(len, content.panels.values()))
    if number:
        label, folder = content.maps["label"], content.maps["folder"]
        yield f"{label} of {format_count(number)} mistakes, {folder}/; attribution, not validated."


def _say_internal_test(content: RunContent, files: Set[str]) -> Words:
    if content.external or content.config.get("test_site") is not None:
        return
    if "test" in content.summaries:
        yield "TEST was scored with thresholds chosen on VAL: test_summary.json."
        if "test_log.csv" in files:
            yield "Every evaluation on TEST: test_log.csv."


def _say_external_test(content: RunContent, _: Set[str]) -> Words:
    if found := content.external:
        yield (
            f"TEST is {found['name']}, another data set than that of the run {found['run']}, with "
            "checkpoint and thresholds locked: external.json."
        )
    if content.config.get("test_site") is not None:
        yield f"TEST is the site {format_setting(content.config['test_site'])}, kept out of TRAIN."


def _say_flow(content: RunContent, _: Set[str]) -> Words:
    if content.split:
        drawn = "Data flow diagram in report.html. " if content.splits == SPLIT_NAMES else ""
        yield f"{drawn}{describe_data(content)}"


def _say_characteristics(content: RunContent, _: Set[str]) -> Words:
    for split in content.splits if content.split else ():
        records = [row for row in content.split if row["split"] == split]
        counts, _totals = count_labels(content, records)
        pairs = zip(content.class_names, counts, strict=True)
        listed = ", ".join(f"{name} {format_count(count)}" for name, count in pairs)
        yield f"{name_split(split)}: {listed}."
    if content.split:
        yield "Age, sex and other characteristics: not available."


def _say_all_splits(content: RunContent, _: Set[str]) -> Words:
    figures = [m for m in list_metrics(content) if m.key == "auroc"]
    for measure in figures[-1:]:
        listed = [f"{name_split(s)} {measure.print_long(s)}" for s in measure.estimates]
        yield f"AUROC of {measure.owner}: {', '.join(listed)}."


def _say_errors(content: RunContent, files: Set[str]) -> Words:
    rules = list_rules(content)
    # One operating point: an image that is wrong at several would count several times.
    wrong = [
        _count_errors(content, name, rule=rules[0]) for name in shown_classes(content) if rules
    ]
    if any(wrong):
        name = rule_name(content, rules[0])
        yield f"On TEST at the operating point {name}, {'; '.join(filter(None, wrong))}."
        yield "Confusion matrices: figures/confusion.svg."
    if "mistakes.csv" in files:
        yield "The most confident errors at each operating point: mistakes.csv."
    images = {row["image_id"] for row in content.dossier if row.get("reader", "").strip()}
    if images:
        number = "1 image" if len(images) == 1 else f"{format_count(len(images))} images"
        yield f"A reader has judged {number} in dossier.csv."


def _count_errors(content: RunContent, name: str, *, rule: str) -> str:
    point = operating_points(content, "test", class_name=name).get(rule)
    if point is None:
        return ""
    positives, negatives = format_count(point.fp), format_count(point.fn)
    return f"false positives of {name} {positives}, false negatives {negatives}"


def _say_limits(content: RunContent, _: Set[str]) -> Words:
    yield "Warnings of the run and general limits: model_card.md."
    yield from summarize_run(content).warnings


def _say_protocol(content: RunContent, _: Set[str]) -> Words:
    yield "All settings: config.json. A protocol written in advance: not available."


def _say_availability(content: RunContent, _: Set[str]) -> Words:
    digest = content.checkpoint.get("sha256")
    if digest:
        yield f"Network: best.pt, sha256 {digest}. Where it is published: not available."


def _say_calibration(content: RunContent, files: Set[str]) -> Words:
    if "calibration.json" in files:
        yield "Calibration: calibration.json, figures/calibration.svg."
    if "decision_curve.csv" in files:
        yield "Net benefit: decision_curve.csv, figures/decision_curve.svg."


def _say_recalibration(content: RunContent, files: Set[str]) -> Words:
    if "recalibration.json" in files:
        yield "Recalibration fitted on VAL, before and after: recalibration.json."


def _say_prediction(content: RunContent, _: Set[str]) -> Words:
    if content.history:
        yield "medimg predict turns image files into probabilities, without manual steps."


def _say_imbalance(content: RunContent, _: Set[str]) -> Words:
    if content.config.get("imbalance"):
        yield f"Setting imbalance: {content.config['imbalance']}."


def _say_thresholds(content: RunContent, _: Set[str]) -> Words:
    points = [m for m in list_points(content) if m.key == "threshold"]
    if points:
        splits = list(points[0].estimates)[:1]
        listed = [f"{m.owner}, {m.rule}: {m.print_long(s)}" for m in points for s in splits]
        yield f"Probabilities; positive at or above the threshold. {'; '.join(listed)}."


def _say_inputs(content: RunContent, _: Set[str]) -> Words:
    yield "Only the pixels of the image."


def _say_poor_input(content: RunContent, _: Set[str]) -> Words:
    yield "A file that cannot be decoded is refused with a reason; poor images: not available."


ANSWERS: dict[str, Answer] = {
    "aim": _say_aim,
    "all_splits": _say_all_splits,
    "availability": _say_availability,
    "calibration": _say_calibration,
    "characteristics": _say_characteristics,
    "choice": _facts("Model choice"),
    "controls": _say_controls,
    "data": _say_data,
    "disjoint": _say_disjoint,
    "ensemble": _say_ensemble,
    "errors": _say_errors,
    "explanation": _say_explanation,
    "external_test": _say_external_test,
    "flow": _say_flow,
    "imbalance": _say_imbalance,
    "inputs": _say_inputs,
    "internal_test": _say_internal_test,
    "labels": _say_labels,
    "limits": _say_limits,
    "measures": _say_measures,
    "method": _say_method,
    "missing": _say_missing,
    "model": _facts("Model"),
    "partition": _say_partition,
    "poor_input": _say_poor_input,
    "prediction": _say_prediction,
    "preprocessing": _facts("Preprocessing"),
    "protocol": _say_protocol,
    "recalibration": _say_recalibration,
    "rejection": _say_rejection,
    "results": _say_results,
    "selection": _say_selection,
    "sizes": _say_sizes,
    "software": _facts("Software"),
    "source": _say_source,
    "test_size": _say_test_size,
    "thresholds": _say_thresholds,
    "training": _facts("Training"),
    "uncertainty": _say_uncertainty,
    "weights": _say_weights,
    **SUBGROUP_ANSWERS,
}
