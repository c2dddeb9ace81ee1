"""Check the patients: in more than one split, with several labels, or in two spellings."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

from medimg_baseline_cls.audit.check_results import (
    MAX_EXAMPLES,
    Check,
    Example,
    Finding,
    Verdict,
    list_examples,
    set_example,
)
from medimg_baseline_cls.audit.images import AuditImages, paths_of_each
from medimg_baseline_cls.schema import ImageRecord
from medimg_baseline_cls.utils.quantities import say_count

Groups = dict[str, list[ImageRecord]]
Namer = Callable[[str], str]
_NUM_SHOWN = 5


def check_groups(images: AuditImages) -> Check:
    """Check the groups (patients) of the images."""
    groups = _gather(images.split.records)
    known = {name: held for name, held in groups.items() if not _is_lone(name, held)}
    call = images.name_group
    findings = [*_judge_sides(known, call), *_judge_spellings(known, call)]
    if not images.split.has_findings:
        findings += _judge_labels(known, call, num_classes=len(images.split.class_names))
    if not known:
        findings.append(
            Finding(
                name="no_groups",
                verdict="note",
                count=len(groups),
                what="images without a known patient",
                advice="Name the part of the file name that is the patient with --group-regex, or "
                "the column of a table: otherwise a patient may be in more than one split.",
            )
        )
    lone = [held[0].path for name, held in groups.items() if name not in known]
    if known and lone:
        findings.append(_judge_lone(lone))
    summary = _summarize(known, len(images.split.records))
    return Check("groups", "Patients", summary, tuple(findings))


def normalize_name(name: str) -> str:
    """Return a patient's name without differences of spelling: case, spaces, leading zeros.

    >>> normalize_name("Patient 007-A") == normalize_name("patient_7_a")
    True
    >>> normalize_name("patient 70") == normalize_name("patient 7")
    False
    """
    parts = re.findall(r"\d+|[^\W\d_]+", name.casefold())
    return "_".join(part.lstrip("0") or "0" if part.isdigit() else part for part in parts)


def _summarize(known: Groups, num_images: int) -> str:
    num_held = sum(map(len, known.values()))
    rest = num_images - num_held
    others = f"; {say_count(rest, 'images are')} of no known patient" if rest else ""
    held = say_count(num_held, "images")
    return f"{say_count(len(known), 'patients')} (groups) known by name, with {held}{others}."


def _gather(records: Sequence[ImageRecord]) -> Groups:
    groups: defaultdict[str, list[ImageRecord]] = defaultdict(list)
    for record in records:
        groups[record.group].append(record)
    return dict(groups)


def _is_lone(name: str, held: Sequence[ImageRecord]) -> bool:
    """Return whether a group is a single file, named by its path."""
    return len(held) == 1 and name == held[0].path


def _judge_sides(groups: Groups, call: Namer) -> Iterator[Finding]:
    shared = {n: held for n, held in groups.items() if len({r.split for r in held}) > 1}
    if shared:
        yield Finding(
            name="group_across_splits",
            verdict="error",
            count=len(shared),
            what="patients in more than one split",
            advice="Move all images of a patient to one split, or correct --group-regex if these "
            "names are not patients.",
            examples=_show(shared, "split", call=call),
        )


def _judge_labels(groups: Groups, call: Namer, *, num_classes: int) -> Iterator[Finding]:
    mixed = {n: held for n, held in groups.items() if len({r.label for r in held}) > 1}
    # With many classes (lesions, views) a patient often has several; with two, one may be wrong.
    verdict: Verdict = "warning" if num_classes == 2 else "note"
    if mixed:
        yield Finding(
            name="group_with_several_labels",
            verdict=verdict,
            count=len(mixed),
            what="patients with images of different classes",
            advice="Find out whether both labels are right (another day, another side).",
            examples=_show(mixed, "label", call=call),
        )


def _judge_spellings(groups: Groups, call: Namer) -> Iterator[Finding]:
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for name in groups:
        spellings[normalize_name(name)].append(name)
    several = [sorted(names) for names in spellings.values() if len(names) > 1]
    if several:
        yield Finding(
            name="group_with_two_spellings",
            verdict="warning",
            count=len(several),
            what="patients who may be the same in two spellings",
            advice="Use one spelling per patient, or make sure that they are two people.",
            examples=tuple(
                set_example(
                    [groups[n][0].path for n in names], " = ".join(map(call, names[:_NUM_SHOWN]))
                )
                for names in several[:MAX_EXAMPLES]
            ),
        )


def _judge_lone(paths: Sequence[str]) -> Finding:
    return Finding(
        name="some_without_patient",
        verdict="warning",
        count=len(paths),
        what="images without a known patient, while others have one",
        advice="Correct --group-regex, or the column of patients, so that these images have one "
        "too: each of them counts as a separate patient.",
        examples=list_examples(paths),
    )


def _show(groups: Groups, attribute: str, *, call: Namer) -> tuple[Example, ...]:
    """Return the first groups, with one image of each split or label first."""
    examples: list[Example] = []
    for group, held in list(groups.items())[:MAX_EXAMPLES]:
        values = dict.fromkeys(getattr(record, attribute) for record in held)
        paths = paths_of_each(held, attrgetter(attribute))
        examples.append(set_example(paths, f"{call(group)}: {', '.join(values)}"))
    return tuple(examples)
