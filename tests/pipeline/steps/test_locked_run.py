"""The folder of an external evaluation: where it is, and what becomes of it."""

from pathlib import Path

import pytest

from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.pipeline.steps import locked_run
from medimg_baseline_cls.pipeline.steps.locked_run import open_place, set_aside


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


@pytest.mark.parametrize("error", [DataError, KeyboardInterrupt])
def test_earlier_results_come_back_whenever_new_ones_are_not_finished(
    run: Path, tmp_path: Path, error: type[BaseException]
):
    with open_place(run, "b", output_dir=tmp_path) as place:
        (place / "predictions_test.csv").write_text("earlier", encoding="utf-8")
        (place / "tables").mkdir()
        (place / "tables" / "1.csv").touch()

    def start_again() -> None:
        with open_place(run, "b", output_dir=tmp_path) as place:
            set_aside(place)
            assert not (place / "predictions_test.csv").exists()
            (place / "predictions_test.csv").write_text("half", encoding="utf-8")
            raise error

    before = {path.relative_to(run) for path in run.rglob("*")}
    with pytest.raises(error):
        start_again()
    assert {path.relative_to(run) for path in run.rglob("*")} == before
    assert (place / "predictions_test.csv").read_text(encoding="utf-8") == "earlier"


def test_earlier_results_come_back_after_a_kill_and_go_after_success(run: Path, tmp_path: Path):
    with open_place(run, "b", output_dir=tmp_path) as place:
        (place / "predictions_test.csv").write_text("earlier", encoding="utf-8")
    set_aside(place)  # and no more: the process was killed
    with open_place(run, "b", output_dir=tmp_path):
        assert (place / "predictions_test.csv").read_text(encoding="utf-8") == "earlier"
        set_aside(place)
        (place / "predictions_test.csv").write_text("new", encoding="utf-8")
    assert [path.name for path in (run / "external").iterdir()] == ["b"]
    assert (place / "predictions_test.csv").read_text(encoding="utf-8") == "new"


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
