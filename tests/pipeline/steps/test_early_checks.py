"""A setting that does not fit is refused before an image is decoded, and before TEST is scored.

The images of these tables do not exist: whoever opened one would find that first.
"""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medimg_baseline_cls import cross_validate, evaluate, run, train
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, DataError, MedimgError
from medimg_baseline_cls.pipeline.steps.early_checks import require_evaluable, require_settings
from medimg_baseline_cls.pipeline.steps.listing import list_data
from medimg_baseline_cls.schema import ImageRecord, Split

MakeConfig = Callable[..., Config]
HEADER = ("path", "label", "Age", "sex", "hospital", "patient", "dx", "f1", "f2")
SITES = {"subgroup_columns": ("sex",), "site_column": "hospital"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [
        (
            *(f"{n}.png", ("normal", "tb")[n % 2], f"{20 + n:03d}Y", "FM"[n % 2], "AB"[n // 30]),
            *(f"P{n // 6 % 7}", "abc"[n % 3], n % 2, n % 3 % 2),
        )
        for n in range(60)
    ]
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return folder


CASES = [
    ({"subgroup_columns": ("sex",), "subgroup_bins": ("age_years=40",)}, "columns .*are: sex"),
    ({"subgroup_columns": ("sex",), "subgroup_bins": ("sex=40",)}, "'F', which is not a number"),
    ({"subgroup_columns": ("age",)}, r"did you mean --subgroup-columns Age\?"),
    ({"subgroup_regex": r"_(?P<view>PA|AP)_"}, "matches no path, such as 0.png"),
    ({"label_columns": ("dx",), "target_prevalence": 0.1}, "there are 3 classes: leave it out"),
    ({"label_columns": ("f1", "f2"), "target_prevalence": 0.1}, "several findings"),
    ({"label_columns": ("f1", "f2"), "positive_class": "f1"}, "positive_class"),
    ({"positive_class": "CT"}, "positive_class is 'CT', but the classes found are normal, tb"),
    ({"class_names": ("normal", "tbc")}, "class tbc .*did you mean tb"),
    ({"label_columns": ("dx",), "task": "ordinal"}, "needs the order of the classes"),
    ({"group_column": "patients"}, r"did you mean --group-column patient\?"),
    ({"group_regex": r"(pat\d+)_"}, "matches 0 of 60 names"),
    ({"split_column": "sex"}, "sex is 'F'; expected train, val or test"),
    ({"split_files": ("lists/train.txt", "lists/test.txt")}, "cannot be read"),
    ({**SITES, "test_site": "C"}, "C is not a site in hospital: expected one of A, B"),
    (SITES, "needs the site that is TEST"),
    ({"num_folds": 61}, "61"),
    ({"num_folds": 9, "group_column": "patient"}, "9"),
    ({"val_strategy": "folder"}, "val"),
]


@pytest.mark.parametrize(("settings", "words"), CASES)
def test_training_refuses_it_before_an_image_is_read(
    data: Path, tmp_path: Path, make_config: MakeConfig, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(MedimgError, match=words) as caught:
        train(make_config(data, tmp_path / "out", **settings))
    assert "not there" not in str(caught.value)
    assert not list((tmp_path / "out").glob("runs/*/*")) and not (tmp_path / "out/cache").exists()


def test_settings_that_fit_come_as_far_as_the_images(
    data: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    settings = {"subgroup_columns": ("Age", "sex"), "subgroup_bins": ("Age=40/65",)}
    with pytest.raises(DataError, match="60 image.*not there"):
        train(make_config(data, tmp_path / "out", **settings, group_column="patient", num_folds=3))


def test_a_cross_validation_by_sites_needs_the_site_of_each_image(
    data: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    table = data / "table.csv"
    table.write_text(table.read_text().replace(",B,", ",NA,", 3))
    config = make_config(data, tmp_path / "out", site_column="hospital")
    with pytest.raises(DataError, match="site column hospital is blank in 3 of 60 rows.*row 32"):
        cross_validate(config, by_site=True)
    table.write_text(table.read_text().replace(",B,", ",A,").replace(",NA,", ",A,"))
    with pytest.raises(ConfigError, match="site_column has one site, A"):
        cross_validate(config, by_site=True)
    assert not list((tmp_path / "out").glob("*/*/*"))


def test_a_pseudonym_key_that_cannot_be_kept_stops_a_run_at_once(
    data: Path, tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("MEDIMG_GROUP_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="MEDIMG_GROUP_KEY"):
        run(make_config(data, tmp_path / "out", anonymous_ids=True))


def test_class_folders_are_checked_alike(tmp_path: Path, make_config: MakeConfig) -> None:
    for name in ("normal", "tb"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "data" / name / f"{number}.png").touch()
    for settings, words in (
        ({"num_folds": 7}, "7"),
        ({"val_strategy": "folder"}, "val"),
        ({"subgroup_regex": r"(?P<view>PA)"}, "matches no path"),
    ):
        config = make_config(tmp_path / "data", tmp_path / "out", **settings)
        with pytest.raises(MedimgError, match=words):
            require_settings(config, list_data(config, cache_dir=tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subgroup_columns": ["age"], "subgroup_bins": ["age=40"]}, "columns .*are: none"),
        ({"subgroup_bins": ["age:40"]}, "rising numbers"),
    ],
)
def test_evaluation_refuses_an_edited_setting_before_test_is_scored(
    finished_run: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    copy = shutil.copytree(finished_run, tmp_path / "runs" / "copy")
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    kept = {p: p.read_bytes() for p in copy.rglob("*.csv")}
    with pytest.raises(ConfigError, match=words):
        evaluate(copy)
    assert {p: p.read_bytes() for p in copy.rglob("*.csv")} == kept


def test_an_edited_prevalence_of_many_classes_is_refused_before_test_is_scored(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    record = ImageRecord(
        image_id="a", path="a", label="a", group="a", split="test", sha256="", width=1, height=1
    )
    config = make_config(tmp_path, tmp_path, target_prevalence=0.2)
    with pytest.raises(ConfigError, match="target_prevalence"):
        require_evaluable(config, Split((record,), ("a", "b", "c")))
    assert require_evaluable(config, Split((record,), ("a", "b"))) == ()
