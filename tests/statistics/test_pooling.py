"""Random effects over sites: published values, simulations, and what cannot be pooled."""

import numpy as np
import pytest
from scipy.special import expit, logit

from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.statistics.pooling import logit_errors, pool_sites

# The BCG trials of Colditz et al., JAMA 1994: cases and others, vaccinated and not.
BCG = np.array([
    (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619),
    (33, 5036, 47, 5761), (180, 1361, 372, 1079), (8, 2537, 10, 619),
    (505, 87886, 499, 87892), (29, 7470, 45, 7232), (17, 1699, 65, 1600),
    (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825),
])  # fmt: skip


def test_the_bcg_trials_have_the_published_mean_and_variance() -> None:
    cases, others, controls, rest = BCG.T.astype(float)
    ratios = np.log(cases / (cases + others)) - np.log(controls / (controls + rest))
    variances = 1 / cases - 1 / (cases + others) + 1 / controls - 1 / (controls + rest)
    pooled = pool_sites(ratios.tolist(), errors=np.sqrt(variances).tolist())
    # R's metafor 4, rma(measure="RR", method="REML"): the worked example of its manual.
    assert pooled.mean == pytest.approx(-0.7145, abs=5e-5)
    assert pooled.between_deviation**2 == pytest.approx(0.3132, abs=5e-5)
    assert pooled.share_between == pytest.approx(0.9222, abs=5e-5)


def test_equal_sites_have_no_variance_between_them_and_the_normal_interval() -> None:
    pooled = pool_sites([0.7] * 5, errors=[0.2] * 5)
    assert pooled.between_deviation == 0 and pooled.share_between == 0
    assert pooled.confidence == pytest.approx((0.7 - 0.1753, 0.7 + 0.1753), abs=1e-4)
    assert pooled.prediction[0] < pooled.confidence[0]


def test_the_intervals_contain_the_mean_and_the_next_site_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    hits = np.zeros(2)
    for _ in range(600):
        errors = random.uniform(0.1, 0.4, 8)
        *truths, following = random.normal(1.0, 0.5, 9)
        pooled = pool_sites(random.normal(truths, errors).tolist(), errors=errors.tolist())
        for place, wanted in enumerate((1.0, following)):
            low, high = (pooled.confidence, pooled.prediction)[place]
            hits[place] += low <= wanted <= high
    # Of few sites the prediction interval is known to be a little short (Partlett & Riley 2017).
    assert (hits / 600 > 0.9).all() and (hits / 600 < 0.98).all()


def test_the_error_of_a_logit_is_read_from_its_interval() -> None:
    center, error = logit(0.93), 0.31
    ends = expit(center - 1.959964 * error), expit(center + 1.959964 * error)
    assert logit_errors([ends])[0] == pytest.approx(error, rel=1e-6)
    assert np.isinf(logit_errors([(0.9, 1.0)])[0])


UNUSABLE = {
    "two sites": ([1.0, 2.0], [1.0, 1.0]),
    "no error": ([1.0, 2.0, 3.0], [1.0, 0.0, 1.0]),
    "an error too few": ([1.0] * 3, [1.0] * 2),
    "an unknown estimate": ([1.0, np.nan, 2.0], [1.0] * 3),
    "no limit": ([1.0] * 3, [1.0, np.inf, 1.0]),
}


@pytest.mark.parametrize(("estimates", "errors"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_pooled_is_refused(estimates: list[float], errors: list[float]) -> None:
    with pytest.raises(DataError, match="Pooling needs"):
        pool_sites(estimates, errors=errors)
