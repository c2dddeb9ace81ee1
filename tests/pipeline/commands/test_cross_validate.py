"""Cross-validation: ordinary runs, joined; a stopped one ends with the same figures."""

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import roc_auc_score
from tests.pipeline.commands.conftest import FOLDS, Told

from medimg_baseline_cls import Callback, cross_validate, report, resume_cross_validation, train
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.folders.image_files import ListedFile, Listing
from medimg_baseline_cls.errors import (
    ConfigError,
    DataError,
    LeakageError,
    RunError,
    RunInterrupted,
    WeightsError,
)
from medimg_baseline_cls.pipeline import sweep
from medimg_baseline_cls.pipeline.commands import cross_validate as cv
from medimg_baseline_cls.pipeline.steps.session import RunResult
from medimg_baseline_cls.schema import Split
from medimg_baseline_cls.training.interrupts import StopRequest
from medimg_baseline_cls.utils.runs import read_status

ConfigMaker = Callable[..., Config]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def figures_of(folder: Path) -> tuple[Any, list[dict[str, str]]]:
    """Return what must be the same in two cross-validations: all but the names of the runs."""
    summary = read_json(folder / "cv_summary.json")
    rows = read_rows(folder / "predictions_oof.csv")
    for entry in (*summary["runs"], *rows):
        del entry["run"]
    return summary, rows


@pytest.fixture(scope="module")
def small_config(phantoms: Path, make_config: ConfigMaker) -> Callable[..., Config]:
    return lambda output_dir, **changes: make_config(phantoms, output_dir, **{**FOLDS, **changes})


@pytest.fixture(scope="module")
def finished(finished_folds: Told) -> RunResult:
    return finished_folds[0]


def test_a_callback_is_told_of_every_run_in_turn(finished_folds: Told) -> None:
    assert finished_folds[1].told == ["1 of 2", "start", "end", "2 of 2", "start", "end"]


def test_each_fold_is_an_ordinary_run(finished: RunResult) -> None:
    plan = read_json(finished.run_dir / "cv.json")
    assert len(plan["runs"]) == 2
    for number, entry in enumerate(plan["runs"]):
        run = Path(entry["run"])
        assert read_status(run) == "finished"
        settings = read_json(run / "config.json")
        assert (settings["num_folds"], settings["fold"], settings["fold_repeat"]) == (2, number, 0)
        assert (run / "best.pt").is_file() and (run / "test_summary.json").is_file()
        assert not (run / "gradcam").exists()


def test_each_image_is_tested_once_and_predictions_are_those_of_the_runs(
    finished: RunResult, phantoms: Path
) -> None:
    rows = read_rows(finished.run_dir / "predictions_oof.csv")
    images = {path.relative_to(phantoms).as_posix() for path in phantoms.glob("t*/*/*.png")}
    assert Counter(row["path"] for row in rows) == Counter(images)
    plan = read_json(finished.run_dir / "cv.json")
    for entry in plan["runs"]:
        run = Path(entry["run"])
        own = [row for row in rows if row["run"] == run.name]
        assert {(row["repeat"], row["fold"]) for row in own} == {("0", str(entry["fold"]))}
        bare = [{k: v for k, v in row.items() if k not in ("run", "repeat", "fold")} for row in own]
        assert bare == read_rows(run / "predictions_test.csv")


def test_the_report_leads_to_those_of_the_folds(finished: RunResult, tmp_path: Path) -> None:
    folder = finished.run_dir
    page = (folder / "report.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([.][^"]+)"', page)
    runs = [Path(entry["run"]).name for entry in read_json(folder / "cv.json")["runs"]]
    assert links == [f"../../runs/{run}/report.html" for run in runs]
    assert all((folder / link).is_file() for link in links)
    assert report(folder).summary == {"report": str(folder / "report.html")}
    assert (folder / "report.html").read_text(encoding="utf-8") == page
    shutil.copy(folder / "cv.json", tmp_path)
    with pytest.raises(RunError, match="is not finished.*medimg cv --resume"):
        report(tmp_path)


