"""What the page of several sites shows: each next to TEST of the run, and what is pooled."""

from collections.abc import Iterator
from typing import Any

from medimg_baseline_cls.catalogue import HEADLINE_DECISIONS, name_rule
from medimg_baseline_cls.records.comparisons import name_metric
from medimg_baseline_cls.records.sites import CALIBRATION, PooledMetric, SitesSummary, list_pooled
from medimg_baseline_cls.records.summaries import MetricKey
from medimg_baseline_cls.reporting.joint_results import SitesContent
from medimg_baseline_cls.reporting.page.headline import describe_task
from medimg_baseline_cls.reporting.page.metric_scales import Statistic, draw_scales
from medimg_baseline_cls.reporting.page.performance import show_estimate
from medimg_baseline_cls.reporting.page.pictures import list_figures
from medimg_baseline_cls.reporting.page.tables import Row, Table, arrange_tables
from medimg_baseline_cls.reporting.text.format import (
    UNDEFINED,
    capitalize,
    count_of,
    format_count,
    format_interval,
    format_score,
)

_COLUMNS = (
    *("Site", "Images", "Patients", "Prevalence", "AUROC", "AP", "Sensitivity", "Specificity"),
    *("Calibration intercept", "Calibration slope"),
)
_MAX_LARGE = 4
_USELESS_WIDTH = 0.9
_NOTES = (
    "Checkpoint, thresholds and recalibration are those of the run. TEST of the run is shown for "
    "comparison and is not pooled.",
    "The prediction interval contains the true value at another site like these with 95 % "
    "probability. It is wide where the sites are few, whatever they show.",
)
_TABLE_NOTES = (
    "Second lines: 95 % confidence intervals; whole patients were resampled, with the thresholds "
    "as they are. Those on the page of a site also contain the choice of the threshold on VAL.",
    "Intervals are given the number of positive patients of each site: that of the calibration "
    "intercept does not include that another sample has another prevalence.",
    "Calibration intercept: calibration in the large, that at a slope of 1; it is 0 and the slope "
    "is 1 where probabilities are calibrated.",
)
_POOLED_NOTES = (
    "Second lines: 95 % confidence intervals of the mean. Prediction intervals: 95 %.",
    "Random effects on the scale of the logit (restricted maximum likelihood), as Debray et al., "
    "BMJ 2017;356:i6460. The interval of the mean is the wider of that of Hartung and Knapp and "
    "that of the normal distribution. tau: standard deviation between sites, of logits. I²: share "
    "of the variance that is between sites.",
)


def describe_sites(content: SitesContent) -> dict[str, Any]:
    """Return what the template of joint results shows of several sites."""
    summary, number = content.summary, len(content.summary.external)
    (compared, pooled), notes = arrange_tables(
        [_tabulate_sites(content, name) for name in summary.classes], [_tabulate_pooled(summary)]
    )
    statistics = draw_scales(list(_list_statistics(summary)))
    alarms = [f"{site.name}: {alarm}" for site in summary.sites for alarm in site.alarms]
    return {
        "kicker": "External validation",
        "title": count_of(number, "site"),
        "name": summary.run,
        "lede": _describe(summary),
        "notes": _NOTES,
        "groups": [("Mean of the sites", list(statistics))] if statistics else [],
        "warnings": [*alarms, *summary.warnings],
        "runs_title": "Sites",
        "run_tables": compared,
        "metric_tables": pooled,
        "patient_tables": [],
        "metric_notes": notes,
        "figures": list_figures(content.figures)["evaluation"],
        "figures_title": "Figure",
        "figures_note": "",
        "has_settings": False,
        "environment": {},
    }


def _describe(summary: SitesSummary) -> str:
    """Return what was scored on what, in one sentence."""
    task = describe_task(summary, arch=summary.run)
    images, patients = (
        sum(getattr(site, name) for site in summary.external)
        for name in ("num_images", "num_patients")
    )
    others = count_of(len(summary.external), "other data set")
    return (
        f"{task}: scored as it is on {others}, {count_of(images, 'image')} of "
        f"{count_of(patients, 'patient')}; nothing was fitted or chosen on them."
    )


def _name(summary: SitesSummary, key: MetricKey) -> str:
    return name_metric(key, summary.target_sensitivity)


