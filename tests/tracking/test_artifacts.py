"""What is sent has no name of an image, a patient or a place, and no image of a patient."""

import base64
import re
import shutil
import sqlite3
import struct
from pathlib import Path

import pytest
from tests.tracking.conftest import ConfigMaker

from medimg_baseline_cls import run, track
from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.reporting.outdated import mark_outdated
from medimg_baseline_cls.tracking.artifacts import list_artifacts
from medimg_baseline_cls.utils.files import read_csv, read_json, write_json

PATIENT, PLACE = "Quixwort", "zyzzogeton"


@pytest.fixture(scope="session")
def planted(configure: ConfigMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images whose names, patients and folder nobody could mistake for anything else.

    One image cannot be read, so that a name is in rejected.csv and in warnings, too.
    """
    data = tmp_path_factory.mktemp("home") / PLACE
    write_phantoms(data, num_train=48, num_test=20, image_size=64, seed=3)
    for path in sorted(data.rglob("*.png")):
        person = re.match(r"(?:person(\d+)|IM-(\d+))", path.name)
        assert person is not None
        number = person[1] or person[2]
        path.rename(path.with_name(f"{PATIENT}{number}_{path.stem[-4:]}.png"))
    broken = next((data / "train").rglob("*.png"))
    (broken.parent / f"{PATIENT}999_broken.png").write_bytes(broken.read_bytes()[:60])
    config = configure(
        tmp_path_factory.mktemp("planted"),
        data_dir=data,
        on_bad_image="skip",
        group_regex=rf"^({PATIENT[0]}[a-z]+\d+)_",
    )
    return run(config).run_dir


def copy_of(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "outputs" / "runs" / folder.name
    shutil.copytree(folder, copy)
    return copy


def read_everything(*places: Path) -> bytes:
    paths = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert paths
    return b"\n".join(str(p.name).encode() + p.read_bytes() for p in paths)


def list_everything(*places: Path) -> list[bytes]:
    """Return the bytes of the files, and the texts in their pictures' and databases' own forms."""
    found = [read_everything(*places)]
    for place in places:
        for path in place.rglob("*.db"):
            with sqlite3.connect(path) as store:
                found.append("\n".join(store.iterdump()).encode())
            store.close()
    return found


def test_the_planted_names_are_in_the_run(planted: Path) -> None:
    content = read_everything(planted)
    assert PATIENT.encode() in content and PLACE.encode() in content
    page = (planted / "report.html").read_text(encoding="utf-8")
    assert PATIENT in page
    assert any(PATIENT in row["path"] for row in read_csv(planted / "rejected.csv"))


def test_nothing_that_is_sent_has_a_planted_name(planted: Path, tmp_path: Path) -> None:
    copy = copy_of(planted, tmp_path)
    track([copy], "mlflow,tensorboard")
    store = copy.parents[1] / "mlflow"
    for content in list_everything(store, copy.parents[1] / "tensorboard"):
        assert len(content) > 10_000
        for name in (PATIENT, PLACE):
            assert name.encode() not in content
            assert name.lower().encode() not in content.lower()
    pages = list(store.rglob("report.html"))
    assert len(pages) == 1
    assert "patient-" in pages[0].read_text() or "image-" in pages[0].read_text()


def test_with_names_the_files_are_those_of_the_run(planted: Path, tmp_path: Path) -> None:
    copy = copy_of(planted, tmp_path)
    track([copy], "mlflow", names=True)
    store = copy.parents[1] / "mlflow"
    (page,) = store.rglob("report.html")
    assert page.read_bytes() == (planted / "report.html").read_bytes()
    (config,) = store.rglob("config.json")
    assert read_json(config) == read_json(planted / "config.json")
    assert any(PLACE.encode() in content for content in list_everything(store))


def list_pictures(page: Path) -> list[bytes]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page.read_text())
    return [base64.b64decode(text) for text in found]


def test_no_image_of_a_patient_is_in_the_files(planted: Path, tmp_path: Path) -> None:
    files = list_artifacts(planted, scratch=tmp_path / "scratch")
    of_patients = {
        path.read_bytes()
        for pattern in ("gradcam/**/*.png", "figures/train_batch*.png")
        for path in planted.glob(pattern)
    }
    assert len(of_patients) > 3
    assert of_patients & set(list_pictures(planted / "report.html"))
    shown = list_pictures(files["report.html"])
    assert shown and not of_patients & set(shown)
    assert not of_patients & {path.read_bytes() for path in files.values()}
    for data in shown:
        width, _ = struct.unpack(">II", data[16:24])
        assert width > 200  # a curve, not a thumbnail of 64 px


def test_settings_are_sent_without_places(planted: Path, tmp_path: Path) -> None:
    files = list_artifacts(planted, scratch=tmp_path / "scratch")
    sent, full = read_json(files["config.json"]), read_json(planted / "config.json")
    assert "data_dir" in full and "data_dir" not in sent and "output_dir" not in sent
    assert sent["finetune_lr"] == full["finetune_lr"]
    provenance = sent["provenance"]
    assert provenance["split_sha256"] == full["provenance"]["split_sha256"]
    assert set(provenance["weights"]) <= {"kind", "sha256"}


def test_weights_are_sent_where_they_are_asked_for(planted: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    plain = list_artifacts(planted, scratch=scratch)
    assert not any(name.endswith(".pt") for name in plain)
    more = list_artifacts(planted, scratch=scratch, checkpoints=True)
    assert set(more) - set(plain) == {"best.pt"}
    assert more["best.pt"] == planted / "best.pt"


def test_report_tables_pictures_and_history_are_among_the_files(
    planted: Path, tmp_path: Path
) -> None:
    files = list_artifacts(planted, scratch=tmp_path / "scratch")
    expected = ("report.html", "model_card.md", "config.json", "history.csv")
    assert {*expected, "tables/performance.csv", "figures/roc.png", "figures/training.png"} <= {
        *files
    }
    for name in ("tables/performance.csv", "tables/operating_points.csv"):
        assert files[name].read_bytes() == (planted / name).read_bytes()


def test_an_outdated_report_is_not_sent(planted: Path, tmp_path: Path) -> None:
    copy = copy_of(planted, tmp_path)
    mark_outdated(copy)
    files = list_artifacts(copy, scratch=tmp_path / "scratch")
    assert "report.html" not in files and "config.json" in files


def test_a_file_in_which_a_name_is_left_is_not_sent(planted: Path, tmp_path: Path) -> None:
    copy = copy_of(planted, tmp_path)
    group = read_csv(copy / "split.csv")[0]["group"]
    assert group.startswith(PATIENT)
    config = read_json(copy / "config.json")
    write_json(copy / "config.json", config | {"project": f"of-{group}", "test_site": group})
    files = list_artifacts(copy, scratch=tmp_path / "scratch")
    assert "config.json" not in files and "report.html" not in files
    assert "tables/performance.csv" in files


def test_a_run_that_has_only_begun_has_its_settings(planted: Path, tmp_path: Path) -> None:
    begun = tmp_path / "runs" / planted.name
    begun.mkdir(parents=True)
    for name in ("config.json", "env_report.json", "split.csv", "status.json"):
        shutil.copy(planted / name, begun / name)
    assert set(list_artifacts(begun, scratch=tmp_path / "scratch")) == {"config.json"}


def test_a_sweep_has_the_pictures_of_its_ensemble(swept: Path, tmp_path: Path) -> None:
    files = list_artifacts(swept, scratch=tmp_path / "scratch")
    assert "figures/roc.png" in files
    with_names = list_artifacts(swept, scratch=tmp_path / "scratch", names=True)
    assert with_names["report.html"] == swept / "report.html"
