"""Series of DICOM files go the way of NIfTI files: the same pixels, to a report, resumed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.dicom_series import draw_slices, phantom, write_files, write_series
from tests.pipeline.conftest import ConfigMaker, resume_to_the_same
from tests.pipeline.test_volumes import RUN

from medimg_baseline_cls import check, explain, predict, run, train
from medimg_baseline_cls.data.folders.image_files import list_images
from medimg_baseline_cls.data.pixels.cache import build_cache
from medimg_baseline_cls.data.pixels.overlays import place_overlay
from medimg_baseline_cls.data.pixels.preprocess import PixelSettings
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.phantom.volume_folder import encode_nifti
from medimg_baseline_cls.utils.files import read_csv

SETTINGS = RUN | {"group_regex": "auto"}
NUM_CASES = 24


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases of each patient; one without a slice, one with a copy, one with a localizer."""
    data = tmp_path_factory.mktemp("data") / "series"
    for number in range(NUM_CASES):
        label = "LESION" if number % 4 > 1 else "NORMAL"
        voxels = phantom(number, has_lesion=label == "LESION")
        codes, tags = "LPS" if number % 3 else "PIL", {"PatientID": f"P{number // 2}"}
        slices = draw_slices(voxels, codes=codes, uid=f"1.{number + 1}", **tags)
        if number == 0:
            kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            slices += draw_slices(voxels, codes="RPI", uid="1.1", ImageType=kind, **tags)[:1]
        slices += slices[:1] if number == 1 else []
        del slices[4 : 5 if number == 2 else 4]
        write_files(data / label / f"case{number:02d}", slices, name="IM{}")
    return data


@pytest.fixture(scope="module")
def series_run(
    series: Path, tmp_path_factory: pytest.TempPathFactory, make_config: ConfigMaker
) -> Path:
    return run(make_config(series, tmp_path_factory.mktemp("outputs"), **SETTINGS)).run_dir


def test_a_series_and_a_nifti_file_of_one_phantom_are_the_same_pixels(tmp_path: Path) -> None:
    for number in range(4):
        label, voxels = "AB"[number % 2], phantom(number)
        write_series(tmp_path / "series" / label / str(number), voxels, codes="SAR")
        file = tmp_path / "nifti" / label / f"{number}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_nifti(voxels))
    found = []
    for kind in ("series", "nifti"):
        paths = [f.path for f in list_images(tmp_path / kind, has_volumes=True).files]
        cache = build_cache(
            tmp_path / kind,
            paths,
            settings=PixelSettings(image_size=24, slices=5, intensity="lung"),
            cache_dir=tmp_path / "cache",
        )
        found.append(np.stack([cache.pixels[fact.row] for fact in cache.facts]))
    np.testing.assert_array_equal(found[0], found[1])
    assert len(np.unique(found[0])) > 1000


def test_series_go_to_a_report_that_names_what_was_found(series_run: Path, series: Path) -> None:
    config = json.loads((series_run / "config.json").read_text())
    inferences = {item["topic"]: item for item in config["provenance"]["inferences"]}
    first = "in 1 case: "
    expected = {
        "localizers": f"localizers {first}NORMAL/case00 (1 left out)",
        "copies of slices": f"copies of slices {first}NORMAL/case01 (1 left out)",
        "missing slices": f"missing slices {first}LESION/case02 (1 after",
    }
    page = (series_run / "report.html").read_text()
    for topic, text in expected.items():
        assert inferences[topic]["warning"].startswith(text)
        assert text in page
    assert "12 patients, 24 images" in inferences["patients"]["found"]
    rows = read_csv(series_run / "split.csv")
    groups = {row["path"]: row["group"] for row in rows}
    assert len(groups) == NUM_CASES
    assert groups["NORMAL/case00"] == groups["NORMAL/case01"] != groups["NORMAL/case04"]
    assert not any(group in (f"P{n}" for n in range(12)) for group in groups.values())
    explain(series_run, method="eigencam")
    panels = list((series_run / "eigencam").glob("F[PN]/*.png"))
    assert panels
    assert all(place_overlay(panel).is_file() for panel in panels)


