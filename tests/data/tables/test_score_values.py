"""Cells of scores become probabilities, as SciPy has them, or a sentence with what they are."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, softmax

from medimg_baseline_cls.data.tables.score_values import (
    SUM_TOLERANCE,
    look_exclusive,
    read_numbers,
    to_probabilities,
)
from medimg_baseline_cls.errors import DataError

Scores = NDArray[np.float64]


def where(row: int) -> str:
    return f"row {row + 2}"


def convert(
    scores: list[list[float]], *, are_logits: bool = False, are_exclusive: bool = True
) -> Scores:
    return to_probabilities(
        np.array(scores), are_logits=are_logits, are_exclusive=are_exclusive, where=where
    )


@pytest.fixture
def logits() -> Scores:
    random = np.random.default_rng(8)
    return random.normal(scale=30, size=(200, 4))


def test_numbers_read_back_to_the_same_float() -> None:
    values = np.random.default_rng(1).random(500)
    texts = [repr(float(value)) for value in values]
    assert read_numbers(texts, "p", where=where).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0.5", 0.5),
        (" 0.5 ", 0.5),
        ("5e-1", 0.5),
        (".5", 0.5),
        ("0,5", 0.5),
        ("1", 1.0),
        ("-3,25", -3.25),
    ],
)
def test_a_number_may_be_written_in_several_ways(cell: str, value: float) -> None:
    assert read_numbers(["0.1", cell], "p", where=where)[1] == value


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "row 3: p is blank"),
        ("NA", "row 3: p is 'NA'"),
        ("nan", "row 3: p is 'nan'"),
        ("-inf", "row 3: p is '-inf'"),
        ("1,234", "row 3: p is '1,234'"),
        ("high", "row 3: p is 'high'"),
        ("35 %", "row 3: p is 35 %, a percentage"),
    ],
)
def test_a_cell_that_is_not_a_number_is_named_with_its_row(cell: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_numbers(["0.1", cell, "0.3"], "p", where=where)


def test_the_number_of_such_rows_is_given() -> None:
    with pytest.raises(DataError, match="3 of 4 rows"):
        read_numbers(["0.1", "nan", "nan", ""], "p", where=where)


def test_classes_get_the_softmax_of_scipy(logits: Scores) -> None:
    found = to_probabilities(logits, are_logits=True, are_exclusive=True, where=where)
    assert found == pytest.approx(softmax(logits, axis=1), abs=1e-15)
    assert look_exclusive(found)


def test_findings_and_a_lone_column_get_the_sigmoid_of_scipy(logits: Scores) -> None:
    found = to_probabilities(logits, are_logits=True, are_exclusive=False, where=where)
    assert found == pytest.approx(expit(logits), abs=1e-15)
    lone = to_probabilities(logits[:, :1], are_logits=True, are_exclusive=True, where=where)
    assert lone == pytest.approx(expit(logits[:, :1]), abs=1e-15)


def test_large_logits_do_not_overflow() -> None:
    assert convert([[1e4, -1e4]], are_logits=True).tolist() == [[1.0, 0.0]]
    found = convert([[1e4, -1e4]], are_logits=True, are_exclusive=False)
    assert found.tolist() == [[1.0, 0.0]]


def test_the_order_of_scores_is_that_of_their_logits(logits: Scores) -> None:
    small = logits / 30
    found = to_probabilities(small, are_logits=True, are_exclusive=False, where=where)
    assert (np.argsort(found, axis=0) == np.argsort(small, axis=0)).all()


def test_probabilities_are_kept_bit_for_bit() -> None:
    scores = np.random.default_rng(2).dirichlet(np.ones(3), size=50)
    found = to_probabilities(scores, are_logits=False, are_exclusive=True, where=where)
    assert found.tolist() == scores.tolist()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[0.5, 0.5], [-0.1, 1.1]], r"row 3: a score is -0\.1, .*--logits"),
        ([[0.5, 0.5], [1.5, 0.5]], r"row 3: a score is 1\.5, .*--logits"),
        ([[50, 50], [99, 1]], "row 2: a score is 50, .*percentages"),
        ([[50, 50], [200, 1]], "row 2: a score is 50, .*--logits"),
        ([[0.5, 0.5], [0.5, 0.3]], r"row 3: .* add up to 0\.8, not to 1 \(1 of 2 rows\)"),
        ([[0.5, 0.6], [0.5, 0.6]], r"row 2: .* add up to 1\.1, not to 1 \(2 of 2 rows\)"),
    ],
)
def test_scores_of_classes_that_are_not_probabilities_are_refused(
    scores: list[list[float]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        convert(scores)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[0.5, 0.9], [3.0, 0.1]], "row 3: a score is 3, .*--logits"),
        ([[5, 95], [80, 70]], "row 2: a score is 5, .*percentages"),
    ],
)
def test_scores_of_findings_need_not_add_up_but_lie_between_0_and_1(
    scores: list[list[float]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        convert(scores, are_exclusive=False)
    assert convert([[0.5, 0.9], [0.1, 0.1]], are_exclusive=False).sum() == pytest.approx(1.6)


def test_a_sum_may_be_off_by_rounding_alone() -> None:
    inside, outside = 0.5 + 0.9 * SUM_TOLERANCE, 0.5 + 1.1 * SUM_TOLERANCE
    assert look_exclusive(np.array([[0.5, inside]]))
    assert not look_exclusive(np.array([[0.5, 0.5], [0.5, outside]]))
    convert([[0.5, inside]])
    with pytest.raises(DataError, match="not to 1"):
        convert([[0.5, outside]])
