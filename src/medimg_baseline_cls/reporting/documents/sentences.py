"""Sentences for a manuscript: what was trained and tested on what, and how well it does."""

from collections.abc import Iterator

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.summaries import Average
from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.documents.methods import describe_selection
from medimg_baseline_cls.reporting.page.performance import class_block, list_rules, rule_name
from medimg_baseline_cls.reporting.text.format import count_of, format_count
from medimg_baseline_cls.reporting.text.measures import Measure, list_metrics, list_points
from medimg_baseline_cls.reporting.text.names import name_block, name_split
from medimg_baseline_cls.reporting.text.publication_format import format_proportion


def count_all(content: RunContent, images: int, *, groups: int) -> str:
    """Return a number of images, and of their patients where these are known."""
    of = f" of {count_of(groups, content.unit)}" if content.unit == "patient" else ""
    return f"{count_of(images, 'image')}{of}"


def describe_data(content: RunContent) -> str:
    """Return how many images of how many patients there are in which split; "" before a split."""
    if not content.split:
        return ""
    groups = len({row["group"] for row in content.split})
    parts = [
        f"{format_count(sum(row['split'] == split for row in content.split))} {name_split(split)}"
        for split in content.splits
    ]
    lead = f"{count_all(content, len(content.split), groups=groups)}: {', '.join(parts)}."
    if content.is_judged:
        return lead
    rejected = len(content.rejected)
    files = "file was" if rejected == 1 else "files were"
    volumes = f" Each image is a volume of {content.num_slices} slices." * bool(content.num_slices)
    return f"{lead}{volumes} {format_count(rejected)} {files} rejected."


def describe_performance(content: RunContent, *, has_all_points: bool = True) -> list[str]:
    """Return sentences with the metrics of TEST, or of VAL before TEST is scored.

    Classes without a positive one have their means here; each has its own rows in tables/.

    Args:
        content: the run.
        has_all_points: whether there is a sentence for each operating point, or for the
            chosen one alone.
    """
    split = next((s for s in ("test", "val") if s in content.summaries), None)
    if split is None:
        return []
    chosen = content.selection
    chosen = [f"The settings are {describe_selection(chosen)}."] if chosen else []
    metrics, points = list_metrics(content), list_points(content)
    owner = content.positive_class or name_block(Average.MACRO)
    shown = [m for m in metrics if m.owner == owner and m.key in ("auroc", "average_precision")]
    sentences = [f"On {_describe_split(content, split)}, {_join(shown, split)}."] if shown else []
    overall = [m for m in metrics if m.owner == name_block(Average.OVERALL)]
    if overall:
        sentences.append(f"For whole images, {_join(overall, split)}.")
    if content.positive_class is not None:
        described = list(_describe_points(content, points, split=split))
        sentences += described if has_all_points else described[:1]
    return [*sentences, *chosen]


def _describe_split(content: RunContent, split: str) -> str:
    summary = content.summaries[split]
    images = count_all(content, summary.num_images, groups=summary.num_groups)
    name = name_split(split)
    if content.external and split == "test":  # away from the page, TEST would be that of the run
        name = f"the external data set {content.external['name']}"
    text = f"{name} ({images}"
    if content.positive_class is None:
        return f"{text}; means over the classes)"
    block = class_block(content, split, class_name=content.positive_class)
    share = format_proportion(Estimate(value=block.prevalence))
    return f"{text}; {share} {content.positive_class})"


def _describe_points(content: RunContent, points: list[Measure], *, split: str) -> Iterator[str]:
    for name in [rule_name(content, rule) for rule in list_rules(content)]:
        mine = {m.key: m for m in points if m.rule == name and split in m.estimates}
        if "threshold" not in mine:
            continue
        threshold = mine["threshold"].print_short(split).split(" ")[0]
        keys = (key for key in ("sensitivity", "specificity", "ppv", "npv") if key in mine)
        shown = [mine[key] for key in keys if mine[key].estimates[split].value is not None]
        yield (
            f"At the operating point {name} (probability of {content.positive_class} at or above "
            f"{threshold}), {_join(shown, split)}."
        )


def _join(measures: list[Measure], split: str) -> str:
    texts = [f"{_in_text(m.name)} was {m.print_long(split)}" for m in measures]
    return ", and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


def _in_text(name: str) -> str:
    return name if name.isupper() else name[0].lower() + name[1:]