def test_an_interrupted_run_ends_with_the_same_weights(
    series_run: Path, series: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    resume_to_the_same(series_run, make_config(series, tmp_path, **SETTINGS))


def test_prediction_takes_folders_of_series(
    series_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_series(tmp_path / "new/one", phantom(50))
    write_series(tmp_path / "new/two", phantom(51), uid="1.2")
    write_series(tmp_path / "new/two", phantom(52), uid="1.3", name="x{}.dcm")
    (tmp_path / "new/one/003.dcm").unlink()
    found = []
    for named in (
        [str(tmp_path / "new")],
        [f"{tmp_path}/new/*"],
        [f"{tmp_path}/new/one", f"{tmp_path}/new/two/1.2", f"{tmp_path}/new/two/1.3"],
    ):
        predict(series_run, named, output=tmp_path / "out.csv")
        found.append(read_csv(tmp_path / "out.csv"))
    names = [Path(row["path"]).relative_to(tmp_path / "new").as_posix() for row in found[0]]
    assert names == ["one", "two/1.2", "two/1.3"]
    assert found[0] == found[1] == found[2]


def test_the_audit_names_what_was_found(
    series: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    result = check(make_config(series, tmp_path, **SETTINGS))
    checks = {item["name"]: item for item in result.content["checks"]}
    names = {finding["name"] for finding in checks["inferences"]["findings"]}
    assert {"localizers", "copies_of_slices", "missing_slices"} <= names
    sizes = {row[0]: row[1] for row in checks["files"]["figures"][0]["rows"]}
    assert sizes == {"32 x 32 x 8": NUM_CASES - 1, "32 x 32 x 7": 1}
    properties = {row[0] for row in checks["shortcuts"]["figures"][1]["rows"]}
    assert {"number of slices", "distance of slices", "orientation LPS"} <= properties


def test_copies_of_a_series_under_other_names_are_found(
    series: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data = tmp_path / "data"
    shutil.copytree(series, data)
    shutil.copytree(data / "NORMAL/case04", data / "LESION/copy")
    for file in (data / "LESION/copy").iterdir():
        file.rename(file.with_name(f"other{file.name}.dcm"))
    result = check(make_config(data, tmp_path, **SETTINGS))
    (copies,) = [item for item in result.content["checks"] if item["name"] == "duplicates"]
    (finding,) = [f for f in copies["findings"] if f["name"] == "identical_across_classes"]
    assert finding["verdict"] == "error"
    assert sorted(finding["examples"][0]["paths"]) == ["LESION/copy", "NORMAL/case04"]


def test_a_case_that_is_not_one_volume_is_an_error_or_left_out(
    series: Path, tmp_path: Path, make_config: ConfigMaker
) -> None:
    data = tmp_path / "data"
    shutil.copytree(series, data)
    folder = data / "NORMAL/case00"
    points = [*draw_slices(phantom(0), uid="1.1"), *draw_slices(phantom(1), uid="1.1")]
    shutil.rmtree(folder)
    write_files(folder, points)
    reason = "NORMAL/case00: the series has 2 different images at each of 8 positions"
    with pytest.raises(DataError) as caught:
        train(make_config(data, tmp_path, **SETTINGS))
    assert reason in "\n".join(caught.value.args)
    made = train(make_config(data, tmp_path, on_bad_image="skip", **SETTINGS))
    rows = read_csv(made.run_dir / "rejected.csv")
    assert [f"{row['path']}: {row['reason']}"[: len(reason)] for row in rows] == [reason]
    result = check(make_config(data, tmp_path, **SETTINGS))
    findings = result.content["checks"][0]["findings"]
    assert [(f["name"], f["verdict"]) for f in findings] == [("slices", "error")]
