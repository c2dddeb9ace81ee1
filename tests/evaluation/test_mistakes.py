"""Mistakes are wrong, ranked by confidence, and complete up to the asked number."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.evaluation.mistakes import mine_mistakes, read_mistakes, write_mistakes
from medimg_baseline_cls.evaluation.operating_points import choose_thresholds
from medimg_baseline_cls.schema import Predictions, Threshold

MakePredictions = Callable[..., Predictions]


def at(value: float, class_name: str = "PNEUMONIA") -> dict[str, tuple[Threshold, ...]]:
    point = Threshold(rule="default", value=value, description="", class_name=class_name)
    return {class_name: (point,)}


def test_hand_worked_list(binary: MakePredictions) -> None:
    truth = [True, True, True, False, False, False]
    scores = [0.1, 0.3, 0.5, 0.5, 0.9, 0.4]
    found = mine_mistakes(binary("test", truth, scores), at(0.5), num_hard_examples=9)
    listed = [(m.kind, m.rank, m.image_id[-7:-4], m.probability) for m in found]
    assert listed == [
        ("FP", 1, "004", 0.9),
        ("FP", 2, "003", 0.5),
        ("FN", 1, "000", 0.1),
        ("FN", 2, "001", 0.3),
    ]
    assert [m.margin for m in found] == pytest.approx([0.4, 0.0, 0.4, 0.2])
    assert {m.split for m in found} == {"test"}


def test_mistakes_are_wrong_and_the_worst(draw: MakePredictions) -> None:
    names = ("a", "b", "c")
    val, other = draw("val", class_names=names), draw("test", class_names=names, num_images=200)
    thresholds = choose_thresholds(val, classes=names, target_sensitivity=0.9)
    found = mine_mistakes(other, thresholds, num_hard_examples=3)
    label_of = dict(zip(other.image_ids, other.labels.tolist(), strict=True))
    for name, points in thresholds.items():
        for point in points:
            for kind in ("FP", "FN"):
                mine = [
                    m for m in found if (m.class_name, m.rule, m.kind) == (name, point.rule, kind)
                ]
                truth, scores = other.truth(name), other.scores(name)
                call = scores >= point.value
                wrong = (call & ~truth) if kind == "FP" else (~call & truth)
                assert len(mine) == min(3, wrong.sum())
                assert [m.rank for m in mine] == list(range(1, len(mine) + 1))
                assert all(
                    (label_of[m.image_id] == names.index(name)) == (kind == "FN") for m in mine
                )
                margins = sorted(abs(scores[wrong] - point.value), reverse=True)
                assert [m.margin for m in mine] == pytest.approx(margins[: len(mine)])


def test_ties_are_ordered_by_image(binary: MakePredictions) -> None:
    found = mine_mistakes(binary("test", [False] * 5, [0.7] * 5), at(0.5), num_hard_examples=3)
    assert [m.image_id[-7:-4] for m in found] == ["000", "001", "002"]


@pytest.mark.parametrize("number", [0, 1])
def test_number_is_kept(binary: MakePredictions, number: int) -> None:
    predictions = binary("test", [False, False, True, True], [0.7, 0.8, 0.1, 0.2])
    assert len(mine_mistakes(predictions, at(0.5), num_hard_examples=number)) == 2 * number


def test_a_negative_number_is_refused(val: Predictions) -> None:
    with pytest.raises(ConfigError, match="num_hard_examples"):
        mine_mistakes(val, at(0.5), num_hard_examples=-1)


def test_mistakes_read_back_unchanged(tmp_path: Path, held_out: Predictions) -> None:
    found = mine_mistakes(held_out, at(1 / 3), num_hard_examples=5)
    assert found
    path = tmp_path / "mistakes.csv"
    write_mistakes(path, found)
    assert read_mistakes(path) == found
    path.write_text(path.read_text().replace(",FP,", ",TP,"))
    with pytest.raises(RunError, match="TP"):
        read_mistakes(path)


def test_no_mistake_is_a_header_alone(tmp_path: Path) -> None:
    write_mistakes(tmp_path / "mistakes.csv", ())
    assert read_mistakes(tmp_path / "mistakes.csv") == ()
    header = "split,rule,class,kind,rank,image_id,probability,margin\n"
    assert (tmp_path / "mistakes.csv").read_text() == header


def test_mistakes_are_ranked_among_known_images(findings: MakePredictions) -> None:
    val, other = findings("val"), findings("test")
    thresholds = choose_thresholds(val, classes=val.class_names, target_sensitivity=0.9)
    mistakes = mine_mistakes(other, thresholds, num_hard_examples=1000)
    for k, name in enumerate(other.class_names):
        for point in thresholds[name]:
            call = other.probabilities[:, k] >= point.value
            for kind, wrong in (("FP", call & (other.labels[:, k] == 0)),
                                ("FN", ~call & (other.labels[:, k] == 1))):  # fmt: skip
                ids = {m.image_id for m in mistakes
                       if (m.class_name, m.rule, m.kind) == (name, point.rule, kind)}  # fmt: skip
                assert ids == {other.image_ids[i] for i in np.flatnonzero(wrong)}
