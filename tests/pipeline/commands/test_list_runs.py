"""The table of runs: what each folder says of itself, in any state, at any width, and as CSV."""

import csv
import json
import os

import pytest

from medimg_baseline_cls import list_runs
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.config import PRESETS
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.pipeline.commands import list_runs as command
from medimg_baseline_cls.utils.files import write_json

LOG = (
    "number,when,code,version,checkpoint_sha256,thresholds_sha256,split_sha256,class_order,"
    "predictions_test_sha256,reason,accepted\n"
)
AUROC = {"value": 0.8975, "interval": [0.7562, 0.9621], "method": "bootstrap"}
PRECISION = {"value": 0.9082, "interval": None, "method": "bootstrap"}


def make_run(output, name="chest_20260101-120000", *, state="finished", looks=2, **settings):
    run = output / "runs" / name
    run.mkdir(parents=True)
    usual = {"data_dir": "/data/cxr", "arch": "resnet18", "seed": 7, **PRESETS["baseline"]}
    provenance = {"task": "multiclass", **settings.pop("provenance", {})}
    write_json(run / "config.json", {**usual, **settings, "provenance": provenance})
    write_json(run / "status.json", {"state": state})
    rows = [f"{i + 1},2026,c,0,a,b,s,A | B,p,first,\n" for i in range(looks)]
    (run / "test_log.csv").write_text(LOG + "".join(rows))
    if state == "finished":
        test = {"auroc": AUROC, "average_precision": PRECISION}
        write_json(run / "eval_summary.json", {"headline": {"val": {}, "test": test}})
    return run


def set_time(folder, seconds):
    for path in folder.iterdir():
        os.utime(path, (seconds, seconds))


def test_a_finished_run_is_a_row(tmp_path, capsys):
    make_run(tmp_path)
    (row,) = list_runs(tmp_path).runs
    assert (row.name, row.kind, row.status) == ("chest_20260101-120000", "run", "finished")
    assert (row.data, row.task, row.model, row.preset) == (
        *("cxr", "multiclass", "resnet18"),
        "baseline",
    )
    assert (row.seed, row.test_looks, row.note) == (7, 2, "")
    assert (row.auroc, row.auroc_low, row.auroc_high) == (0.8975, 0.7562, 0.9621)
    assert (row.average_precision, row.average_precision_low) == (0.9082, None)
    header, _, line = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["run", "status"]
    assert "0.898 (0.756–0.962)" in line
    assert "0.908" in line


@pytest.mark.parametrize("state", ["training", "interrupted", "trained"])
def test_a_run_without_an_evaluation_has_no_scores(tmp_path, state):
    make_run(tmp_path, state=state, looks=0)
    (row,) = list_runs(tmp_path).runs
    assert row.status == ("interrupted" if state == "training" else state)
    assert (row.auroc, row.test_looks) == (None, 0)


def test_settings_that_are_no_recipe_have_none(tmp_path):
    make_run(tmp_path, finetune_epochs=17)
    assert list_runs(tmp_path).runs[0].preset == ""


@pytest.mark.parametrize("name", ["robust", "frozen"])
def test_the_recipe_is_recognized_by_its_settings(tmp_path, name):
    make_run(tmp_path, **PRESETS[name])
    assert list_runs(tmp_path).runs[0].preset == name


def test_a_table_is_named_as_the_data(tmp_path):
    make_run(tmp_path, data_dir=None, manifest="/x/labels.csv")
    assert list_runs(tmp_path).runs[0].data == "labels.csv"


def test_the_newest_is_first(tmp_path):
    for name, seconds in (("b", 2000), ("a", 3000), ("c", 1000)):
        set_time(make_run(tmp_path, name), seconds)
    assert [row.name for row in list_runs(tmp_path).runs] == ["a", "b", "c"]