def test_figures_are_those_of_scikit_learn_and_of_counting(finished: RunResult) -> None:
    summary = read_json(finished.run_dir / "cv_summary.json")
    assert finished.summary == summary
    rows = read_rows(finished.run_dir / "predictions_oof.csv")
    aurocs: list[float] = []
    hits = positives = 0
    for entry in summary["runs"]:
        own = [row for row in rows if row["run"] == Path(entry["run"]).name]
        truth = [row["label"] == "PNEUMONIA" for row in own]
        scores = [float(row["prob_PNEUMONIA"]) for row in own]
        aurocs.append(roc_auc_score(truth, scores))
        thresholds = read_json(Path(entry["run"]) / "thresholds.json")
        cut = thresholds["classes"]["PNEUMONIA"]["max_f1"]["threshold"]
        hits += sum(t and s >= cut for t, s in zip(truth, scores, strict=True))
        positives += sum(truth)
    block = summary["classes"]["PNEUMONIA"]
    assert block["metrics"]["auroc"]["mean"] == pytest.approx(sum(aurocs) / 2)
    assert block["metrics"]["auroc"]["max"] == pytest.approx(max(aurocs))
    pooled = block["operating_points"]["max_f1"]["pooled"]
    assert pooled["sensitivity"]["value"] == pytest.approx(hits / positives)


