"""Columns become subgroups in a way that TEST does not decide; what makes no sense is refused."""

import numpy as np
import pandas as pd
import pytest

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.evaluation.subgroup_columns import part_column, part_paths, require_columns


def test_words_and_codes_stay_as_they_are_and_sort_as_people_do() -> None:
    column = part_column("site", ["10", "2", "", "2", "b"], train=[], edges=None)
    assert column.order == ("2", "10", "b")
    assert column.values == ("10", "2", "", "2", "b")
    assert column.source == "table"


def test_bands_are_closed_below_and_open_above_as_in_pandas() -> None:
    cells = ["39.9", "40", "64", "65", "", "101"]
    column = part_column("age", cells, train=[], edges=(40, 65))
    edges = [-np.inf, 40, 65, np.inf]
    numbers = np.array([float(cell or "nan") for cell in cells])
    expected = np.asarray(pd.cut(numbers, edges, right=False, labels=list(column.order)))
    assert list(column.values) == ["" if pd.isna(band) else band for band in expected.tolist()]


def test_quartiles_are_those_of_train_whatever_test_holds() -> None:
    train = [str(n) for n in range(1, 101)]
    quartiles = np.quantile(np.arange(1, 101), [0.25, 0.5, 0.75])
    test = [str(n) for n in range(50, 90)]
    column = part_column("age", test, train=train, edges=None)
    assert column.source == "bands"
    assert column.order[0] == f"< {quartiles[0]:g}"
    counts = pd.Series(column.values).value_counts()
    numbers = np.arange(50, 90)
    assert counts[column.order[3]] == (numbers >= quartiles[2]).sum()
    assert counts[column.order[1]] == ((numbers >= quartiles[0]) & (numbers < quartiles[1])).sum()


@pytest.mark.parametrize(
    ("path", "etiology"),
    [
        ("test/NORMAL/IM-0001-0001.jpeg", "NORMAL"),
        ("test/PNEUMONIA/person1_virus_6.jpeg", "virus"),
        ("PNEUMONIA/person1946_bacteria_4874.jpeg", "bacteria"),
        ("test/PNEUMONIA/scan.jpeg", ""),
        ("test/ABNORMAL/a.png", ""),
    ],
)
def test_kaggle_names_tell_the_etiology(path: str, etiology: str) -> None:
    others = ["a/NORMAL/x.png", "person3_virus_1.png", "person3_bacteria_1.png"]
    (column,) = part_paths([path, *others], regex="auto")
    assert (column.name, column.source) == ("etiology", "path")
    assert column.values == (etiology, "NORMAL", "virus", "bacteria")


def test_one_value_for_all_parts_nothing() -> None:
    assert part_paths(["x/NORMAL/a.png", "x/NORMAL/b.png"], regex="auto") == ()
    assert part_paths(["person1_virus_6.png", "person1_bacteria_6.png"], regex="none") == ()


def test_each_named_group_is_a_column() -> None:
    regex = r"_(?P<view>PA|AP)_(?P<device>\w+)\."
    view, device = part_paths(["1_PA_dx.png", "2_AP_cr.png", "3.png"], regex=regex)
    assert (view.name, view.values) == ("view", ("PA", "AP", ""))
    assert (device.name, device.order) == ("device", ("cr", "dx"))


def test_bins_of_words_or_of_no_column_are_refused() -> None:
    with pytest.raises(ConfigError, match="'F', which is not a number"):
        part_column("sex", ["1", "F"], train=[], edges=(1,))
    with pytest.raises(ConfigError, match="are: sex"):
        require_columns({"age": (1.0,)}, ["sex"])


def test_ages_as_dicom_writes_them_are_years() -> None:
    cells = ["058Y", "040Y", "039Y", "600M", "011M", "052W", "364D", "", "45", "40,0"]
    column = part_column("age", cells, train=[], edges=(1, 40))
    assert column.values == tuple(
        *[["≥ 40", "≥ 40", "1 to < 40", "≥ 40", "< 1", "< 1", "< 1", "", "≥ 40", "≥ 40"]]
    )
    train = [f"{n:03d}Y" for n in range(1, 101)]
    plain = part_column("age", ["50"], train=[str(n) for n in range(1, 101)], edges=None)
    test = [f"{n:03d}Y" for n in range(20, 60)]
    assert part_column("age", test, train=train, edges=None).source == "bands"
    assert plain.source == "table"  # one number alone is a code
    for odd in ("3D", "58y", "58Y", "0058Y"):
        with pytest.raises(ConfigError, match="is not a number"):
            part_column("age", [odd], train=[], edges=(40,))


@pytest.mark.parametrize("word", ["NA", "nan", "None", "-", ".", " "])
def test_words_for_a_missing_value_are_no_subgroup(word: str) -> None:
    column = part_column("sex", ["F", word, "M"], train=[], edges=None)
    assert column.values == ("F", "", "M") and column.order == ("F", "M")
    assert part_column("age", ["50", word], train=[], edges=(40,)).values == ("≥ 40", "")