def test_judged_predictions_have_no_model(tmp_path):
    make_run(tmp_path, provenance={"judged": {"test": "t.csv"}})
    (row,) = list_runs(tmp_path).runs
    assert (row.kind, row.model, row.seed) == ("judged", "", None)
    assert row.auroc == 0.8975


def test_results_on_other_data_are_with_their_run(tmp_path):
    run = make_run(tmp_path)
    for name, value in (("site-a", 0.81), ("site-b", None)):
        (run / "external" / name).mkdir(parents=True)
        headline = {"test": {"auroc": {"value": value}}}
        write_json(run / "external" / name / "eval_summary.json", {"headline": headline})
    (run / "external" / "broken").mkdir()
    (run / "external" / "broken" / "eval_summary.json").write_text("{")
    (run / "external" / "unfinished").mkdir()
    assert list_runs(tmp_path).runs[0].external == "broken –, site-a 0.810, site-b –"


@pytest.mark.parametrize("kind", ["seeds", "cv"])
def test_a_sweep_is_a_row_of_means(tmp_path, kind):
    folder = tmp_path / kind / "chest_20260101-120000"
    folder.mkdir(parents=True)
    runs = [{"seed": 0, "fold": 0, "run": "x"}, {"seed": 1, "fold": 1, "run": None}]
    settings = {"data_dir": "/data/cxr", "arch": "resnet18"}
    write_json(folder / f"{kind}.json", {"runs": runs, "settings": settings})
    (row,) = list_runs(tmp_path).runs
    assert (row.status, row.auroc) == ("incomplete", None)
    assert row.note == ("seeds 0, 1" if kind == "seeds" else "2 folds")
    metrics = {"auroc": {"mean": 0.9, "interval": [0.8, 0.95]}, "average_precision": {"mean": 0.7}}
    summary = {"positive_class": "B", "classes": {"B": {"metrics": metrics}}, "macro": {}}
    write_json(folder / f"{kind}_summary.json", summary)
    (row,) = list_runs(tmp_path).runs
    assert (row.status, row.auroc, row.auroc_high) == ("finished", 0.9, 0.95)
    assert row.average_precision == 0.7
    several = {"positive_class": None, "classes": {}, "macro": {"metrics": metrics}}
    write_json(folder / f"{kind}_summary.json", several)
    assert list_runs(tmp_path).runs[0].auroc == 0.9


def test_a_sweep_over_settings_names_its_best_run(tmp_path):
    folder = tmp_path / "sweep" / "chest_20260101-120000"
    folder.mkdir(parents=True)
    runs = [{"number": number, "run": f"outputs/runs/chest_t{number}"} for number in range(3)]
    settings = {"data_dir": "/data/cxr", "arch": "resnet18"}
    write_json(folder / "sweep.json", {"runs": runs, "settings": settings})
    (row,) = list_runs(tmp_path).runs
    assert (row.kind, row.status, row.note) == ("sweep", "incomplete", "3 trials")
    summary = {"value": 0.9128, "best": {"run": "outputs/runs/chest_t2"}}
    write_json(folder / "sweep_summary.json", summary)
    (row,) = list_runs(tmp_path).runs
    assert (row.status, row.auroc) == ("finished", None)
    assert row.note == "3 trials: best chest_t2, VAL AP 0.913"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", '{"provenance": 3, "data_dir": 4}'),
        ("status.json", "{}"),
        ("test_log.csv", "number\nx\n"),
        ("eval_summary.json", '{"headline": 5}'),
        ("eval_summary.json", '{"headline": {"test": {"auroc": {"interval": 1}}}}'),
        ("eval_summary.json", "\x00"),
    ],
)
def test_a_broken_run_is_a_line(tmp_path, file, text):
    make_run(tmp_path, "whole")
    (make_run(tmp_path, "broken") / file).write_text(text)
    rows = {row.name: row for row in list_runs(tmp_path).runs}
    assert rows["broken"].note
    assert rows["whole"].status == "finished"
    assert rows["whole"].note == ""


