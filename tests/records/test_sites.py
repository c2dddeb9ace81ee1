"""Sites and what is pooled over them as records: written, read back, the same bytes again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.records.samples import BOUNDS, ESTIMATES, INTERVALS, NUMBER, TEXT

from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.sites import PooledMetric, Site, SitesSummary, list_pooled
from medimg_baseline_cls.records.summaries import MetricKey

CLASSES = ("Effusion", "Mass")
AUROC = MetricKey("Mass", None, "auroc")
KEYS = [key for name in CLASSES for key in list_pooled(name, "max_f1")]
POOLED = st.one_of(
    st.builds(
        PooledMetric,
        value=NUMBER,
        interval=INTERVALS,
        prediction=BOUNDS,
        between_deviation=NUMBER,
        share_between=NUMBER,
        sites=st.tuples(TEXT, TEXT, TEXT),
        left_out=st.dictionaries(TEXT, TEXT, max_size=2),
    ),
    st.builds(PooledMetric, value=st.none(), reason=TEXT, left_out=st.just({"b": "undefined"})),
)
SITES = st.builds(
    Site,
    name=TEXT,
    is_internal=st.booleans(),
    num_images=st.integers(1, 9999),
    num_patients=st.integers(1, 9999),
    predictions_sha256=TEXT,
    prevalence=st.just({"Effusion": None, "Mass": 0.25}),
    estimates=st.fixed_dictionaries(dict.fromkeys(KEYS, ESTIMATES)),
    alarms=st.lists(TEXT, max_size=2).map(tuple),
)


def summary_of(sites: tuple[Site, ...], pooled: PooledMetric) -> SitesSummary:
    return SitesSummary(
        run="chest",
        task="multilabel",
        class_names=CLASSES,
        positive_class=None,
        classes=CLASSES,
        rule="max_f1",
        target_sensitivity=0.95,
        intervals={"num_resamples": 50},
        pooling={"level": 0.95},
        sites=sites,
        pooled=dict.fromkeys(KEYS, pooled),
        warnings=("Two sites share a file.",),
    )


@given(sites=st.lists(SITES, min_size=1, max_size=3), pooled=POOLED)
def test_what_is_written_is_read_back(sites: list[Site], pooled: PooledMetric) -> None:
    text = json.dumps(summary_of(tuple(sites), pooled).to_json())
    again = SitesSummary.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    assert again.pooled[AUROC].prediction == pooled.prediction
    assert [site.name for site in again.external] == [s.name for s in sites if not s.is_internal]


def test_a_metric_that_is_not_pooled_is_null_with_the_reason() -> None:
    content = PooledMetric(value=None, reason="too few", left_out={"b": "undefined"}).to_json()
    assert content == {
        "value": None,
        "reason": "too few",
        "prediction_interval": None,
        "tau": None,
        "i_squared": None,
        "sites": [],
        "left_out": {"b": "undefined"},
    }


def test_a_site_is_asked_for_an_estimate_that_it_does_not_have() -> None:
    site = Site(
        name="b",
        is_internal=False,
        num_images=1,
        num_patients=1,
        predictions_sha256="",
        prevalence={"Mass": None},
        estimates={AUROC: Estimate(value=0.5)},
    )
    assert site.look_up(AUROC).value == 0.5
    assert site.look_up(AUROC._replace(metric="ppv")).value is None


def test_a_file_that_lacks_a_key_is_not_read() -> None:
    content = summary_of((), PooledMetric(value=0.5)).to_json()
    del content["pooled"]
    with pytest.raises(KeyError, match="pooled"):
        SitesSummary.from_json(content)
