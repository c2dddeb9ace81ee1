"""What updates would gain, written and read again, is the same."""

import json

from medimg_baseline_cls.records.estimates import Estimate, Interval
from medimg_baseline_cls.records.updating import (
    ClassUpdating,
    EventsNeeded,
    Fitted,
    Gain,
    Sizes,
    UpdatedModel,
    UpdatingSummary,
)

GAIN = Gain(
    value=-0.02,
    interval=Interval(bounds=(-0.03, -0.01), method="bootstrap"),
    locked=Estimate(value=0.12, interval=Interval(bounds=(0.1, 0.2), method="bootstrap")),
    updated=Estimate(value=0.10),
)
FITTED = Fitted(locked=0.0, estimate=Estimate(value=-1.2), folds=(-1.1, -1.3))
SUMMARY = UpdatingSummary(
    num_folds=2,
    intervals={"level": 0.95, "stratified_by": None},
    classes={
        "ILL": ClassUpdating(
            sizes=Sizes(num_images=40, num_patients=30, num_positive=12),
            fitting_parts=(Sizes(num_images=20, num_patients=15, num_positive=6),) * 2,
            updates={
                "intercept": UpdatedModel(
                    fitted={"intercept": FITTED},
                    metrics={"brier_score": GAIN},
                    operating_points={"max_f1": {"sensitivity": GAIN}},
                ),
                "intercept_and_slope": UpdatedModel(reason="no line"),
            },
            needed=(
                EventsNeeded(
                    metric="auroc", value=0.8, width=0.1, num_images=400, num_positive=120
                ),
            ),
        ),
        "RARE": ClassUpdating(
            sizes=Sizes(num_images=40, num_patients=30, num_positive=1), reason="too few"
        ),
    },
)


def test_a_summary_is_read_as_it_was_written() -> None:
    text = json.dumps(SUMMARY.to_json(), allow_nan=False)
    found = UpdatingSummary.from_json(json.loads(text))
    assert found == SUMMARY
    assert json.dumps(found.to_json()) == text


def test_a_reason_is_all_there_is_of_more_classes() -> None:
    found = UpdatingSummary(reason="three classes")
    assert UpdatingSummary.from_json(found.to_json()) == found