def test_foreign_folders_are_lines_and_files_are_none(tmp_path):
    runs = tmp_path / "runs"
    (runs / "photos").mkdir(parents=True)
    (runs / ".hidden").mkdir()
    (runs / "file.txt").touch()
    (runs / "latest").symlink_to("photos")
    (tmp_path / "seeds" / "other").mkdir(parents=True)
    rows = {row.name: row for row in list_runs(tmp_path).runs}
    assert sorted(rows) == ["other", "photos"]
    assert {row.status for row in rows.values()} == {"unreadable"}
    assert rows["photos"].note == "not a run: config.json is missing"
    assert rows["other"].note


def test_without_runs_it_says_how_to_start_one(tmp_path, capsys):
    assert list_runs(tmp_path).runs == ()
    assert "medimg run --data-dir DIR" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_refused(tmp_path, capsys):
    assert main(["runs", "--output-dir", str(tmp_path / "none")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"medimg: there is no folder {tmp_path / 'none'}: name the one")
    assert printed.out == ""


@pytest.mark.parametrize(
    ("state", "shown"),
    [("trained", "trained, not evaluated"), ("finished", "evaluated"), ("pruned", "pruned")],
)
def test_the_state_says_whether_test_was_scored(tmp_path, capsys, state, shown):
    make_run(tmp_path, state=state)
    assert list_runs(tmp_path).runs[0].status == state  # for programs, as in status.json
    assert f"20260101-120000  {shown}  " in capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_lines_fit_the_terminal(tmp_path, monkeypatch, capsys, width):
    monkeypatch.setattr(command.RunLog, "width", width)
    make_run(tmp_path, "a_run_with_a_name_20260101-120000")
    (tmp_path / "runs" / "foreign").mkdir()
    list_runs(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert any("0.898 (0.756–0.962)" in line for line in lines)


def read_table(text):
    return list(csv.DictReader(text.splitlines()))


def test_the_table_as_csv_has_all_digits_and_no_formula(tmp_path, capsys):
    make_run(tmp_path, "=cmd", data_dir="/x/@data", arch="+net")
    file = tmp_path / "runs.csv"
    list_runs(tmp_path, csv=file)
    (row,) = read_table(file.read_text(encoding="utf-8"))
    assert (row["name"], row["data"], row["model"]) == ("'=cmd", "'@data", "'+net")
    assert (float(row["auroc"]), row["average_precision_low"]) == (0.8975, "")
    capsys.readouterr()
    list_runs(tmp_path, csv="-")
    assert read_table(capsys.readouterr().out) == [row]


def test_a_table_is_written_again_and_another_file_is_kept(tmp_path):
    make_run(tmp_path)
    file = tmp_path / "runs.csv"
    list_runs(tmp_path, csv=file)
    first = file.read_bytes()
    make_run(tmp_path, "second")
    list_runs(tmp_path, csv=file)
    assert len(file.read_bytes()) > len(first)
    file.write_text("path,label\n")
    for other in (file, tmp_path / "runs"):
        with pytest.raises(ConfigError, match="is not a table of runs"):
            list_runs(tmp_path, csv=other)
    assert file.read_text() == "path,label\n"


def test_the_command_prints_the_table_or_json(tmp_path, capsys):
    make_run(tmp_path)
    flags = ["--output-dir", str(tmp_path)]
    assert main(["runs", *flags]) == 0
    assert "chest_20260101-120000" in capsys.readouterr().out
    assert main(["runs", *flags, "--csv", "-"]) == 0
    assert capsys.readouterr().out.startswith("name,kind,status,")
    assert main(["runs", *flags, "--json", "--csv", "-"]) == 0
    end = json.loads(capsys.readouterr().out)
    assert end["runs"][0]["auroc"] == 0.8975


def test_names_that_act_on_a_terminal_are_escaped(tmp_path, capsys):
    make_run(tmp_path, "a\x1b[2Jb", arch="x\ny")
    list_runs(tmp_path)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3
