"""A settings file for a data set: it reads back as what was found, and asks what is not known."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.dicom_series import phantom, write_series

from medimg_baseline_cls import Config, init
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import build_config, field_facts
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.pipeline.commands.check import collect_images
from medimg_baseline_cls.pipeline.steps.inferences import describe_certainty
from medimg_baseline_cls.utils.log import SILENT


def draw(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size=(16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty current folder, next to the data."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture
def phantoms(workplace):
    return write_phantoms(workplace / "chest xray", num_train=12, num_test=6, image_size=64, seed=0)


@pytest.fixture
def make_table(workplace):
    """Write images and a table of them with these columns."""

    def make(columns, name="labels.csv", num_images=12):
        for i in range(num_images):
            draw(workplace / "data" / f"{i}.png", seed=i)
        rows = [[column[i] for column in columns.values()] for i in range(num_images)]
        with (workplace / "data" / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([list(columns), *rows])
        return workplace / "data" / name

    return make


def list_set(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def test_the_file_sets_what_is_sure(phantoms):
    result = init(phantoms)
    assert str(result.file) == "chest-xray.yaml"
    expected = {"data_dir": str(phantoms), "positive_class": "PNEUMONIA"}
    assert list_set(result.file) == expected
    assert result.settings == expected
    assert result.questions == ()
    text = result.file.read_text(encoding="utf-8")
    assert "Open questions: none." in text
    assert "split folders, 18 images, multiclass: NORMAL, PNEUMONIA" in text
    assert "Inferred: PNEUMONIA (sure: NORMAL looks like the negative class)." in text


def test_the_file_means_the_same_as_flags(phantoms, capsys):
    file = init(phantoms).file
    given = Config(data_dir=phantoms, positive_class="PNEUMONIA")
    assert build_config(file) == given
    capsys.readouterr()
    assert main(["run", "--config", str(file), "--print-config"]) == 0
    from_file = yaml.safe_load(capsys.readouterr().out)
    flags = ["--data-dir", str(phantoms), "--positive-class", "PNEUMONIA"]
    assert main(["run", *flags, "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == from_file


def test_every_comment_that_is_a_setting_is_the_default(phantoms):
    lines = init(phantoms).file.read_text(encoding="utf-8").splitlines()
    names = [line[2:].partition(":")[0] for line in lines if line.startswith("# ")]
    commented = [name for name in names if name in field_facts()]
    assert {"image_size", "arch", "seed", "output_dir", "group_regex"} <= set(commented)
    opened = "\n".join(
        line[2:] if line[2:].partition(":")[0] in commented else line for line in lines
    )
    settings = yaml.safe_load(opened)
    expected = dataclasses.asdict(Config(data_dir=phantoms, positive_class="PNEUMONIA"))
    assert dataclasses.asdict(Config(**settings)) == expected


def test_the_data_are_as_before(phantoms):
    before = {path: path.stat().st_mtime_ns for path in phantoms.rglob("*")}
    init(phantoms)
    assert {path: path.stat().st_mtime_ns for path in phantoms.rglob("*")} == before


def test_nothing_is_overwritten(phantoms):
    file = init(phantoms).file
    file.write_text("mine")
    with pytest.raises(ConfigError, match="exists and is not overwritten"):
        init(phantoms)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "said"), [("{data}/s.yaml", "inside the data folder"), ("s.json", "ends in .yaml")]
)
def test_a_place_that_does_not_fit_is_refused(phantoms, workplace, name, said):
    before = sorted(workplace.rglob("*"))
    with pytest.raises(ConfigError, match=said):
        init(phantoms, output=name.format(data=phantoms))
    assert sorted(workplace.rglob("*")) == before


def test_what_is_no_data_set_is_refused_and_leaves_nothing(workplace):
    (workplace / "empty").mkdir()
    for data in ("empty", "none"):
        with pytest.raises(DataError):
            init(workplace / data)
    assert list((workplace / "work").iterdir()) == []


def test_classes_without_a_negative_name_are_a_question(phantoms, capsys):
    for split in ("train", "test"):
        (phantoms / split / "NORMAL").rename(phantoms / split / "COVID")
    shutil.rmtree(phantoms / "masks", ignore_errors=True)
    result = init(phantoms)
    assert "positive_class" not in list_set(result.file)
    assert any("positive" in question for question in result.questions)
    text = result.file.read_text(encoding="utf-8")
    assert "# positive_class: null" in text
    assert "# 1. " in text
    assert "open question 1: " in capsys.readouterr().out


def test_names_without_patients_are_a_question(workplace):
    for i in range(20):
        draw(workplace / "data" / ("NORMAL" if i % 2 else "SICK") / f"{chr(97 + i)}.png", seed=i)
    (question,) = init(workplace / "data").questions
    assert "Which images are of one patient?" in question


def test_patients_are_as_sure_as_a_run_calls_them(workplace, tmp_path):
    """No two images are of one patient: the names may say less than it seems."""
    for i in range(20):
        draw(workplace / "data" / ("NORMAL" if i % 2 else "SICK") / f"patient{i}.png", seed=i)
    result = init(workplace / "data")
    config = Config(data_dir=workplace / "data", output_dir=tmp_path / "out", image_size=32)
    images = collect_images(config, workplace / "data", log=SILENT)
    (patients,) = (item for item in images.inferences if item.topic == "patients")
    assert patients.certainty == "guess"
    assert result.questions == (patients.warning,)
    text = " ".join(result.file.read_text(encoding="utf-8").replace("\n#", "").split())
    assert f"Inferred: {patients.found} ({describe_certainty(patients)})." in text


def test_a_table_with_the_usual_columns_is_read(make_table):
    columns = {
        "path": [f"{i}.png" for i in range(12)],
        "label": ["NORMAL", "SICK"] * 6,
        "patient_id": [f"p{i // 2}" for i in range(12)],
    }
    table = make_table(columns)
    result = init(table)
    settings = list_set(result.file)
    assert settings["manifest"] == str(table)
    assert settings["group_column"] == "patient_id"
    assert build_config(result.file) == Config(
        manifest=table, positive_class="SICK", group_column="patient_id"
    )


def test_columns_with_other_names_are_set_and_asked_about(make_table):
    columns = {
        "image_id": [f"{i}.png" for i in range(12)],
        "dx": ["NORMAL", "SICK"] * 6,
        "subject": [f"p{i // 2}" for i in range(12)],
    }
    result = init(make_table(columns), output="mine.yaml")
    settings = list_set(result.file)
    assert (settings["path_column"], settings["label_columns"]) == ("image_id", ["dx"])
    assert "Is image_id the column of the image file?" in result.questions[0]
    assert "Is dx the column of the class?" in result.questions[1]
    assert build_config(result.file).label_columns == ("dx",)


def test_a_table_without_a_class_is_an_open_question(make_table):
    table = make_table({"path": [f"{i}.png" for i in range(12)], "weight": ["1"] * 12})
    result = init(table)
    assert list_set(result.file) == {"manifest": str(table)}
    assert any("label_columns" in q or "--label-columns" in q for q in result.questions)


def test_names_that_act_on_a_terminal_or_on_yaml_are_harmless(workplace):
    data = workplace / "a\x1b[2J: #b"
    for i in range(8):
        name = "NORMAL" if i % 2 else "x\n!y"
        draw(data / name / f"patient{i // 2}_{i}.png", seed=i)
    result = init(data, output="odd.yaml")
    assert "\x1b" not in result.file.read_text(encoding="utf-8")
    assert build_config(result.file).data_dir == data


def test_the_command_prints_what_comes_next(phantoms, capsys):
    assert main(["init", str(phantoms), "--output", "my file.yaml"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    name = "'my file.yaml'"
    assert last == f"next: medimg check --config {name} && medimg run --config {name}"
    assert main(["init", str(phantoms), "--output", "my file.yaml"]) == 2


def test_an_npz_file_is_described(workplace):
    def make(count):
        return np.zeros((count, 28, 28), np.uint8), np.arange(count)[:, None] % 2

    arrays = {}
    for split, count in (("train", 12), ("val", 4), ("test", 6)):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = make(count)
    np.savez(workplace / "toy.npz", **arrays)
    result = init(workplace / "toy.npz")
    assert list_set(result.file)["data_dir"] == str(workplace / "toy.npz")
    assert "npz, 22 images" in result.file.read_text(encoding="utf-8")
    assert sorted(path.name for path in workplace.iterdir()) == ["toy.npz", "work"]


def test_an_npz_file_of_volumes_asks_for_slices(workplace):
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = np.zeros((6, 9, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(6)[:, None] % 2
    np.savez(workplace / "toy.npz", **arrays)
    result = init(workplace / "toy.npz")
    assert any("these are volumes: pass --slices 9" in text for text in result.questions)


def test_the_json_end_lists_what_is_set(phantoms, capsys):
    import json

    assert main(["init", str(phantoms), "--json"]) == 0
    end = json.loads(capsys.readouterr().out)
    assert end["exit_code"] == 0
    assert end["settings"]["positive_class"] == "PNEUMONIA"
    assert end["questions"] == []
    assert end["file"] == "chest-xray.yaml"


@pytest.mark.parametrize("name", ["PNEUMONIA", "no", "1", "null", "a: b", "- x", "#", "'q'", "Ö"])
def test_a_class_of_any_name_is_read_back(workplace, name):
    for i in range(16):
        draw(workplace / "data" / ("NORMAL" if i % 2 else name) / f"patient{i}_{i}.png", seed=i)
    result = init(workplace / "data", output="s.yaml")
    config = build_config(result.file)
    assert config.positive_class in (name, None)
    assert config.positive_class == name or result.questions


def test_folders_of_slices_are_set_as_volumes_and_asked_about(workplace):
    for number in range(6):
        write_series(workplace / f"ct/{'AB'[number % 2]}/scan{number}", phantom(number))
    result = init(workplace / "ct")
    assert result.settings["slices"] == 32
    assert "Are the images of each folder the slices of a volume?" in result.questions[0]
    text = result.file.read_text(encoding="utf-8")
    assert "slices: 32" in text
    assert "6 images" in text
