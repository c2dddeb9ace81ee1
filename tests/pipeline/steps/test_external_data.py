"""Another data set in the place of a run's own: which settings stay, and what is listed."""

import json
from functools import partial
from pathlib import Path

import pytest

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.pipeline.steps.external_data import (
    TableFlags,
    keep_bins,
    name_data,
    require_name,
    require_same_maps,
    require_same_source,
    settings_of,
)
from medimg_baseline_cls.pipeline.steps.listing import list_data
from medimg_baseline_cls.schema import Split

OF_TABLE = Config(
    manifest=Path("home/table.csv"),
    label_columns=("finding",),
    path_column="file",
    group_column="patient",
    split_column="part",
    subgroup_columns=("sex",),
    num_folds=5,
    fold=2,
    class_names=("NORMAL", "PNEUMONIA"),
    limit=100,
    group_regex=r"^(p\d+)",
)


def write_images(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def write_table(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["data_dir", "manifest"])
def test_results_of_other_data_are_not_replaced(tmp_path: Path, kind: str):
    run, name = tmp_path / "run", "site.csv" if kind == "manifest" else "site"
    place = run / "external" / "site"
    place.mkdir(parents=True)
    assert not require_same_source(place, run, data=tmp_path / name)  # nothing is there yet
    stored = {"data_dir": None, "manifest": None, kind: name}
    stored["provenance"] = {"started_in": str(tmp_path)}
    (place / "config.json").write_text(json.dumps(stored), encoding="utf-8")
    for folder, content in ((place, "before"), (run, "chosen again")):
        (folder / "thresholds.json").write_text(content, encoding="utf-8")
    (place / "predictions_test.csv").touch()
    assert require_same_source(place, run, data=run / ".." / name)
    with pytest.raises(ConfigError, match=f"{name}: pass another --name for .*other"):
        require_same_source(place, run, data=tmp_path / "other" / name)


def test_results_with_other_labels_are_not_replaced(tmp_path: Path):
    labels, class_names = ["No Finding", "Pneumonia"], ("NORMAL", "PNEUMONIA")
    check = partial(require_same_maps, tmp_path, labels, class_names=class_names)
    check(maps={})  # nothing is there yet
    written = json.dumps({"maps": {"No Finding": "NORMAL"}})
    (tmp_path / "external.json").write_text(written, encoding="utf-8")
    check(maps={"No Finding": "NORMAL"})
    for maps in ({}, {"No Finding": "PNEUMONIA"}, {"No Finding": "NORMAL", "Pneumonia": ""}):
        with pytest.raises(ConfigError, match="another --map: pass another --name with this data"):
            check(maps=maps)


def test_a_map_of_no_label_of_the_data_is_not_another_one(tmp_path: Path):
    check = partial(
        require_same_maps, tmp_path, ["normal", "PNEUMONIA"], class_names=("NORMAL", "PNEUMONIA")
    )
    (tmp_path / "external.json").write_text(json.dumps({"maps": {}}), encoding="utf-8")
    check(maps={"healthy": "NORMAL"})
    check(maps={"healthy": "NORMAL", "PNEUMONIA": "pneumonia"})
    with pytest.raises(ConfigError, match="another --map"):
        check(maps={"healthy": "NORMAL", "normal": "PNEUMONIA"})


def test_results_of_another_run_with_the_same_name_are_not_replaced(tmp_path: Path):
    place, data = tmp_path / "outputs" / "external" / "chest-site", tmp_path / "site"
    runs = [tmp_path / f"archive{number}" / "chest" for number in (1, 2)]
    for folder, content in zip((place, *runs), ("first", "first", "second"), strict=True):
        folder.mkdir(parents=True)
        (folder / "thresholds.json").write_text(content, encoding="utf-8")
    (place / "predictions_test.csv").touch()
    (place / "config.json").write_text(json.dumps({"data_dir": str(data)}), encoding="utf-8")
    assert require_same_source(place, runs[0], data=data)
    with pytest.raises(ConfigError, match="the results of another run.*pass another --name"):
        require_same_source(place, runs[1], data=data)


def test_a_folder_resets_what_belongs_to_a_table_and_a_split(tmp_path: Path):
    folder = write_images(tmp_path / "b", "NORMAL/1.png")
    found = settings_of(OF_TABLE, folder, task="multiclass", flags=TableFlags())
    default = Config()
    assert (found.data_dir, found.manifest) == (folder, None)
    for name in ("label_columns", "path_column", "group_column", "split_column", "num_folds"):
        assert getattr(found, name) == getattr(default, name)
    assert (found.class_names, found.limit, found.group_regex) == (None, None, "auto")


def test_a_table_keeps_the_columns_of_the_run_and_no_split(tmp_path: Path):
    table = write_table(tmp_path / "b.csv", "file,finding", "1.png,NORMAL")
    found = settings_of(OF_TABLE, table, task="multiclass", flags=TableFlags())
    assert (found.data_dir, found.manifest) == (None, table)
    assert (found.path_column, found.label_columns) == ("file", ("finding",))
    assert (found.split_column, found.num_folds) == (None, None)


def test_flags_override_the_columns_of_the_run(tmp_path: Path):
    table = write_table(tmp_path / "b.csv", "image,dx,age", "1.png,NORMAL,60")
    flags = TableFlags(path_column="image", label_columns=("dx",), subgroup_columns=("age",))
    found = settings_of(OF_TABLE, table, task="multiclass", flags=flags)
    assert (found.path_column, found.label_columns) == ("image", ("dx",))
    assert (found.subgroup_columns, found.group_column) == (("age",), "patient")


def test_settings_of_training_and_evaluation_stay(tmp_path: Path):
    config = Config(data_dir=Path("home"), image_size=96, num_resamples=77, seed=5)
    folder = write_images(tmp_path / "b", "NORMAL/1.png")
    found = settings_of(config, folder, task="multiclass", flags=TableFlags())
    assert (found.image_size, found.num_resamples, found.seed) == (96, 77, 5)


@pytest.mark.parametrize(
    ("task", "read"),
    [("multiclass", "multiclass"), ("ordinal", "multiclass"), ("multilabel", "multilabel")],
)
def test_labels_are_read_as_the_run_needs_them(tmp_path: Path, task: str, read: str):
    table = write_table(tmp_path / "b.csv", "path,label", "1.png,0")
    found = settings_of(Config(), table, task=task, flags=TableFlags())  # type: ignore[arg-type]
    assert found.task == read


def test_a_place_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="is not there: name a folder of class folders"):
        settings_of(Config(), tmp_path / "nope", task="multiclass", flags=TableFlags())


