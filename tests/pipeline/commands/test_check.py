"""Planted leaks are found whatever their names, the data folder stays as it was."""

import csv
import hashlib
import json
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls import check, train
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.pipeline.commands.check import CheckResult
from medimg_baseline_cls.utils.own_output import MARKER

ConfigMaker = Callable[..., Config]


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    """Return content and time of every file below a folder."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def findings(result: CheckResult) -> dict[str, dict[str, Any]]:
    listed = [found for item in result.content["checks"] for found in item["findings"]]
    return {found["name"]: found for found in listed}


def files_of(data: Path, cell: str) -> list[Path]:
    return sorted((data / cell).glob("*.png"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "phantoms"
    return write_phantoms(folder, num_train=140, num_test=60, image_size=64, seed=8)


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    """A copy of the sound phantoms, to plant something in."""
    return Path(shutil.copytree(sound, tmp_path / "data"))


@pytest.fixture
def run_check(tmp_path: Path, make_config: ConfigMaker) -> Callable[..., CheckResult]:
    def call(folder: Path, *, label_noise: bool = False, **changes: Any) -> CheckResult:
        config = make_config(folder, tmp_path / "outputs", **changes)
        return check(config, label_noise=label_noise)

    return call


def test_sound_phantoms_have_no_error(run_check: Callable[..., CheckResult], sound: Path) -> None:
    result = run_check(sound)
    assert result.status in (0, 1)
    names = set(findings(result))
    assert not {name for name in names if "across" in name or "identical" in name}
    assert result.content["num_images"] == 200
    assert result.content["num_per_split"] == {"train": 140, "test": 60}
    assert [item["name"] for item in result.content["checks"]] == [
        *("files", "duplicates", "groups", "labels", "shortcuts", "shift", "inferences")
    ]


def test_four_planted_leaks_are_found_under_other_names(
    run_check: Callable[..., CheckResult], data: Path
) -> None:
    normal, ill = files_of(data, "train/NORMAL"), files_of(data, "train/PNEUMONIA")
    planted = {
        "exact": data / "test/NORMAL/scan_a.png",
        "compressed": data / "test/NORMAL/scan_b.jpeg",
        "scaled": data / "test/PNEUMONIA/scan_c.png",
    }
    shutil.copy(normal[3], planted["exact"])
    Image.open(normal[9]).save(planted["compressed"], quality=50)
    Image.open(ill[2]).resize((90, 81), Image.Resampling.BICUBIC).save(planted["scaled"])
    # Another film of a patient of train: his name with another number, other pixels.
    patient = ill[11].stem.rsplit("_", 1)[0]
    files_of(data, "test/PNEUMONIA")[4].rename(data / f"test/PNEUMONIA/{patient}_9999.png")

    result = run_check(data)
    assert result.status == 3
    found = findings(result)
    assert found["identical_across_splits"]["count"] == 1
    assert set(found["identical_across_splits"]["examples"][0]["paths"]) == {
        normal[3].relative_to(data).as_posix(),
        "test/NORMAL/scan_a.png",
    }
    near = found["near_across_splits"]
    shown = {path for example in near["examples"] for path in example["paths"]}
    assert near["count"] == 2
    assert shown == {
        *(path.relative_to(data).as_posix() for path in (normal[9], ill[2])),
        "test/NORMAL/scan_b.jpeg",
        "test/PNEUMONIA/scan_c.png",
    }
    assert found["group_across_splits"]["count"] == 1
    assert found["group_across_splits"]["examples"][0]["text"].startswith(patient)
    errors = {name for name, item in found.items() if item["verdict"] == "error"}
    assert errors == {"identical_across_splits", "near_across_splits", "group_across_splits"}


def test_data_folder_is_left_as_it_was(
    run_check: Callable[..., CheckResult], data: Path, tmp_path: Path
) -> None:
    before = fingerprint(data)
    result = run_check(data, project="films")
    assert fingerprint(data) == before
    assert result.folder.parent == tmp_path / "outputs" / "audits"
    assert result.folder.name.startswith("films_")
    assert {p.name for p in result.folder.iterdir()} == {MARKER, "audit.html", "audit.json"}


@pytest.mark.parametrize("setting", ["output_dir", "cache_dir"])
def test_place_inside_the_data_folder_is_refused(data: Path, tmp_path: Path, setting: str) -> None:
    places = {"output_dir": tmp_path / "outputs", "cache_dir": None, setting: data / "out"}
    with pytest.raises(ConfigError, match="nothing is written"):
        check(Config(data_dir=data, **places))
    assert not (data / "out").exists()


def test_no_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no data folder is set"):
        check(Config(output_dir=tmp_path))
    with pytest.raises(DataError, match="nowhere"):
        check(Config(data_dir=tmp_path / "nowhere", output_dir=tmp_path / "outputs"))
    assert not (tmp_path / "outputs" / "audits").exists()


def test_bad_files_are_counted_and_do_not_stop_it(
    run_check: Callable[..., CheckResult], data: Path
) -> None:
    (data / "train/NORMAL/empty.png").write_bytes(b"")
    (data / "train/NORMAL/page.jpg").write_text("<html>not found</html>", encoding="utf-8")
    whole = files_of(data, "train/NORMAL")[0].read_bytes()
    (data / "train/NORMAL/cut.png").write_bytes(whole[: len(whole) // 2])
    shutil.copy(files_of(data, "train/NORMAL")[0], data / "train/NORMAL/wrong.jpg")
    Image.fromarray(np.full((64, 64), 40, np.uint8)).save(data / "train/NORMAL/blank.png")
    result = run_check(data)
    assert result.status == 3  # as training would stop
    assert run_check(data, on_bad_image="skip").status == 1
    found = findings(result)
    counts = {name: found[name]["count"] for name in ("empty", "other_format", "truncated")}
    assert counts == {"empty": 1, "other_format": 1, "truncated": 1}
    assert found["constant"]["examples"][0]["paths"] == ["train/NORMAL/blank.png"]
    assert found["wrong_extension"]["examples"][0]["paths"] == ["train/NORMAL/wrong.jpg"]
    assert result.content["num_rejected"] == 3
    assert result.content["num_images"] + 3 == len(list(data.glob("t*/*/*.*")))


def test_folder_without_one_readable_file_is_an_error_and_not_a_crash(
    run_check: Callable[..., CheckResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        file = tmp_path / f"corrupt/{'AB'[number % 2]}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"nonsense")
    result = run_check(tmp_path / "corrupt", positive_class="B")
    assert (result.status, result.content["num_rejected"]) == (3, 8)
    first, *others, last = result.content["checks"]
    assert (first["name"], first["verdict"]) == ("files", "error")
    assert last["name"] == "inferences"
    assert {item["verdict"] for item in others} == {"not measured"}
    assert {item["summary"] for item in others} == {"Not measured: no image could be read."}
    assert (result.folder / "audit.html").is_file()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("Shift")] == [["Shift", "-"]]


def test_shift_of_images_without_a_split_is_not_called_ok(
    run_check: Callable[..., CheckResult], sound: Path
) -> None:
    result = run_check(sound / "train")
    (shift,) = [item for item in result.content["checks"] if item["name"] == "shift"]
    assert shift["verdict"] == "not measured"
    assert "not split yet" in shift["summary"]


def test_copies_of_one_patient_are_a_note_and_of_two_a_warning(
    run_check: Callable[..., CheckResult], data: Path
) -> None:
    first = files_of(data, "train/PNEUMONIA")[0]
    patient = first.stem.rsplit("_", 1)[0]
    shutil.copy(first, first.with_name(f"{patient}_9998.png"))
    other = files_of(data, "train/PNEUMONIA")[20]
    shutil.copy(other, other.with_name("person9999_virus_1.png"))
    found = findings(run_check(data))
    assert found["identical_within_group"]["verdict"] == "note"
    assert found["identical_across_groups"]["verdict"] == "warning"


def test_planted_marker_is_told_by_the_controls(
    run_check: Callable[..., CheckResult], tmp_path: Path
) -> None:
    folder = tmp_path / "marked"
    write_phantoms(folder, num_train=140, num_test=60, image_size=64, seed=8, shortcut=True)
    result = run_check(folder)
    (check_,) = [item for item in result.content["checks"] if item["name"] == "shortcuts"]
    border = next(r for r in check_["figures"][0]["rows"] if r[0] == "outer frame")
    assert border[2] > 0.85
    assert "telling_control" in findings(result)


def test_json_holds_what_is_returned_and_page_shows_every_finding(
    run_check: Callable[..., CheckResult], data: Path
) -> None:
    shutil.copy(files_of(data, "train/NORMAL")[0], data / "test/NORMAL/copy <b>.png")
    result = run_check(data)
    written = json.loads((result.folder / "audit.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(result.content))
    assert written["exit_status"] == result.status == 3
    page = (result.folder / "audit.html").read_text(encoding="utf-8")
    for found in findings(result).values():
        assert found["what"] in page
    assert "copy &lt;b&gt;.png" in page
    assert "<script" not in page
    assert page.count("data:image/png;base64,") >= 2


def test_terminal_shows_a_table_and_ends_with_the_page(
    run_check: Callable[..., CheckResult], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(files_of(data, "train/NORMAL")[0], data / "test/NORMAL/copy.png")
    result = run_check(data)
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert lines[-1] == f"audit: {result.folder / 'audit.html'}"
    header = next(line for line in lines if line.startswith("check "))
    assert header.split() == ["check", "verdict", "count", "what"]
    (copied,) = [line for line in lines if "byte-identical" in line]
    assert copied.split()[:2] == ["error", "1"]
    assert "test/NORMAL/copy.png" in copied
    assert lines[-2].endswith(": the page says how to fix each")
    num_warnings = sum(f["verdict"] == "warning" for f in findings(result).values())
    assert lines[-2].startswith(f"1 error, {num_warnings} warning")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"melanoma": 6, "nevus": 6}, "which class is positive cannot be told"),
        ({"Normal": 6, "Sick": 6, "Nromal": 1}, "Nromal"),
    ],
)
def test_what_training_refuses_is_an_error_in_the_same_words(
    make_config: ConfigMaker, tmp_path: Path, counts: dict[str, int], words: str
) -> None:
    draw = np.random.default_rng(0)
    for name, count in counts.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"data/{name}/{number}.png")
    config = make_config(tmp_path / "data", tmp_path / "outputs")
    result = check(config)
    with pytest.raises((ConfigError, DataError)) as caught:
        train(config)
    refused = findings(result)["refused"]
    assert result.status == 3 and refused["verdict"] == "error"
    assert words in refused["what"] and str(caught.value.args[0]) in refused["what"]


def test_two_audits_of_one_folder_agree(run_check: Callable[..., CheckResult], sound: Path) -> None:
    first, second = run_check(sound), run_check(sound)
    assert first.folder != second.folder
    assert first.content["checks"] == second.content["checks"]


def test_doubtful_labels_are_listed_on_request(
    run_check: Callable[..., CheckResult], sound: Path
) -> None:
    result = run_check(sound, label_noise=True, arch="resnet18")
    last = next(item for item in result.content["checks"] if item["name"] == "noise")
    assert all(found["verdict"] == "note" for found in last["findings"])
    assert "labels are doubted" in last["summary"]


def test_pattern_without_a_patient_stops_check_and_training_alike(
    make_config: ConfigMaker, sound: Path, tmp_path: Path
) -> None:
    config = make_config(sound, tmp_path / "outputs", group_regex=r"^(subject\d+)_")
    for command in (check, train):
        with pytest.raises(DataError, match="matches 0 of 200 names, such as "):
            command(config)
    assert not (tmp_path / "outputs" / "cache").exists()


def test_setting_of_the_patient_is_used(run_check: Callable[..., CheckResult], sound: Path) -> None:
    found = findings(run_check(sound, group_regex="none"))
    assert "no_groups" in found
    each = findings(run_check(sound, group_regex=r"^(..)"))
    assert each["group_across_splits"]["verdict"] == "error"


def test_an_anonymous_audit_names_no_image_and_no_patient(
    run_check: Callable[..., CheckResult],
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDIMG_GROUP_KEY", "a secret of the tests")
    normal, ill = files_of(data, "train/NORMAL"), files_of(data, "train/PNEUMONIA")
    shutil.copy(normal[3], data / "test/NORMAL/DOE_JANE.png")
    shutil.copy(normal[4], data / "train/PNEUMONIA/DOE_JOHN.png")
    patient = ill[11].stem.rsplit("_", 1)[0]
    files_of(data, "test/PNEUMONIA")[4].rename(data / f"test/PNEUMONIA/{patient}_9999.png")
    (data / "train/NORMAL/DOE_BABY.png").write_bytes(b"")
    result = run_check(data, anonymous_ids=True)
    said = capsys.readouterr().out.split("audit: ")[0].split("\n", 1)[1]  # without our own paths
    texts = [said, *(p.read_text("utf-8") for p in result.folder.glob("audit.*"))]
    page = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", "".join(texts))
    names = {path.name for path in data.rglob("*.png")} | {patient, "DOE_J", "DOE_BABY"}
    assert [name for name in names if name in page] == []
    private = result.folder.with_name(f"{result.folder.name}_pseudonyms_PRIVATE.csv")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    with private.open(encoding="utf-8", newline="") as file:
        path_of = {row["pseudonym"]: row["image_id"] for row in csv.DictReader(file)}
    copies = findings(result)["identical_across_splits"]["examples"][0]["paths"]
    expected = {normal[3].relative_to(data).as_posix(), "test/NORMAL/DOE_JANE.png"}
    assert {path_of[name] for name in copies} == expected
    assert "train/NORMAL/DOE_BABY.png" in path_of.values()
    assert page.count("patient-") > 0
    assert "<img" in (result.folder / "audit.html").read_text(encoding="utf-8")
