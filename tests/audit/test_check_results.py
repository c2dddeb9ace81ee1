"""The worst finding decides, examples are few, and everything becomes plain JSON."""

import itertools
import json

import pytest

from medimg_baseline_cls.audit.check_results import (
    EXIT_STATUS,
    MAX_EXAMPLES,
    MAX_PATHS,
    VERDICTS,
    Check,
    Example,
    Finding,
    NumberTable,
    Verdict,
    list_examples,
    set_example,
    worst_verdict,
)


def make_finding(verdict: Verdict, name: str = "found") -> Finding:
    return Finding(name=name, verdict=verdict, count=2, what="things", advice="Mend them.")


@pytest.mark.parametrize("verdicts", list(itertools.permutations(VERDICTS, 3)))
def test_worst_verdict_is_the_last_in_the_order_wherever_it_stands(
    verdicts: tuple[Verdict, ...],
) -> None:
    order = ["ok", "note", "warning", "error"]
    assert order.index(worst_verdict(verdicts)) == max(map(order.index, verdicts))


def test_exit_status_is_that_of_the_contract() -> None:
    assert EXIT_STATUS == {"ok": 0, "note": 0, "warning": 1, "error": 3}


def test_check_without_findings_is_ok_and_takes_the_worst_otherwise() -> None:
    assert Check("files", "Files", "").verdict == "ok"
    found = (make_finding("note"), make_finding("error"), make_finding("warning"))
    assert Check("files", "Files", "", found).verdict == "error"


def test_worst_finding_comes_first_and_equals_keep_their_order() -> None:
    found = (
        make_finding("note", "a"),
        make_finding("error", "b"),
        make_finding("note", "c"),
        make_finding("warning", "d"),
    )
    check = Check("files", "Files", "", found)
    assert [f.name for f in check.ranked_findings] == ["b", "d", "a", "c"]
    assert [f["name"] for f in check.to_dict()["findings"]] == ["b", "d", "a", "c"]


def test_check_becomes_json_and_back() -> None:
    figures = NumberTable("AUROC", ("Property", "A"), (("mean", 0.7), ("width", None)))
    found = Finding(
        name="found",
        verdict="warning",
        count=1,
        what="things",
        advice="Mend them.",
        examples=(Example(("a.png", "b.png"), "alike", 3),),
    )
    content = json.loads(json.dumps(Check("x", "X", "Seen.", (found,), (figures,)).to_dict()))
    assert content["verdict"] == "warning"
    assert content["findings"][0]["examples"] == [
        {"paths": ["a.png", "b.png"], "text": "alike", "num_more": 3}
    ]
    assert content["figures"][0]["rows"] == [["mean", 0.7], ["width", None]]


def test_examples_are_cut_but_what_is_cut_is_counted() -> None:
    paths = [f"{i}.png" for i in range(30)]
    assert len(list_examples(paths)) == MAX_EXAMPLES
    example = set_example(paths, "alike")
    assert len(example.paths) == MAX_PATHS
    assert len(example.paths) + example.num_more == 30
    assert set_example(paths[:2]).num_more == 0
