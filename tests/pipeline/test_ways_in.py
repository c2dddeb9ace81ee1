"""Tables and class folders without a split go the same way as split folders."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medimg_baseline_cls import check, cross_validate, evaluate, train
from medimg_baseline_cls.data.splitting.split import read_split
from medimg_baseline_cls.errors import ConfigError, DataError, RunError
from medimg_baseline_cls.phantom.image_folder import make_phantom, write_phantoms
from medimg_baseline_cls.pipeline.steps.listing import list_data

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


def test_a_site_that_is_not_there_stops_check_and_training_before_any_image_is_read(
    films: Path, tmp_path: Path, make_config
) -> None:
    config = make_config(films, tmp_path / "out", site_column="scanner", test_site="Z")
    for command in (check, train):
        with pytest.raises(ConfigError, match=r"Z is not a site in scanner: expected one of A, B"):
            command(config)
    assert not (tmp_path / "out" / "cache").exists()


def test_a_table_elsewhere_needs_no_data_folder_but_stays_needed(
    films: Path, tmp_path: Path, make_config
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(films, copy)
    config = make_config(None, tmp_path, **FAST, manifest=copy / "table.csv", limit=60)
    run = train(config).run_dir
    places = split_of(run)["split"].value_counts()
    assert set(places.index) == {"train", "val", "test"}
    assert len(evaluate(run).summary["controls"]) == 2
    assert check(config).content["data_dir"] == str(copy)
    shutil.rmtree(copy)
    with pytest.raises(RunError, match="is not there"):
        evaluate(run)


def test_each_site_of_a_table_is_left_out_once(films: Path, tmp_path: Path, make_config) -> None:
    config = make_config(
        None,
        tmp_path,
        **FAST,
        manifest=films / "table.csv",
        site_column="scanner",
        group_regex="none",  # the patients of the table were at several sites
    )
    result = cross_validate(config, by_site=True)
    table = pd.read_csv(films / "table.csv", dtype=str).set_index("path")
    joined = pd.read_csv(result.run_dir / "predictions_oof.csv", dtype=str).set_index("image_id")
    assert joined["site"].to_dict() == table["scanner"].to_dict()


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
    for settings in (
        {"group_column": "patient"},
        {"task": "multilabel"},
        {"join_rows": "any"},
        {"uncertain_labels": "positive"},
        {"missing_labels": "negative"},
    ):
        with pytest.raises(ConfigError, match="needs a table of the images"):
            train(make_config(phantoms, tmp_path, **settings))
    assert not list((tmp_path / "runs").iterdir())


def test_a_file_of_the_table_that_is_missing_is_named(
    films: Path, tmp_path: Path, make_config
) -> None:
    frame = pd.read_csv(films / "table.csv")
    frame.loc[3, "path"] = "gone.png"
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(
        DataError, match=r"1 image is not there.*\s+gone\.png: .*not there \(row 5 of"
    ):
        train(make_config(films, tmp_path, manifest=tmp_path / "t.csv"))


def test_settings_of_a_table_are_refused_beside_a_medmnist_file(
    films: Path, tmp_path: Path, make_config
) -> None:
    images, labels = np.zeros((2, 8, 8), np.uint8), np.array([[0], [1]])
    np.savez(
        tmp_path / "m.npz",
        **{f"{split}_images": images for split in ("train", "val", "test")},
        **{f"{split}_labels": labels for split in ("train", "val", "test")},
    )
    for settings in (
        {"group_column": "patient"},
        {"manifest": films / "table.csv"},
        {"missing_labels": "negative"},
    ):
        with pytest.raises(ConfigError, match=f"{next(iter(settings))} needs a table .*npz file"):
            train(make_config(tmp_path / "m.npz", tmp_path, **settings))


def test_class_folders_are_grades_only_in_an_order_that_is_known(
    tmp_path: Path, make_config
) -> None:
    for name in ("mild", "none", "10", "9", "7"):
        for number in range(2):
            path = tmp_path / ("words" if name.isalpha() else "numbers") / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    words = make_config(tmp_path / "words", tmp_path, task="ordinal")
    with pytest.raises(DataError, match="needs the order of the classes: set class_names"):
        list_data(words, cache_dir=tmp_path)
    listing = list_data(replace(words, class_names=("none", "mild")), cache_dir=tmp_path)
    assert (listing.task, listing.class_names) == ("ordinal", ("none", "mild"))
    numbers = make_config(tmp_path / "numbers", tmp_path, task="ordinal")
    listing = list_data(numbers, cache_dir=tmp_path)
    assert listing.class_names == ("7", "9", "10")
    assert any("no image has grade 8" in item.warning for item in listing.inferences)


@pytest.mark.parametrize("kind", ["folders", "table"])
def test_the_separator_of_findings_is_in_no_class_name(
    tmp_path: Path, make_config, kind: str
) -> None:
    names = [("a.png", "mass|nodule"), ("b.png", "none")] * 2
    for number, (_, label) in enumerate(names):
        path = tmp_path / "images" / (label if kind == "folders" else ".") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    if kind == "table":
        rows = "".join(f"{number}.png,{label}\n" for number, (_, label) in enumerate(names))
        (tmp_path / "images" / "table.csv").write_text("path,label\n" + rows)
    config = make_config(tmp_path / "images", tmp_path)
    with pytest.raises(
        DataError, match=r"mass\|nodule contains \|, .* pass --label-separator '\|'"
    ):
        list_data(config, cache_dir=tmp_path)


def test_a_medmnist_file_trains_and_evaluates(tmp_path: Path, make_config) -> None:
    rng = np.random.default_rng(2)
    arrays: dict[str, np.ndarray] = {}
    for split, count in {"train": 48, "val": 24, "test": 24}.items():
        labels = np.arange(count, dtype=np.uint8)[:, None] % 3
        noise = rng.integers(0, 80, (count, 28, 28))
        arrays[f"{split}_images"] = (noise + 60 * labels[:, :, None]).astype(np.uint8)
        arrays[f"{split}_labels"] = labels
    np.savez_compressed(tmp_path / "toy.npz", **arrays)
    names = ("low", "middle", "high")
    config = make_config(tmp_path / "toy.npz", tmp_path / "out", **FAST, class_names=names)
    run = train(config).run_dir
    split = split_of(run)
    assert {name.split("/")[0] for name in split.index[split["split"] == "test"]} == {"test"}
    assert (split["split"] == "test").sum() == 24
    assert split.loc["test/07", "label"] == names[arrays["test_labels"][7, 0]]
    assert evaluate(run).summary["class_names"] == list(names)


def write_dicom(path: Path, pixels: np.ndarray, *, patient: str) -> None:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.PatientID, data.StudyDate = patient, "20240131"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.PhotometricInterpretation = "MONOCHROME1"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelData = (4095 - pixels.astype(np.uint16) * 16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def test_dicom_exports_without_suffix_keep_patients_whole_and_out_of_the_run(
    tmp_path: Path, make_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIMG_GROUP_KEY", "a key of this test")
    for number in range(60):
        film = make_phantom(7, number, is_positive=number % 2 == 0, image_size=64).pixels
        label = "sick" if number % 2 == 0 else "not sick"
        patient = f"MRN-{number // 4:04d}-{number % 2}"
        write_dicom(tmp_path / "data" / label / f"IM{number:04d}", film, patient=patient)
    result = train(make_config(tmp_path / "data", tmp_path / "out", **FAST))
    split = split_of(result.run_dir)
    assert len(split) == 60 and split["group"].nunique() == 30
    assert split.groupby("group")["split"].nunique().max() == 1
    evaluate(result.run_dir)
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"MRN-" not in content and b"20240131" not in content, path.name


def test_odd_file_names_go_through_and_read_back(
    tmp_path: Path, phantoms: Path, make_config
) -> None:
    names = [b"a\nb.png", b"-lead.png", "\U0001f600.png".encode(), b"\xff\xfe.png", b"=1+1.png"]
    names += [b"x" * 251 + b".png", b" blank .png", b'q"uote,.png']
    shutil.copytree(phantoms, tmp_path / "data")
    films = sorted((tmp_path / "data" / "train" / "NORMAL").iterdir())
    for film, name in zip(films, names, strict=False):
        film.rename(film.with_name(os.fsdecode(name)))
    run = evaluate(train(make_config(tmp_path / "data", tmp_path / "out", **FAST)).run_dir).run_dir
    split = read_split(run / "split.csv", ("NORMAL", "PNEUMONIA"))
    written = {os.fsencode(record.path) for record in split.records}
    assert {b"train/NORMAL/" + name for name in names} <= written
