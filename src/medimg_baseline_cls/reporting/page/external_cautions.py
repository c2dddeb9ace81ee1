"""What the first screen of an external evaluation warns of: probabilities that got worse."""

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.reporting.content import Json, RunContent, as_mapping
from medimg_baseline_cls.reporting.text.format import format_score

_OFF = 0.5  # of a logit: odds that are wrong by a factor of 1.6


def list_cautions(content: RunContent) -> list[str]:
    """Return what got clearly worse on the other data although AUROC may not show it."""
    cautions: list[str] = []
    blocks = as_mapping(content.external.get("differences"))
    measured = {} if content.calibration is None else content.calibration.splits.get("test", {})
    for name in filter(blocks.__contains__, content.class_names):
        metrics = as_mapping(as_mapping(blocks[name]).get("metrics"))
        offset, brier, auroc = (
            as_mapping(metrics.get(key)) for key in ("intercept_at_slope_1", "brier_score", "auroc")
        )
        found = measured.get(name)
        if found is not None and found.mean_probability > 0 and _is_off(offset):
            ratio = found.prevalence / found.mean_probability
            cautions.append(
                f"Probabilities of {name} are too {'high' if ratio < 1 else 'low'} on these data, "
                f"which AUROC does not show: their mean is {format_score(found.mean_probability)}, "
                f"the prevalence {format_score(found.prevalence)} (observed / expected "
                f"{ratio:.2f}). A change of the prevalence alone can do this."
            )
        elif _is_raised(brier) and not _is_below(auroc):
            cautions.append(
                f"The Brier score of {name} is {format_score(brier['external'])} on these data and "
                f"{format_score(brier['internal'])} on TEST of the run: probabilities are worse "
                "here, which AUROC does not show."
            )
    return cautions


def _is_off(offset: Json) -> bool:
    """Return whether calibration in the large is off, and clearly more than on TEST."""
    sides, gap = (offset.get("internal"), offset.get("external")), Estimate.from_json(offset)
    if None in sides or gap.bounds is None or gap.bounds[0] <= 0 <= gap.bounds[1]:
        return False
    internal, external = (abs(float(side)) for side in sides if side is not None)
    return external >= max(_OFF, internal)


def _is_raised(brier: Json) -> bool:
    bounds = Estimate.from_json(brier).bounds
    return bounds is not None and bounds[0] > 0 and brier["external"] >= 1.5 * brier["internal"]


def _is_below(auroc: Json) -> bool:
    bounds = Estimate.from_json(auroc).bounds
    return bounds is not None and bounds[1] < 0
