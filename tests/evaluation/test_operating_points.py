"""The chosen thresholds against an exhaustive search, and TEST kept out."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_curve, recall_score
from tests.conftest import known_of

from medimg_baseline_cls.errors import ConfigError, DataError, RunError
from medimg_baseline_cls.evaluation.operating_points import (
    choose_thresholds,
    read_thresholds,
    write_thresholds,
)
from medimg_baseline_cls.evaluation.prediction_files import read_predictions, write_predictions
from medimg_baseline_cls.schema import Predictions, Threshold
from medimg_baseline_cls.utils.files import sha256_file

CLASSES = ("PNEUMONIA",)
SCORE = st.one_of(
    st.sampled_from((0.0, 1e-300, 1 / 3, 0.5, 1 - 2**-53, 1.0)),
    st.integers(0, 6).map(lambda k: k / 6),
    st.floats(0, 1),
)
ROWS = st.lists(st.tuples(st.booleans(), SCORE), min_size=1, max_size=30)
MakePredictions = Callable[..., Predictions]
quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def by_rule(points: tuple[Threshold, ...]) -> dict[str, float]:
    return {point.rule: point.value for point in points}


def choose(val: Predictions, target: float = 0.95) -> dict[str, float]:
    return by_rule(choose_thresholds(val, classes=CLASSES, target_sensitivity=target)["PNEUMONIA"])


@quick
@given(rows=ROWS, target=st.sampled_from((0.05, 0.5, 0.55, 0.9, 0.95, 1.0)))
def test_thresholds_are_those_of_an_exhaustive_search(
    binary: MakePredictions, rows: list[tuple[bool, float]], target: float
) -> None:
    truth, scores = np.array([t for t, _ in rows]), np.array([s for _, s in rows])
    chosen = choose(binary("val", truth.tolist(), scores.tolist()), target)
    assert chosen["default"] == 0.5
    if not truth.any():
        assert set(chosen) == {"default"}
        return
    candidates = sorted(set(scores.tolist()), reverse=True)
    f1_scores = [f1_score(truth, scores >= t, zero_division=0) for t in candidates]
    assert f1_score(truth, scores >= chosen["max_f1"]) == pytest.approx(max(f1_scores))
    higher = [f for f, t in zip(f1_scores, candidates, strict=True) if t > chosen["max_f1"]]
    assert all(f < max(f1_scores) - 1e-12 for f in higher), "of equals the highest"
    reaching = [t for t in candidates if recall_score(truth, scores >= t) >= target]
    assert chosen["target_sensitivity"] == max(reaching)


def test_max_f1_is_that_of_the_precision_recall_curve(val: Predictions) -> None:
    truth, scores = val.truth("PNEUMONIA"), val.scores("PNEUMONIA")
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    f1_scores = 2 * precision * recall / (precision + recall)
    assert choose(val)["max_f1"] == thresholds[np.argmax(f1_scores[:-1])]


@pytest.mark.parametrize(("share", "count"), [(0.55, 55), (0.95, 95), (0.29, 29), (0.57, 57)])
def test_a_share_that_is_just_reached_counts(
    binary: MakePredictions, share: float, count: int
) -> None:
    scores = [i / 200 for i in range(100, 0, -1)]
    chosen = choose(binary("val", [True] * 100, scores), share)
    assert sum(s >= chosen["target_sensitivity"] for s in scores) == count


def test_images_at_the_threshold_are_positive_after_the_file(
    tmp_path: Path, binary: MakePredictions
) -> None:
    edge = 0.1 + 0.2  # no short decimal
    original = binary("val", [True, True, False], [edge, 0.9, np.nextafter(edge, 0)])
    write_predictions(tmp_path / "p.csv", original)
    val = read_predictions(tmp_path / "p.csv", split="val")
    thresholds = choose_thresholds(val, classes=CLASSES, target_sensitivity=1.0)
    write_thresholds(
        tmp_path / "t.json",
        thresholds,
        positive_class="PNEUMONIA",
        predictions_sha256=sha256_file(tmp_path / "p.csv"),
        checkpoint_sha256="0" * 64,
    )
    read = by_rule(read_thresholds(tmp_path / "t.json")["PNEUMONIA"])
    assert read["target_sensitivity"] == read["max_f1"] == edge
    assert (val.scores("PNEUMONIA") >= read["max_f1"]).tolist() == [True, True, False]


@pytest.mark.parametrize("split", ["test", "train", "new", "VAL", ""])
def test_no_other_split_reaches_the_chooser(val: Predictions, split: str) -> None:
    with pytest.raises(DataError, match="only on VAL"):
        choose(replace(val, split=split))


def test_each_class_of_many_has_its_own_thresholds(draw: MakePredictions) -> None:
    val = draw("val", class_names=("a", "b", "c"))
    thresholds = choose_thresholds(val, classes=val.class_names, target_sensitivity=0.9)
    assert list(thresholds) == ["a", "b", "c"]
    for name, points in thresholds.items():
        assert [p.rule for p in points] == ["max_f1", "target_sensitivity", "default"]
        assert {p.class_name for p in points} == {name}
        assert points[0].num_positive == int((val.labels == val.class_names.index(name)).sum())
        assert points[0].num_positive + points[0].num_negative == len(val.labels)


def test_thresholds_read_back_unchanged(tmp_path: Path, draw: MakePredictions) -> None:
    val = draw("val", class_names=("a", "b", "c"))
    write_predictions(tmp_path / "p.csv", val)
    thresholds = choose_thresholds(val, classes=val.class_names, target_sensitivity=0.9)
    digest = sha256_file(tmp_path / "p.csv")
    path = tmp_path / "thresholds.json"
    write_thresholds(
        path,
        thresholds,
        positive_class=None,
        predictions_sha256=digest,
        checkpoint_sha256="ab" * 32,
    )
    assert read_thresholds(path, predictions_val=tmp_path / "p.csv") == thresholds
    content = json.loads(path.read_text())
    assert content["score_space"] == "probability"
    assert content["predictions_val_sha256"] == digest
    assert content["checkpoint_sha256"] == "ab" * 32
    assert "0.9" in content["classes"]["a"]["target_sensitivity"]["rule"]
    with (tmp_path / "p.csv").open("a") as file:
        file.write("more\n")
    with pytest.raises(RunError, match="changed afterwards"):
        read_thresholds(path, predictions_val=tmp_path / "p.csv")


def test_garbled_thresholds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    for text in ("[]", "{}", '{"score_space": "p", "predictions_val_sha256": "", "classes": 3}'):
        path.write_text(text)
        with pytest.raises(RunError, match="not as it was written|does not contain a JSON object"):
            read_thresholds(path)


@pytest.mark.parametrize("target", [0.0, -1.0, 1.01, float("nan")])
def test_a_target_that_is_no_share_is_refused(val: Predictions, target: float) -> None:
    with pytest.raises(ConfigError, match="target_sensitivity"):
        choose(val, target)


def test_unknown_classes_and_unlabeled_images_are_refused(val: Predictions) -> None:
    with pytest.raises(DataError, match="COVID"):
        choose_thresholds(val, classes=("COVID",), target_sensitivity=0.9)
    with pytest.raises(DataError, match="reference standard"):
        choose(replace(val, labels=np.full_like(val.labels, -1)))
    empty = replace(val, labels=val.labels[:0], probabilities=val.probabilities[:0])
    with pytest.raises(DataError, match="reference standard"):
        choose(empty)


def test_the_target_stands_with_the_threshold_that_it_chose(
    tmp_path: Path, val: Predictions
) -> None:
    chosen = choose_thresholds(val, classes=["PNEUMONIA"], target_sensitivity=0.9)
    assert {p.rule: p.target for p in chosen["PNEUMONIA"]} == {
        "max_f1": None,
        "target_sensitivity": 0.9,
        "default": None,
    }
    path = tmp_path / "thresholds.json"
    write_thresholds(
        path,
        chosen,
        positive_class="PNEUMONIA",
        predictions_sha256="0" * 64,
        checkpoint_sha256="1" * 64,
    )
    assert read_thresholds(path) == chosen


def test_thresholds_see_known_images_alone(findings: MakePredictions) -> None:
    val = findings("val")
    points = choose_thresholds(val, classes=val.class_names, target_sensitivity=0.9)
    for k, name in enumerate(val.class_names):
        truth, scores = known_of(val, k)
        best = max(f1_score(truth, scores >= cut) for cut in scores)
        max_f1, target, _ = points[name]
        assert f1_score(truth, scores >= max_f1.value) == pytest.approx(best)
        assert recall_score(truth, scores >= target.value) >= 0.9
        above = scores[scores > target.value]
        assert all(recall_score(truth, scores >= cut) < 0.9 for cut in above)
        assert (max_f1.num_positive, max_f1.num_negative) == (truth.sum(), (truth == 0).sum())
