"""Check the labels: missing, rare and misspelled classes, and shares that differ by split."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from medimg_baseline_cls.audit.check_results import Check, Example, Finding, NumberTable, Verdict
from medimg_baseline_cls.audit.images import AuditImages, class_truths
from medimg_baseline_cls.schema import SPLIT_NAMES, Split

FEW_IMAGES = 10
LARGE_DIFFERENCE = 0.1

Counts = dict[str, dict[str, tuple[int, int]]]  # split -> class -> (positive, known)


def check_labels(images: AuditImages) -> Check:
    """Check how many images each class has in each split."""
    split = images.split
    counts = count_classes(split)
    findings = [
        *_judge_classes(split, counts),
        *_judge_names(split),
        *_judge_counts(split, counts),
        *_judge_prevalence(split, counts),
    ]
    summary = f"{len(split.class_names)} classes, task {split.task}, in {_join(list(counts))}."
    return Check("labels", "Labels", summary, tuple(findings), (_tabulate(split, counts),))


def count_classes(split: Split) -> Counts:
    """Return, for each split and class, the number of positive and of known images."""
    truths = class_truths(split)
    sides = [record.split for record in split.records]
    order = {name: place for place, name in enumerate(SPLIT_NAMES)}
    counts: Counts = {}
    for side in sorted(set(sides), key=lambda name: order.get(name, len(order))):
        is_here = [name == side for name in sides]
        counts[side] = {
            name: (int((truth & known)[is_here].sum()), int(known[is_here].sum()))
            for name, (truth, known) in truths.items()
        }
    return counts


def _join(sides: list[str]) -> str:
    """Return the names of the splits in words.

    >>> _join(["train", "val", "test"]), _join([""])
    ('train, val and test', 'all images')
    """
    named = [side or "all images" for side in sides]
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1]))) if named else "no image"


def _judge_classes(split: Split, counts: Counts) -> Iterator[Finding]:
    totals = {n: sum(side[n][0] for side in counts.values()) for n in split.class_names}
    filled = [name for name, total in totals.items() if total]
    if len(filled) < 2 and not split.has_findings:
        yield _finding(
            "one_class",
            "error",
            what=f"class with images ({', '.join(filled) or 'none'}), where two are needed",
            advice="Add images of another class.",
            names=filled,
        )
    empty = [name for name in split.class_names if totals[name] == 0]
    if empty:
        yield _finding(
            "empty_class",
            "error",
            what="classes without any image",
            advice="Add images, or leave the class out with --class-names.",
            names=empty,
        )
    trained = counts.get("train")
    others = {n for s, held in counts.items() if s != "train" for n in held if held[n][0]}
    unseen = [n for n in split.class_names if trained and n in others and trained[n][0] == 0]
    if unseen:
        yield _finding(
            "unseen_class",
            "error",
            what="classes of val or test that are missing in train",
            advice="Add images of them to train, or leave the class out with --class-names.",
            names=unseen,
        )


def _judge_names(split: Split) -> Iterator[Finding]:
    padded = [name for name in split.class_names if name != name.strip()]
    if padded:
        yield _finding(
            "label_with_spaces",
            "warning",
            what="class names that begin or end with a space",
            advice="Rename them.",
            names=[repr(name) for name in padded],
        )
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for name in split.class_names:
        spellings[" ".join(name.casefold().replace("_", " ").split())].append(name)
    twins = [names for names in spellings.values() if len(names) > 1]
    if twins:
        yield _finding(
            "label_with_two_spellings",
            "warning",
            what="classes that may be the same in two spellings",
            advice="Use one spelling per class.",
            names=[" = ".join(map(repr, names)) for names in twins],
        )


def _judge_counts(split: Split, counts: Counts) -> Iterator[Finding]:
    few = [
        f"{(side or 'all').upper()} {name} {held[name][0]}"
        for side, held in counts.items()
        for name in split.class_names
        if held[name][0] < FEW_IMAGES and any(other[name][0] for other in counts.values())
    ]
    if few:
        yield _finding(
            "few_images",
            "warning",
            what=f"pairs of class and split with fewer than {FEW_IMAGES} images",
            advice="Add images: metrics and thresholds from so few mean little.",
            names=few,
        )


def _judge_prevalence(split: Split, counts: Counts) -> Iterator[Finding]:
    trained = counts.get("train", {})
    other = [
        f"{name}: {share:.0%} in {side}, {before:.0%} in train"
        for side, held in counts.items()
        for name in split.class_names
        if side == "test"
        and (share := _share(held[name])) is not None
        and (before := _share(trained.get(name, (0, 0)))) is not None
        and abs(share - before) > LARGE_DIFFERENCE
    ]
    if other:
        yield _finding(
            "prevalence_differs",
            "warning",
            what="classes whose share in test differs from that in train by more than 0.1",
            advice="Report the shares: thresholds, PPV, NPV and AP depend on the share they were "
            "computed at.",
            names=other,
        )


def _tabulate(split: Split, counts: Counts) -> NumberTable:
    groups = Counter((r.split, r.group) for r in split.records)
    rows = [
        (
            side or "all",
            sum(record.split == side for record in split.records),
            sum(key[0] == side for key in groups),
            *(_describe(held[name]) for name in split.class_names),
        )
        for side, held in counts.items()
    ]
    header = ("Split", "Images", "Patients", *split.class_names)
    return NumberTable("Images of each class", header, tuple(rows))


def _describe(count: tuple[int, int]) -> str:
    share = _share(count)
    return "0" if share is None else f"{count[0]} ({100 * share:.1f} %)"


def _share(count: tuple[int, int]) -> float | None:
    positive, known = count
    return positive / known if known else None


def _finding(name: str, verdict: Verdict, *, what: str, advice: str, names: list[str]) -> Finding:
    return Finding(
        name=name,
        verdict=verdict,
        count=len(names),
        what=what,
        advice=advice,
        examples=tuple(Example((), text) for text in names),
    )