def test_a_stopped_cross_validation_ends_with_the_same_figures(
    finished: RunResult,
    small_config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stopped in training of the first fold, then in evaluation of the second."""

    def stop_within(config: Config, **_: object) -> RunResult:
        with monkeypatch.context() as patch:
            patch.setattr(StopRequest, "__init__", begin_set)
            return train(config)

    def begin_set(self: Any) -> None:
        self.is_set = True

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "train", stop_within)
        with pytest.raises(RunInterrupted, match="0 of 2 runs finished.*medimg cv --resume"):
            cross_validate(small_config(tmp_path))
    (folder,) = (tmp_path / "cv").iterdir()
    first = [run for run in (tmp_path / "runs").iterdir() if run.is_dir()]
    assert [read_status(run) for run in first] == ["interrupted"]

    calls: list[Path] = []

    def stop_at_second(run: Path) -> RunResult:
        calls.append(run)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(run)

    evaluate = sweep.evaluate
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "evaluate", stop_at_second)
        assert main(["cv", "--resume", "--output-dir", str(tmp_path)]) == 130
    said = capsys.readouterr().err
    assert f"1 of 2 runs finished; resume with: medimg cv --resume {folder}" in said
    assert calls[0] == first[0]
    before = (calls[0] / "log.txt").read_bytes()

    result = resume_cross_validation(folder)
    assert result.run_dir == folder
    after = (calls[0] / "log.txt").read_bytes()
    assert after.startswith(before)  # what was finished is left alone, and gets its report
    assert after.removeprefix(before).splitlines() == [
        f"report: {calls[0] / 'report.html'}".encode()
    ]
    assert len([run for run in (tmp_path / "runs").iterdir() if not run.is_symlink()]) == 2
    assert figures_of(folder) == figures_of(finished.run_dir)
    assert figures_of(resume_cross_validation(folder.name, output_dir=tmp_path).run_dir) == (
        figures_of(finished.run_dir)
    )
    with pytest.raises(RunError, match="no unfinished cross-validation"):
        resume_cross_validation(output_dir=tmp_path)


class Stage:
    """Stands in for training and evaluation: notes what each run was asked for."""

    def __init__(self) -> None:
        self.configs: list[Config] = []
        self.number_without_patients = 0

    def train(self, config: Config, *, callbacks: Sequence[Callback]) -> RunResult:
        assert not callbacks
        self.configs.append(config)
        run = config.output_dir / "runs" / f"{config.project}_20250101-000000"
        run.mkdir(parents=True)
        (run / "config.json").write_text("{}")
        (run / "status.json").write_text('{"state": "trained", "process": null}')
        return RunResult(run, {})

    def evaluate(self, run: Path) -> RunResult:
        number = len(self.configs)
        block = {
            "metrics": {"auroc": {"value": 0.5}, "average_precision": {"value": 0.5}},
            "operating_points": {},
        }
        summary = {
            "split": "test",
            "class_names": ["A", "B"],
            "positive_class": "B",
            "classes": {"B": block},
            "macro": block,
            "num_images": 1,
            "num_groups": 1,
        }
        (run / "test_summary.json").write_text(json.dumps(summary))
        if number != self.number_without_patients:
            (run / "patients").mkdir()
            (run / "patients" / "test_summary.json").write_text(json.dumps(summary))
        name = "image" if self.configs[-1].test_site is None else f"image{number}"
        name += str(self.configs[-1].fold)
        (run / "predictions_test.csv").write_text(f"image_id,prob_B\n{name},0.5\n")
        (run / "status.json").write_text('{"state": "finished", "process": null}')
        return RunResult(run, {})


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(sweep, "train", stage.train)
    monkeypatch.setattr(sweep, "evaluate", stage.evaluate)
    monkeypatch.setattr(sweep, "is_evaluated", lambda run: read_status(run) == "finished")
    return stage


def test_repeats_draw_the_folds_anew(stage: Stage, tmp_path: Path) -> None:
    result = cross_validate(
        Config(data_dir=tmp_path / "films", output_dir=tmp_path, project="x" * 64), repeats=2
    )
    asked = [(c.num_folds, c.fold_repeat, c.fold) for c in stage.configs]
    assert asked == [(5, repeat, fold) for repeat in range(2) for fold in range(5)]
    assert len({c.project for c in stage.configs}) == 10
    rows = read_rows(result.run_dir / "predictions_oof.csv")
    assert [(row["repeat"], row["fold"]) for row in rows] == [
        (str(repeat), str(fold)) for repeat in range(2) for fold in range(5)
    ]


def test_figures_per_patient_are_summarised_where_every_run_has_them(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = cross_validate(
        Config(data_dir=tmp_path / "films", output_dir=tmp_path, num_folds=3)
    ).summary
    assert summary["patients"]["classes"]["B"]["metrics"]["auroc"]["mean"] == 0.5
    assert "TEST per patient over 3 runs" in capsys.readouterr().out
    stage.number_without_patients = 5
    summary = cross_validate(
        Config(data_dir=tmp_path / "films", output_dir=tmp_path, num_folds=3)
    ).summary
    assert "patients" not in summary


def test_an_image_tested_twice_or_never_is_refused(stage: Stage, tmp_path: Path) -> None:
    folder = cross_validate(
        Config(data_dir=tmp_path / "films", output_dir=tmp_path, num_folds=2), repeats=2
    ).run_dir
    run = Path(read_json(folder / "cv.json")["runs"][3]["run"])
    (run / "predictions_test.csv").write_text("image_id,prob_B\nother,0.5\n")
    with pytest.raises(RunError, match="do not test each image once"):
        resume_cross_validation(folder)


def patch_sites(monkeypatch: pytest.MonkeyPatch, finished: RunResult, sites: list[str]) -> None:
    """Let the images of a real run come from sites, in turn, each patient of one."""
    from medimg_baseline_cls.data.splitting.split import read_split

    run = Path(read_json(finished.run_dir / "cv.json")["runs"][0]["run"])
    split = read_split(run / "split.csv", ("NORMAL", "PNEUMONIA"))
    records = tuple(
        replace(record, subgroups=(sites[n % len(sites)],), group=f"p{n}")
        for n, record in enumerate(split.records)
    )

    class Prepared:
        def __init__(self, session: Any) -> None:
            assert session.config.site_column is None
            self.split = Split(
                records, split.class_names, "multiclass", session.config.subgroup_columns
            )

    files = tuple(ListedFile(r.path, r.label, "", None, r.subgroups) for r in records)
    listing = Listing(files, split.class_names, 0, (), subgroup_names=("hospital",))
    monkeypatch.setattr(cv, "list_data", lambda config, cache_dir: listing)
    monkeypatch.setattr(cv, "prepare_data", Prepared)


def test_each_site_is_left_out_once(
    stage: Stage, finished: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_sites(monkeypatch, finished, ["south", "north", "west"])
    config = Config(
        data_dir=tmp_path / "none", output_dir=tmp_path, site_column="hospital", pretrained=False
    )
    result = cross_validate(config, by_site=True)
    assert [(c.test_site, c.num_folds) for c in stage.configs] == [
        ("north", None),
        ("south", None),
        ("west", None),
    ]
    rows = read_rows(result.run_dir / "predictions_oof.csv")
    assert [row["site"] for row in rows] == ["north", "south", "west"]
    assert len(list((tmp_path / "runs").iterdir())) == 3  # what looked for the sites is gone


def test_a_patient_at_two_sites_or_a_single_site_is_refused_before_training(
    stage: Stage, finished: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data_dir=tmp_path / "none", output_dir=tmp_path, site_column="hospital")
    patch_sites(monkeypatch, finished, ["south"])
    with pytest.raises(ConfigError, match="one site, south"):
        cross_validate(config, by_site=True)
    patch_sites(monkeypatch, finished, ["south", "north"])
    prepared = cv.prepare_data

    def share(session: Any) -> Any:
        data: Any = prepared(session)
        data.split = replace(
            data.split, records=tuple(replace(r, group="p0") for r in data.split.records)
        )
        return data

    monkeypatch.setattr(cv, "prepare_data", share)
    with pytest.raises(LeakageError, match="p0 has images at south and at north"):
        cross_validate(config, by_site=True)
    assert stage.configs == [] and list((tmp_path / "runs").iterdir()) == []
    assert not (tmp_path / "cv").exists()


def test_a_site_that_alone_has_a_class_is_refused_before_any_site_is_trained(
    stage: Stage, finished: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_sites(monkeypatch, finished, ["south", "north"])
    prepared = cv.prepare_data

    def sort(session: Any) -> Any:
        data: Any = prepared(session)
        sites = {"NORMAL": ("north",), "PNEUMONIA": ("west",)}
        data.split = replace(
            data.split,
            records=tuple(replace(r, subgroups=sites[r.label]) for r in data.split.records),
        )
        return data

    monkeypatch.setattr(cv, "prepare_data", sort)
    with pytest.raises(DataError, match="without hospital north no image of NORMAL is left"):
        cross_validate(
            Config(data_dir=tmp_path / "none", output_dir=tmp_path, site_column="hospital"),
            by_site=True,
        )
    assert stage.configs == []


@pytest.mark.parametrize(
    ("settings", "call", "words"),
    [
        ({"num_folds": 5, "fold": 1}, {}, "cv sets fold itself"),
        ({}, {"repeats": 0}, "repeats = 0: expected 1 or more"),
        ({}, {"by_site": True}, "by_site needs site_column"),
        ({"site_column": "s"}, {}, "site_column has no effect here"),
        ({"site_column": "s"}, {"by_site": True, "repeats": 2}, "each site once"),
        ({"site_column": "s", "test_site": "a"}, {"by_site": True}, "cv sets test_site itself"),
    ],
)
def test_contradictory_requests_are_refused_and_leave_nothing(
    settings: dict[str, Any], call: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        cross_validate(Config(output_dir=tmp_path, **settings), **call)
    assert list(tmp_path.iterdir()) == []


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        cross_validate(Config(output_dir=tmp_path))


def test_what_fails_at_the_first_fold_leaves_no_folder(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError):
        cross_validate(small_config(tmp_path, pretrained=True, weights=tmp_path / "none.pth"))
    with pytest.raises(DataError, match="num_folds = 100"):
        cross_validate(small_config(tmp_path, num_folds=100))
    assert list((tmp_path / "cv").iterdir()) == []


@pytest.mark.parametrize("change", ["settings", "runs", "key"])
def test_an_edited_or_missing_plan_is_refused(
    finished: RunResult, tmp_path: Path, change: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.run_dir, folder)
    plan = read_json(folder / "cv.json")
    if change == "key":
        plan["runs"][0]["more"] = 1
    else:
        del plan[change]
    (folder / "cv.json").write_text(json.dumps(plan))
    with pytest.raises(RunError, match=r"cv\.json was changed"):
        resume_cross_validation(folder)
    with pytest.raises(RunError, match="cv.json is missing"):
        resume_cross_validation(tmp_path)


def test_a_site_column_without_its_site_is_for_cv_alone(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match="set test_site, or leave out each site in turn by `medimg"
    ):
        train(small_config(tmp_path, num_folds=None, site_column="hospital"))
    assert list((tmp_path / "runs").iterdir()) == []
    with pytest.raises(ConfigError, match="test_site = A has no effect without site_column"):
        Config(test_site="A")
