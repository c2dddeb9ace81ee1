"""The catalogue of metrics and threshold rules: one row each, read wherever one is named.

A new metric is computed in `statistics` and gets a row here; tables, report, comparison and
terminal take its names, its order and the reason for undefined values from that row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["score", "decision", "overall"]
COUNTS = ("tp", "fp", "fn", "tn")
"""The counts of a decision against the reference standard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Facts about a metric that do not depend on the data.

    Attributes:
        key: in JSON files and Python.
        name: in a line of its own.
        short: at the head of a column.
        word: within a sentence.
        kind: "score" needs no threshold, "decision" has one, "overall" is of whole images.
        is_better_high: whether a higher value is better.
        bounds: the least and the greatest value.
        reason: why it can be undefined.
        source: of the formula.
        proportion: counts in its numerator and in its denominator; None if not a proportion
            of images.
        note: footnote of a table.
    """

    key: str
    name: str
    short: str
    word: str
    kind: Kind
    is_better_high: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    reason: str
    source: str
    proportion: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a threshold is chosen.

    Attributes:
        key: in JSON files and settings.
        name: in tables.
        description: its text in thresholds.json; {target} is the value to reach.
        is_chosen: whether it is chosen on VAL (by `statistics.threshold_rules`), which makes VAL
            metrics optimistic.
        has_target: whether it must reach the target in the settings.
    """

    key: str
    name: str
    description: str
    is_chosen: bool = True
    has_target: bool = False


_UNBOUNDED = float("inf")
_METRICS = (
    Metric(
        key="auroc",
        name="AUROC",
        short="AUROC",
        word="AUROC",
        kind="score",
        reason="all images are of one class",
        source="Hanley & McNeil, Radiology 1982",
    ),
    Metric(
        key="average_precision",
        name="Average precision",
        short="AP",
        word="AP",
        kind="score",
        reason="no image is positive",
        source="scikit-learn, average_precision_score",
    ),
    Metric(
        key="brier_score",
        name="Brier score",
        short="Brier",
        word="Brier score",
        kind="score",
        is_better_high=False,
        reason="no image has a reference standard",
        source="Brier, Monthly Weather Review 1950",
    ),
    Metric(
        key="log_loss",
        name="Log loss",
        short="Log loss",
        word="log loss",
        kind="score",
        is_better_high=False,
        bounds=(0.0, _UNBOUNDED),
        reason="no image has a reference standard",
        source="scikit-learn, log_loss",
    ),
    Metric(
        key="sensitivity",
        name="Sensitivity",
        short="Sens.",
        word="sensitivity",
        kind="decision",
        reason="no image is positive",
        source="Altman & Bland, BMJ 1994;308:1552",
        proportion=(("tp",), ("tp", "fn")),
    ),
    Metric(
        key="specificity",
        name="Specificity",
        short="Spec.",
        word="specificity",
        kind="decision",
        reason="no image is negative",
        source="Altman & Bland, BMJ 1994;308:1552",
        proportion=(("tn",), ("tn", "fp")),
    ),
    Metric(
        key="ppv",
        name="PPV",
        short="PPV",
        word="PPV",
        kind="decision",
        reason="no image was called positive",
        source="Altman & Bland, BMJ 1994;309:102",
        proportion=(("tp",), ("tp", "fp")),
    ),
    Metric(
        key="npv",
        name="NPV",
        short="NPV",
        word="NPV",
        kind="decision",
        reason="no image was called negative",
        source="Altman & Bland, BMJ 1994;309:102",
        proportion=(("tn",), ("tn", "fn")),
    ),
    Metric(
        key="f1_score",
        name="F1 score",
        short="F1",
        word="F1",
        kind="decision",
        reason="no image is positive and none was called so",
        source="van Rijsbergen, Information Retrieval 1979",
    ),
    Metric(
        key="accuracy",
        name="Accuracy",
        short="Acc.",
        word="accuracy",
        kind="decision",
        reason="no image has a reference standard",
        source="share of correct decisions",
        proportion=(("tp", "tn"), COUNTS),
    ),
    Metric(
        key="balanced_accuracy",
        name="Balanced accuracy",
        short="Bal. acc.",
        word="balanced accuracy",
        kind="decision",
        reason="all images are of one class",
        source="Brodersen et al., ICPR 2010",
    ),
    Metric(
        key="mcc",
        name="MCC",
        short="MCC",
        word="MCC",
        kind="decision",
        bounds=(-1.0, 1.0),
        reason="the images, or the calls, are all of one class",
        source="Matthews, Biochimica et Biophysica Acta 1975",
    ),
    Metric(
        key="quadratic_weighted_kappa",
        name="Weighted kappa",
        short="Weighted kappa",
        word="quadratic weighted kappa",
        kind="overall",
        bounds=(-1.0, 1.0),
        reason="all images and all calls are of one grade",
        source="Cohen, Psychological Bulletin 1968",
        note="Weighted kappa: agreement beyond chance, a miss weighing as the square of its "
        "grades; 1 is full agreement, 0 chance.",
    ),
    Metric(
        key="mean_grade_error",
        name="Mean error",
        short="Mean error",
        word="mean error in grades",
        kind="overall",
        is_better_high=False,
        bounds=(0.0, _UNBOUNDED),
        reason="no image has a reference standard",
        source="mean absolute distance of the grades",
        note="Mean error: of the most probable grade, in grades; distances are those of the grades "
        "where all are whole numbers, else steps.",
    ),
    Metric(
        key="accuracy",
        name="Accuracy",
        short="Accuracy",
        word="accuracy",
        kind="overall",
        reason="no image has a reference standard",
        source="share of images whose most probable class is right",
    ),
    Metric(
        key="exact_match",
        name="Exact match",
        short="Exact match",
        word="exact match",
        kind="overall",
        reason="no image has a reference standard",
        source="share of images with every known finding right at 0.5",
        note="Exact match: share of images with every known finding classified correctly at 0.5.",
    ),
    Metric(
        key="log_loss",
        name="Log loss",
        short="Log loss",
        word="log loss",
        kind="overall",
        is_better_high=False,
        bounds=(0.0, _UNBOUNDED),
        reason="no image has a reference standard",
        source="scikit-learn, log_loss",
    ),
)
_RULES = (
    Rule(
        key="max_f1",
        name="Max-F1",
        description="highest F1 score on VAL; of equals the highest threshold",
    ),
    Rule(
        key="target_sensitivity",
        name="Target sensitivity",
        description="highest threshold with a VAL sensitivity of at least {target:g}",
        has_target=True,
    ),
    Rule(
        key="default",
        name="Default (0.5)",
        description="fixed at 0.5, for comparison",
        is_chosen=False,
    ),
)