def test_one_class_alone_can_be_listed_where_that_is_meant(tmp_path: Path):
    folder = write_images(tmp_path / "b", "NORMAL/1.png", "NORMAL/2.png")
    config = Config(data_dir=folder)
    with pytest.raises(DataError, match="two class folders are needed"):
        list_data(config, cache_dir=tmp_path)
    assert list_data(config, cache_dir=tmp_path, fewest_classes=1).class_names == ("NORMAL",)


@pytest.mark.parametrize(
    "names",
    [("test/A/1.png", "test/B/2.png"), ("train/A/1.png", "train/B/2.png"),
     ("train/A/1.png", "test/B/2.png")],
)  # fmt: skip
def test_split_folders_are_listed_whatever_they_lack(tmp_path: Path, names: tuple[str, ...]):
    config = Config(data_dir=write_images(tmp_path / "b", *names))
    with pytest.raises(DataError):
        list_data(config, cache_dir=tmp_path)
    found = list_data(config, cache_dir=tmp_path, fewest_classes=1)
    assert sorted(file.path for file in found.files) == sorted(names)
    assert [file.label for file in found.files] == ["A", "B"] or names[0] == "train/A/1.png"
    assert found.class_names == ("A", "B")


def test_one_class_alone_in_a_table_can_be_listed(tmp_path: Path):
    table = write_table(tmp_path / "b.csv", "path,label", "1.png,NORMAL", "2.png,NORMAL")
    config = Config(manifest=table)
    with pytest.raises(DataError, match="expected two or more"):
        list_data(config, cache_dir=tmp_path)
    found = list_data(config, cache_dir=tmp_path, fewest_classes=1)
    assert [file.label for file in found.files] == ["NORMAL", "NORMAL"]


def test_a_folder_without_a_class_is_refused_in_any_case(tmp_path: Path):
    folder = write_images(tmp_path / "b", "1.png", "2.png")
    with pytest.raises(DataError, match="contains images, but no class folders"):
        list_data(Config(data_dir=folder), cache_dir=tmp_path, fewest_classes=1)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_refusal_says_how_this_command_is_given_a_table(tmp_path: Path, task: str):
    folder = write_images(tmp_path / "b", "1.png", "2.png")
    with pytest.raises((DataError, ConfigError)) as caught:
        list_data(Config(data_dir=folder, task=task), cache_dir=tmp_path, as_table="{} as DATA")
    assert "pass TABLE as DATA" in str(caught.value) or "pass FILE as DATA" in str(caught.value)
    assert "--manifest" not in str(caught.value)


def test_borders_of_columns_that_are_not_there_are_dropped():
    split = Split((), ("NORMAL", "PNEUMONIA"), subgroup_names=("age",))
    config = Config(subgroup_bins=("age=40/65", "weight=60/80"))
    assert keep_bins(config, split).subgroup_bins == ("age=40/65",)


@pytest.mark.parametrize(
    ("path", "name"),
    [("data/Site B", "Site-B"), ("x/table.csv", "table"), ("a/b/", "b"), ("x/(1)", "1")],
)
def test_a_data_set_is_called_like_its_folder_or_file(path: str, name: str):
    assert name_data(Path(path)) == name
    assert require_name(name) == name


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str):
    with pytest.raises(ConfigError, match="cannot name a folder"):
        require_name(name)
