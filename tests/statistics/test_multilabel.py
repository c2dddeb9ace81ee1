"""Validation scores of several findings are scikit-learn's, of the known pairs alone."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as oracle
from tests.conftest import known_of, with_column

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.statistics.multilabel import finding_validation_scores

MakePredictions = Callable[..., Predictions]


def test_validation_scores_are_those_of_the_known_pairs(findings: MakePredictions) -> None:
    val = with_column(findings("val"), 1, 0)
    found = finding_validation_scores(val.labels, val.probabilities)
    columns = [known_of(val, k) for k in (0, 2)]
    aps = [oracle.average_precision_score(*column) for column in columns]
    assert found.average_precision == pytest.approx(np.mean(aps))
    assert found.auroc == pytest.approx(np.mean([oracle.roc_auc_score(*c) for c in columns]))
    known = val.labels >= 0
    log_loss = oracle.log_loss(val.labels[known], val.probabilities[known])
    assert found.log_loss == pytest.approx(log_loss)


def test_validation_without_a_known_pair_is_refused(findings: MakePredictions) -> None:
    val = findings("val")
    with pytest.raises(DataError, match="0 known"):
        finding_validation_scores(np.full_like(val.labels, -1), val.probabilities)