def _of_kind(kind: Kind) -> Mapping[str, Metric]:
    return {metric.key: metric for metric in _METRICS if metric.kind == kind}


SCORES = _of_kind("score")
"""Metrics of probabilities, which need no threshold, by key."""

DECISIONS = _of_kind("decision")
"""Metrics of decisions at a threshold, by key."""

OVERALL = _of_kind("overall")
"""Metrics of whole images: of the most probable class, or of all findings."""

PROPORTIONS = {m.key: m.proportion for m in DECISIONS.values() if m.proportion is not None}
"""Numerator and denominator counts of each decision metric that is a proportion."""

RULES = {rule.key: rule for rule in _RULES}
CHOSEN_RULES = tuple(rule.key for rule in _RULES if rule.is_chosen)

# Shown where there is room for two only.
HEADLINE_SCORES = ("auroc", "average_precision")
HEADLINE_DECISIONS = ("sensitivity", "specificity")
# Shown with a 2 x 2 table.
RATES = ("sensitivity", "specificity", "ppv", "npv")


def reason_of(key: str) -> str:
    """Return why a metric can be undefined.

    >>> reason_of("npv")
    'no image was called negative'
    """
    return next(metric.reason for metric in _METRICS if metric.key == key)


def word_of(key: str) -> str:
    """Return the name of a metric within a sentence; the key itself if it is unknown.

    >>> word_of("f1_score"), word_of("own_metric"), word_of("plugin:net_benefit")
    ('F1', 'own_metric', 'net benefit (plugin)')
    """
    return next((metric.word for metric in _METRICS if metric.key == key), _name_added(key))


def with_added(shown: Mapping[str, Metric], keys: Iterable[str]) -> dict[str, Metric]:
    """Return the rows with one for each other key, which a package of somebody else has added.

    >>> with_added(SCORES, ["auroc", "plugin:net_benefit"])["plugin:net_benefit"].short
    'Net benefit (plugin)'
    """
    kind = next(iter(shown.values())).kind
    added = {key: _name_added(key) for key in keys if key not in shown}
    return {**shown} | {
        key: Metric(
            key=key,
            name=word[:1].upper() + word[1:],
            short=word[:1].upper() + word[1:],
            word=word,
            kind=kind,
            bounds=(-_UNBOUNDED, _UNBOUNDED),
            reason="it is undefined",
            source="another package",
        )
        for key, word in added.items()
    }


def is_chosen(rule: str) -> bool:
    """Return whether a rule chooses its threshold on VAL; that of another package does.

    >>> is_chosen("max_f1"), is_chosen("default"), is_chosen("plugin:youden")
    (True, False, True)
    """
    return rule not in RULES or RULES[rule].is_chosen


def name_rule(rule: str, target: float | None = None) -> str:
    """Return the name of an operating point.

    >>> name_rule("target_sensitivity", 0.95), name_rule("max_f1"), name_rule("plugin:youden")
    ('Target sensitivity 0.95', 'Max-F1', 'Youden (plugin)')
    """
    if rule not in RULES:
        return _name_added(rule).replace("_", " ").capitalize()
    row = RULES[rule]
    return f"{row.name} {target:g}" if row.has_target and target is not None else row.name


def _name_added(key: str) -> str:
    """Return `plugin:net_benefit` in words; another key is its own name."""
    owner, _, name = key.rpartition(":")
    return f"{name.replace('_', ' ')} ({owner})" if owner else key
