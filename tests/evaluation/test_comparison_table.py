"""The table and the CSV of a comparison: every metric once, written as journals print them."""

from dataclasses import replace

import pytest

from medimg_baseline_cls.evaluation.comparison_table import (
    list_rows,
    tabulate_comparison,
)
from medimg_baseline_cls.records.comparisons import ComparedModel, Comparison, ModelDifference
from medimg_baseline_cls.records.estimates import Estimate, Interval, PairedDifference
from medimg_baseline_cls.records.summaries import Average, MetricKey
from medimg_baseline_cls.utils.quantities import format_p


def interval_around(value: float, method: str = "bootstrap") -> Interval:
    return Interval(bounds=(value - 0.02, value + 0.03), method=method)


def list_keys(block: str | Average) -> list[MetricKey]:
    scores = [MetricKey(block, None, name) for name in ("average_precision", "auroc")]
    calls = ("sensitivity", "specificity", "accuracy")
    return scores + [MetricKey(block, "max_f1", name) for name in calls]


def make_comparison(classes: tuple[str, ...] = ("PNEUMONIA",)) -> Comparison:
    """Return a comparison of two models, its metrics invented."""
    blocks = classes if len(classes) == 1 else (*classes, Average.MACRO)
    keys = [key for block in blocks for key in list_keys(block)]
    gap = PairedDifference(value=-0.05, interval=interval_around(-0.05))
    tested = PairedDifference(
        value=-0.05,
        interval=interval_around(-0.05, method="delong"),
        test="delong",
        p_value=0.0004,
        p_holm=0.0012,
    )
    models = tuple(
        ComparedModel(
            name=name,
            thresholds={},
            estimates=dict.fromkeys(keys, Estimate(value=value, interval=interval_around(value))),
        )
        for name, value in (("first", 0.9), ("second", 0.85))
    )
    gaps = {key: tested if key.metric == "auroc" else gap for key in keys}
    return Comparison(
        split="test",
        task="multiclass",
        num_images=60,
        num_groups=60,
        class_names=classes,
        positive_class="PNEUMONIA" if len(classes) == 1 else None,
        intervals={},
        tests={},
        warnings=(),
        models=models,
        differences=(ModelDifference(name="second", is_identical=False, differences=gaps),),
    )


def test_the_table_has_a_row_for_each_metric_and_model() -> None:
    header, rows = tabulate_comparison(make_comparison(), rule="max_f1")
    assert [row[0] for row in rows[::2]] == [
        "AUROC",
        "AP",
        "sensitivity at Max-F1",
        "specificity at Max-F1",
        "accuracy at Max-F1",
    ]
    assert rows[0] == ["AUROC", "first", "0.900", "0.880 to 0.930", "reference", "", "", "", ""]
    gap = ["-0.050", "-0.070 to -0.020", "DeLong", "<0.001", "0.001"]
    assert rows[1] == ["", "second", "0.850", "0.830 to 0.880", *gap]
    assert all(len(row) == len(header) for row in rows)


def test_many_classes_show_their_averages_first() -> None:
    chosen = make_comparison(("A", "B", "C")).choose_metrics(rule="max_f1")
    names = [(compared.class_name, compared.label) for compared in chosen]
    assert names[:3] == [("macro", "AUROC"), ("macro", "AP"), ("A", "AUROC")]
    assert len(names) == 5


def test_the_csv_has_every_metric_of_every_model() -> None:
    comparison = make_comparison(("A", "B", "C"))
    header, rows = list_rows(comparison)
    assert len(rows) == 2 * len(comparison.list_metrics()) == 2 * 4 * 5
    second = next(dict(zip(header, row, strict=True)) for row in rows if row[3] == "second")
    assert (second["difference"], second["reference"]) == (-0.05, "first")
    assert (second["difference_low"], second["difference_high"]) == (-0.05 - 0.02, -0.05 + 0.03)
    first = dict(zip(header, rows[0], strict=True))
    assert (first["difference"], first["reference"], first["p_value"]) == (None, None, None)


def test_an_undefined_metric_is_a_dash() -> None:
    key, reason = MetricKey("PNEUMONIA", None, "auroc"), "undefined for one of the models"
    comparison = make_comparison()
    first, second = comparison.models
    (gap,) = comparison.differences
    undefined = {key: Estimate(value=None, reason=reason)}
    gaps = {key: PairedDifference(value=None, reason=reason)}
    comparison = replace(
        comparison,
        models=(first, replace(second, estimates={**second.estimates, **undefined})),
        differences=(replace(gap, differences={**gap.differences, **gaps}),),
    )
    _, rows = tabulate_comparison(comparison, rule="max_f1")
    assert rows[1][2:] == ["–", "–", "–", "–", "", "", ""]


@pytest.mark.parametrize(("value", "text"), [(0.0009, "<0.001"), (0.001, "0.001"), (1.0, "1.000")])
def test_p_is_never_zero(value: float, text: str) -> None:
    assert format_p(value) == text
