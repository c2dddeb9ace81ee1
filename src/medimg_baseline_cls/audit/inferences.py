"""List what was concluded without a setting; warn of doubtful conclusions and of refusals."""

from collections.abc import Sequence

from medimg_baseline_cls.audit.check_results import Check, Finding, NumberTable
from medimg_baseline_cls.schema import Inference
from medimg_baseline_cls.utils.quantities import say_count


def check_refusals(refusals: Sequence[str]) -> Check:
    """Check whether training would start: each refusal is an error."""
    findings = [
        Finding(
            name="refused",
            verdict="error",
            count=1,
            what=f"`medimg run` stops: {text}",
            advice="",
        )
        for text in refusals
    ]
    summary = "`medimg run` would not start with these settings."
    return Check("training", "Training", summary, tuple(findings))


def check_inferences(inferences: Sequence[Inference]) -> Check:
    """List all inferences; those with a warning are findings."""
    findings = [
        Finding(
            name=item.topic.replace(" ", "_"),
            verdict="warning",
            count=1,
            what=item.warning,
            advice=f"To change it: {item.flag}." if item.flag else "",
        )
        for item in inferences
        if item.warning
    ]
    rows = tuple((i.topic, i.found, i.certainty, i.reason, i.flag) for i in inferences)
    header = ("what", "found", "how sure", "from", "to change it")
    table = NumberTable("Inferred from the data", header, rows, num_text=5)
    num_unsure = sum(item.certainty in ("guess", "unknown") for item in inferences)
    count = say_count(len(inferences), "inferences")
    summary = f"{count} from names, tables and headers; {num_unsure} not sure."
    return Check("inferences", "Inferred", summary, tuple(findings), (table,))
