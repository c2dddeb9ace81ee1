"""Invented sites: three hospitals and TEST of a run, for one class or for several findings."""

from collections.abc import Sequence

from medimg_baseline_cls.evaluation.sites import POOLING, pool_metrics
from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.sites import Site, SitesSummary, list_pooled
from medimg_baseline_cls.records.summaries import MetricKey

AUROCS = {"chest_run": 0.977, "north": 0.912, "south": 0.843, "east": 0.871}


def estimate_of(value: float, *, half: float = 0.04) -> Estimate:
    ends = Interval(bounds=(value - half, value + half), method="bootstrap")
    return Estimate(value=value, interval=ends)


def site_of(
    name: str, classes: Sequence[str] = ("PNEUMONIA",), *, auroc: float | None = None
) -> Site:
    """Return a site; its sensitivity and specificity follow from the AUROC."""
    value = AUROCS.get(name, 0.8) if auroc is None else auroc
    estimates: dict[MetricKey, Estimate] = {}
    for number, class_name in enumerate(classes):
        for offset, key in enumerate(list_pooled(class_name, "max_f1")):
            if 0.05 < value < 0.95 or offset:
                estimates[key] = estimate_of(abs(value - 0.05 * offset - 0.01 * number))
            else:
                estimates[key] = estimate_of(value, half=0.01)
        for metric, found in (
            ("average_precision", 0.71),
            ("slope", 0.64),
            ("intercept_at_slope_1", -1.23),
        ):
            estimates[MetricKey(class_name, None, metric)] = estimate_of(found)
    return Site(
        name=name,
        is_internal=name == "chest_run",
        num_images=120,
        num_patients=80,
        predictions_sha256="0" * 64,
        prevalence=dict.fromkeys(classes, 0.375),
        estimates=estimates,
    )


def summary_of(
    sites: Sequence[Site] | None = None, *, classes: Sequence[str] = ("PNEUMONIA",)
) -> SitesSummary:
    """Return a comparison; by default that of TEST and three sites."""
    found = tuple(site_of(name, classes) for name in AUROCS) if sites is None else tuple(sites)
    is_single = len(classes) == 1
    return SitesSummary(
        run="chest_run",
        task="multiclass" if is_single else "multilabel",
        class_names=("NORMAL", *classes) if is_single else tuple(classes),
        positive_class=classes[0] if is_single else None,
        classes=tuple(classes),
        rule="max_f1",
        target_sensitivity=0.95,
        intervals={},
        pooling=POOLING,
        sites=found,
        pooled=pool_metrics(found, classes, rule="max_f1"),
    )
