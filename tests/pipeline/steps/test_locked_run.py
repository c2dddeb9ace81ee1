"""The folder of an external evaluation: where it is, and what becomes of it."""

from pathlib import Path

import pytest

from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.pipeline.steps import locked_run
from medimg_baseline_cls.pipeline.steps.locked_run import open_place
from medimg_baseline_cls.utils.locks import LOCK_NAME


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "chest"
    folder.mkdir(parents=True)
    return folder


def test_results_are_in_the_run(run: Path, tmp_path: Path):
    with open_place(run, "b", output_dir=tmp_path / "out") as place:
        assert place == run / "external" / "b"
        (place / "predictions_test.csv").touch()
    assert place.is_dir()
    assert not (tmp_path / "out").exists()


def test_results_of_a_read_only_run_are_in_the_output_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(place: Path, mode: int) -> bool:
        return not place.is_relative_to(run)

    monkeypatch.setattr(locked_run.os, "access", refuse)
    with open_place(run, "b", output_dir=tmp_path / "out") as place:
        assert place == tmp_path / "out" / "external" / "chest-b"
    assert list(run.iterdir()) == []


def fail(run: Path, tmp_path: Path) -> None:
    with open_place(run, "b", output_dir=tmp_path):
        raise DataError("a label")


def test_a_refusal_leaves_nothing(run: Path, tmp_path: Path):
    with pytest.raises(DataError, match="a label"):
        fail(run, tmp_path)
    assert list(run.iterdir()) == []


def test_a_refusal_keeps_earlier_results_and_the_log(run: Path, tmp_path: Path):
    with open_place(run, "b", output_dir=tmp_path) as place:
        (place / "predictions_test.csv").write_text("earlier", encoding="utf-8")
    with pytest.raises(DataError, match="a label"):
        fail(run, tmp_path)
    assert (place / "predictions_test.csv").read_text(encoding="utf-8") == "earlier"


def test_a_refusal_leaves_a_folder_that_another_command_fills(run: Path, tmp_path: Path):
    with open_place(run, "b", output_dir=tmp_path) as place:
        (place / "config.json").touch()  # not scored yet
        with pytest.raises(DataError, match="a label"):
            fail(run, tmp_path)
        assert (place / "config.json").exists()


def test_a_refusal_leaves_the_lock_of_a_command_on_other_data(run: Path, tmp_path: Path):
    (run / "external" / "c").mkdir(parents=True)
    (run / "external" / LOCK_NAME).touch()
    with pytest.raises(DataError, match="a label"):
        fail(run, tmp_path)
    assert {path.name for path in (run / "external").iterdir()} == {"c", LOCK_NAME}


def test_a_refusal_keeps_the_log_of_other_data_sets(run: Path, tmp_path: Path):
    (run / "external").mkdir()
    (run / "external" / "external_log.csv").write_text("number\n1\n", encoding="utf-8")
    with pytest.raises(DataError, match="a label"):
        fail(run, tmp_path)
    assert [path.name for path in (run / "external").iterdir()] == ["external_log.csv"]


def test_a_foreign_folder_is_refused(run: Path, tmp_path: Path):
    (run / "external" / "b").mkdir(parents=True)
    (run / "external" / "b" / "notes.txt").touch()
    with pytest.raises(ConfigError, match="pass another --name"):
        fail(run, tmp_path)
    assert (run / "external" / "b" / "notes.txt").exists()