def _list_statistics(summary: SitesSummary) -> Iterator[Statistic]:
    """Yield the pooled metrics of one class, or the AUROC of several, where they are defined."""
    keys = [key for name in summary.classes for key in list_pooled(name, summary.rule)]
    if len(summary.classes) > 1:
        keys = [key for key in keys if key.rule is None]
    for key in [key for key in keys if summary.pooled[key].value is not None][:_MAX_LARGE]:
        pooled = summary.pooled[key]
        name = capitalize(_name(summary, key))
        values = [(site.name, site.look_up(key).value) for site in summary.external]
        yield Statistic(
            label=name if len(summary.classes) == 1 else f"{key.block}: {name}",
            text=format_score(pooled.value),
            detail=f"95 % CI {format_interval(pooled.bounds)}; {_say_prediction(pooled)}; "
            f"{len(pooled.sites)} sites",
            estimate=pooled,
            floor=0.5 if key.rule is None else None,
            values=tuple(
                (f"{site}: {format_score(value)}", value)
                for site, value in values
                if value is not None
            ),
        )


def _say_prediction(pooled: PooledMetric) -> str:
    """Return the prediction interval, unless it is nearly the whole range from 0 to 1."""
    lower, upper = pooled.prediction or (0.0, 1.0)
    if upper - lower > _USELESS_WIDTH:
        return "too few sites to predict the next one"
    return f"prediction interval {format_interval(pooled.prediction)}"


def _tabulate_sites(content: SitesContent, class_name: str) -> Table:
    """Return a line for each site: TEST of the run first, then the others, then their mean."""
    summary, rows = content.summary, list[Row]()
    keys = [MetricKey(class_name, None, metric) for metric in ("auroc", "average_precision")]
    keys += [MetricKey(class_name, summary.rule, metric) for metric in HEADLINE_DECISIONS]
    keys += [MetricKey(class_name, None, metric) for metric in CALIBRATION]
    for site in summary.sites:
        cells = (
            "TEST of the run\nnot pooled" if site.is_internal else site.name,
            format_count(site.num_images),
            format_count(site.num_patients),
            format_score(site.prevalence[class_name]),
            *(show_estimate(site.look_up(key)) for key in keys),
        )
        link = content.run_link if site.is_internal else content.links[site.name]
        is_first = not rows or site == summary.external[0]
        rows.append(Row(cells, "start" if is_first else "", link=link))
    means = [show_estimate(summary.pooled.get(key)) for key in keys[:-2]]
    means[1] = ""  # AP depends on the prevalence of each site
    rows.append(Row(("Mean of the sites", "", "", "", *means, "", ""), "total"))
    point = name_rule(summary.rule, summary.target_sensitivity)
    has_many, is_first = len(summary.classes) > 1, class_name == summary.classes[0]
    return Table(
        title=f"{class_name} positive, operating point {point}",
        header=_COLUMNS,
        rows=tuple(rows),
        notes=(*(_TABLE_NOTES if is_first else ()), *_list_reasons(summary, keys)),
        about=class_name if has_many else "",
    )


def _list_reasons(summary: SitesSummary, keys: list[MetricKey]) -> Iterator[str]:
    for site in summary.sites:
        for key in keys:
            if reason := site.look_up(key).reason:
                yield f"{site.name}, {key.metric.replace('_', ' ')}: {reason}."


def _tabulate_pooled(summary: SitesSummary) -> Table:
    """Return the random-effects summary of every class."""
    rows: list[Row] = []
    notes = list[str](_POOLED_NOTES)
    for name in summary.classes:
        for number, key in enumerate(list_pooled(name, summary.rule)):
            found, label = summary.pooled[key], capitalize(_name(summary, key))
            lead = (name if not number else "", label) if len(summary.classes) > 1 else (label,)
            rows.append(Row((*lead, *_show_pooled(found)), "" if number else "start"))
            where = f"{name}: {label}" if len(lead) > 1 else label
            if found.value is None:
                notes.append(f"{where}: no mean, because {found.reason}.")
            notes += [f"{where}, {site} left out: {why}." for site, why in found.left_out.items()]
    lead = ("Class", "Metric") if len(summary.classes) > 1 else ("Metric",)
    return Table(
        title="Mean of the sites",
        header=(*lead, "Sites", "Mean", "Prediction interval", "tau", "I²"),
        rows=tuple(rows),
        num_text=len(lead),
        notes=tuple(notes),
    )


def _show_pooled(found: PooledMetric) -> tuple[str, ...]:
    share = found.share_between
    return (
        str(len(found.sites)),
        show_estimate(found),
        format_interval(found.prediction) or UNDEFINED,
        format_score(found.between_deviation),
        UNDEFINED if share is None else f"{100 * share:.0f}\u00a0%",
    )
