"""Tables and class folders without a split go the same way as split folders."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.phantom import write_phantoms
from medimg_baseline_cls.errors import ConfigError, DataError, RunError
from medimg_baseline_cls.pipeline import evaluate, train

Maker = type[Config]
FAST = {"head_epochs": 0, "finetune_epochs": 1}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in one folder, and a table that says what they are."""
    source = tmp_path_factory.mktemp("source")
    write_phantoms(source, num_train=60, num_test=24, image_size=64, seed=5)
    folder = tmp_path_factory.mktemp("films")
    rows = []
    for number, path in enumerate(sorted(source.glob("t*/*/*.*"))):
        name = f"{number:03d}{path.suffix}"
        shutil.copy(path, folder / name)
        patient = path.stem.rsplit("_", 1)[0] if "person" in path.stem else path.stem[:12]
        rows.append((name, path.parent.name, patient, path.parents[1].name, "AB"[number % 2]))
    columns = ["path", "label", "patient", "split", "scanner"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "table.csv", index=False)
    return folder


def split_of(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "split.csv", dtype=str).set_index("image_id")


def test_a_table_trains_and_evaluates_with_its_own_patients_split_and_subgroups(
    films: Path, tmp_path: Path, make_config
) -> None:
    config = make_config(
        films,
        tmp_path,
        **FAST,
        group_column="patient",
        split_column="split",
        subgroup_columns=("scanner",),
    )
    run = train(config).run_dir
    table = pd.read_csv(films / "table.csv", dtype=str).set_index("path")
    split = split_of(run)
    assert set(split.index) == set(table.index)
    table = table.loc[split.index]
    assert (split["label"] == table["label"]).all()
    assert (split["group"] == table["patient"]).all()
    assert (split["subgroup_scanner"] == table["scanner"]).all()
    assert ((split["split"] == "test") == (table["split"] == "test")).all()
    summary = evaluate(run).summary
    assert summary["headline"]["test"]["auroc"]["value"] is not None


def test_a_table_elsewhere_needs_no_data_folder_but_stays_needed(
    films: Path, tmp_path: Path, make_config
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(films, copy)
    config = make_config(None, tmp_path, **FAST, manifest=copy / "table.csv", limit=60)
    run = train(config).run_dir
    places = split_of(run)["split"].value_counts()
    assert set(places.index) == {"train", "val", "test"}
    shutil.rmtree(copy)
    with pytest.raises(RunError, match="is not there"):
        evaluate(run)


def test_class_folders_without_a_split_get_one_with_whole_patients(
    tmp_path: Path, phantoms: Path, make_config
) -> None:
    for path in phantoms.glob("t*/*/*.*"):
        target = tmp_path / "data" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    run = train(make_config(tmp_path / "data", tmp_path / "out", **FAST, test_fraction=0.3)).run_dir
    split = split_of(run)
    assert split.groupby("group")["split"].nunique().max() == 1
    share = (split["split"] == "test").groupby(split["label"]).mean()
    assert share.to_numpy() == pytest.approx(0.3, abs=0.06)


def test_settings_of_a_table_are_refused_without_one(
    phantoms: Path, tmp_path: Path, make_config
) -> None:
    for settings in ({"group_column": "patient"}, {"task": "multilabel"}, {"join_rows": "any"}):
        with pytest.raises(ConfigError, match="needs a table of the images"):
            train(make_config(phantoms, tmp_path, **settings))
    assert not list((tmp_path / "runs").iterdir())


def test_a_file_of_the_table_that_is_missing_is_named(
    films: Path, tmp_path: Path, make_config
) -> None:
    frame = pd.read_csv(films / "table.csv")
    frame.loc[3, "path"] = "gone.png"
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=r"gone\.png: this is no regular file"):
        train(make_config(films, tmp_path, manifest=tmp_path / "t.csv"))
