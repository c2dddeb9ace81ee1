"""A column that tells the class by itself is a finding; one that does not is none."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from medimg_baseline_cls.audit.checks import audit_images, audit_records
from medimg_baseline_cls.audit.images import AuditImages
from medimg_baseline_cls.audit.subgroups import bin_numbers, check_subgroups, score_column
from medimg_baseline_cls.schema import ImageRecord, Split

RecordMaker = Callable[..., ImageRecord]


@pytest.fixture
def make(record: RecordMaker) -> Callable[..., AuditImages]:
    def build(*columns: list[str], names: tuple[str, ...], per_class: int = 60) -> AuditImages:
        paths = [f"train/{'AB'[i % 2]}/p{i}_1.png" for i in range(2 * per_class)]
        records = tuple(
            record(path, subgroups=own)
            for path, own in zip(paths, zip(*columns, strict=True), strict=True)
        )
        pixels = np.random.default_rng(0).integers(0, 256, (len(paths), 1, 32, 32), dtype=np.uint8)
        rows = np.arange(len(paths), dtype=np.int64)
        return AuditImages(
            split=Split(records, ("A", "B"), "multiclass", names), rows=rows, pixels=pixels
        )

    return build


def random_sexes(count: int = 120) -> list[str]:
    return np.random.default_rng(1).choice(["F", "M"], count).tolist()


def test_site_of_one_class_is_a_warning_and_random_sex_is_none(make: Callable[..., Any]) -> None:
    sites = ["north", "south"] * 60
    found = check_subgroups(make(sites, random_sexes(), names=("hospital", "sex")))
    (finding,) = found.findings
    assert (finding.name, finding.verdict, finding.count) == ("telling_subgroup", "warning", 1)
    (example,) = finding.examples
    assert example.text == "hospital: AUROC 1.000 for B (0 % at north, 100 % at south)"
    auroc = {row[0]: row[3] for row in found.figures[0].rows}
    assert auroc["hospital"] == 1.0
    assert abs(auroc["sex"] - 0.5) < 0.15


def test_auroc_is_that_of_the_shares_of_the_other_folds() -> None:
    rng = np.random.default_rng(4)
    truth = rng.random(4000) < 0.5
    # Three sites with 80, 50 and 20 % positive.
    sites = np.where(
        rng.random(4000) < 0.5,
        np.where(truth, "x", "z"),
        rng.choice(["x", "y", "z"], 4000),
    ).astype(np.str_)
    shares: NDArray[np.float64] = np.zeros(4000)
    for site in "xyz":
        shares[sites == site] = truth[sites == site].mean()
    groups = np.arange(4000).astype(np.str_)
    found = score_column(sites, truth, groups=groups)
    assert found == pytest.approx(roc_auc_score(truth, shares), abs=0.02)


def test_value_that_stands_once_tells_nothing(make: Callable[..., Any]) -> None:
    found = check_subgroups(make([f"id{i}" for i in range(120)], names=("serial",)))
    assert found.findings == ()


def test_numbers_are_compared_in_tenths(make: Callable[..., Any]) -> None:
    ages = [str(40 + i % 37 + (30 if i % 2 else 0)) for i in range(120)]
    assert len(set(bin_numbers(ages))) == 10
    (finding,) = check_subgroups(make(ages, names=("age",))).findings
    assert finding.examples[0].text.startswith("age: AUROC 0.")
    assert bin_numbers([*ages, ""])[-1] == ""


def test_too_few_images_are_not_measured(make: Callable[..., Any]) -> None:
    images = make(["north", "south"] * 5, names=("hospital",), per_class=5)
    assert not check_subgroups(images).is_measured


def test_both_forms_of_the_audit_look_at_subgroups(make: Callable[..., Any]) -> None:
    images = make(["north", "south"] * 60, names=("hospital",))
    for checks in (audit_records(images), audit_images(images)):
        assert "telling_subgroup" in {f.name for check in checks for f in check.findings}
