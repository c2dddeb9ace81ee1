"""Subgroups answer what they bear on, and claim neither clusters nor fairness."""

from collections.abc import Callable
from typing import Any

from tests.reporting.documents.test_checklist import rows_of

from medimg_baseline_cls.reporting.documents.checklist_answers import NOT_AVAILABLE

ITEMS = ("12d", "14", "23b")


def block(auroc: float | None) -> dict[str, Any]:
    """Return a subgroup with one figure, or one that is too small for any."""
    metrics = {"PNEUMONIA": {"metrics": {"auroc": {"value": auroc}}}}
    counts = {"num_images": 30, "num_groups": 30, "is_too_small": auroc is None}
    return counts | {"classes": {} if auroc is None else metrics}


def write_subgroups(run: Any, **columns: dict[str, float | None]) -> None:
    listed = [
        {
            "column": name,
            "source": "table",
            "num_not_given": 0,
            "subgroups": {key: block(value) for key, value in values.items()},
        }
        for name, values in columns.items()
    ]
    lead = {"split": "test", "positive_class": "PNEUMONIA", "min_images": 20}
    run.write_json("subgroups.json", lead | {"all": block(0.9), "columns": listed})


def test_run_without_subgroups_leaves_them_to_the_authors(make_run: Callable[..., Any]) -> None:
    rows = rows_of(make_run())["TRIPOD+AI"]
    assert {rows[number][3] for number in ITEMS} == {NOT_AVAILABLE}
    assert "subgroup" not in rows["23a"][3]


def test_subgroups_are_counted_and_their_range_is_given(make_run: Callable[..., Any]) -> None:
    run = make_run()
    write_subgroups(run, site={"A": 0.81, "B": 0.93, "C": None}, sex={"F": 0.9, "M": None})
    rows = rows_of(run)["TRIPOD+AI"]
    assert "site (2 of 3), sex (1 of 2)" in rows["23a"][3]
    assert "fewer than 20 images" in rows["23a"][3]
    assert "site, PNEUMONIA 0.810 to 0.930." in rows["23b"][3]
    assert "sex" not in rows["23b"][3]  # one value has no range
    assert "measured by site, sex" in rows["14"][3]


def test_what_a_column_means_is_left_to_the_authors(make_run: Callable[..., Any]) -> None:
    run = make_run()
    write_subgroups(run, site={"A": 0.81, "B": 0.93})
    rows = rows_of(run)["TRIPOD+AI"]
    assert all(NOT_AVAILABLE in rows[number][3] for number in ITEMS)
    write_subgroups(run, site={"A": None, "B": None})
    assert rows_of(run)["TRIPOD+AI"]["23b"][3] == NOT_AVAILABLE
