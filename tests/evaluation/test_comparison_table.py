"""The table and the CSV of a comparison: every figure once, written as journals print them."""

from typing import Any

import pytest

from medimg_baseline_cls.evaluation.comparison_table import (
    choose_figures,
    format_p,
    list_figures,
    list_rows,
    tabulate_comparison,
)


def make_content(classes: tuple[str, ...] = ("PNEUMONIA",)) -> dict[str, Any]:
    """Return a comparison of two models as it would be written, figures invented."""

    def block(value: float, **more: Any) -> dict[str, Any]:
        figure = {"value": value, "interval": [value - 0.02, value + 0.03], "method": "bootstrap"}
        calls = {name: dict(figure) for name in ("sensitivity", "specificity", "accuracy")}
        scores = {"average_precision": dict(figure), "auroc": figure | more}
        return {"metrics": scores, "operating_points": {"max_f1": calls}}

    names = classes if len(classes) == 1 else (*classes, "macro")
    gap = {"test": "delong", "p_value": 0.0004, "p_holm": 0.0012, "method": "delong"}
    return {
        "split": "test",
        "num_images": 60,
        "positive_class": "PNEUMONIA" if len(classes) == 1 else None,
        "reference": "first",
        "models": [
            {"name": "first", "classes": {name: block(0.9) for name in names}},
            {"name": "second", "classes": {name: block(0.85) for name in names}},
        ],
        "differences": [
            {"name": "second", "classes": {name: block(-0.05, **gap) for name in names}}
        ],
    }


def test_the_table_has_a_row_for_each_figure_and_model() -> None:
    header, rows = tabulate_comparison(make_content(), rule="max_f1")
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
    chosen = choose_figures(make_content(("A", "B", "C")), rule="max_f1")
    names = [(figure.key.class_name, figure.label) for figure in chosen]
    assert names[:3] == [("macro", "AUROC"), ("macro", "AP"), ("A", "AUROC")]
    assert len(names) == 5


def test_the_csv_has_every_figure_of_every_model() -> None:
    content = make_content(("A", "B", "C"))
    header, rows = list_rows(content)
    assert len(rows) == 2 * len(list_figures(content)) == 2 * 4 * 5
    second = next(dict(zip(header, row, strict=True)) for row in rows if row[3] == "second")
    assert (second["difference"], second["reference"]) == (-0.05, "first")
    first = dict(zip(header, rows[0], strict=True))
    assert (first["difference"], first["reference"], first["p_value"]) == (None, None, None)


def test_an_undefined_figure_is_a_dash() -> None:
    content = make_content()
    undefined = {"value": None, "reason": "undefined for one of the models"}
    content["models"][1]["classes"]["PNEUMONIA"]["metrics"]["auroc"] = undefined
    content["differences"][0]["classes"]["PNEUMONIA"]["metrics"]["auroc"] = undefined
    _, rows = tabulate_comparison(content, rule="max_f1")
    assert rows[1][2:] == ["–", "–", "–", "–", "", "", ""]


@pytest.mark.parametrize(("value", "text"), [(0.0009, "<0.001"), (0.001, "0.001"), (1.0, "1.000")])
def test_p_is_never_zero(value: float, text: str) -> None:
    assert format_p(value) == text
