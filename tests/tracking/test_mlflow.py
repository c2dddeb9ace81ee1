"""What MLflow has of a run: read back from a real server, and from a local store."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.tracking.conftest import ConfigMaker, Server

from medimg_baseline_cls import (
    Callback,
    Tracking,
    cross_validate,
    resume_run,
    run,
    run_seeds,
    track,
    train,
)
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.errors import RunInterrupted
from medimg_baseline_cls.tracking.record import read_record
from medimg_baseline_cls.utils.files import read_csv, read_json, write_json

pytestmark = pytest.mark.slow
Tracked = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def tracked(
    server: Server, configure: ConfigMaker, tmp_path_factory: pytest.TempPathFactory
) -> Tracked:
    """A run that was tracked while it trained, and what the server has of it."""
    config = configure(tmp_path_factory.mktemp("out"), project="live")
    with Tracking("mlflow", uri=server.uri) as tracking:
        folder = run(config, callbacks=[tracking]).run_dir
    return folder, server.read_all("live")[folder.name]


def test_settings_and_origin_are_there(tracked: Tracked) -> None:
    folder, found = tracked
    assert found["params"] == dict(read_record(folder).params)
    assert found["params"]["finetune_lr"] == "0.001"
    assert found["params"]["inferred.positive_class"] == "PNEUMONIA"
    tags, revision = found["tags"], read_json(folder / "env_report.json")["git"]["revision"]
    assert tags["git_revision"] == tags["mlflow.source.git.commit"] == revision
    assert tags["checkpoint_sha256"] == read_json(folder / "thresholds.json")["checkpoint_sha256"]
    assert (found["name"], found["status"]) == (folder.name, "FINISHED")
    assert "mlflow.user" not in tags and "mlflow.source.name" not in tags


def test_the_description_has_the_main_values(tracked: Tracked) -> None:
    folder, found = tracked
    assert found["tags"]["mlflow.note.content"] == read_record(folder).tags["summary"]
    auroc = found["metrics"]["test/auroc"][0][1]
    assert found["tags"]["summary"].startswith(f"TEST: AUROC {auroc:.3f} (95 % CI ")


def test_a_description_that_a_user_wrote_stays(
    server: Server, tracked: Tracked, tmp_path: Path
) -> None:
    copy = shutil.copytree(tracked[0], tmp_path / "out" / "runs" / "noted_20260101-120000")
    config = read_json(copy / "config.json") | {"project": "noted", "limit": 40}
    write_json(copy / "config.json", config)
    (copy / "tracking.json").unlink()
    track([copy], "mlflow", uri=server.uri)
    run_id = read_json(copy / "tracking.json")["trackers"]["mlflow"]["id"]
    first = server.read(run_id)["tags"]
    assert (
        first["mlflow.note.content"] == first["summary"] != read_record(tracked[0]).tags["summary"]
    )
    write_json(copy / "config.json", config | {"limit": 50})  # sent again: ours is replaced
    track([copy])
    second = server.read(run_id)["tags"]
    assert second["mlflow.note.content"] == second["summary"] != first["summary"]
    server.ask("runs/set-tag", run_id=run_id, key="mlflow.note.content", value="mine")
    write_json(copy / "config.json", config)
    track([copy])
    third = server.read(run_id)["tags"]
    assert (third["mlflow.note.content"], third["summary"]) == ("mine", first["summary"])


def test_epochs_have_one_step_over_both_stages(tracked: Tracked) -> None:
    folder, found = tracked
    rows = read_csv(folder / "history.csv")
    for name in ("train_loss", "val_loss", "val_ap", "val_auroc", "lr"):
        expected = [(step, float(row[name])) for step, row in enumerate(rows, start=1)]
        assert found["metrics"][f"epoch/{name}"] == expected


def test_estimates_have_the_ends_of_their_intervals(tracked: Tracked) -> None:
    folder, found = tracked
    for split in ("val", "test"):
        block = read_json(folder / f"{split}_summary.json")["classes"]["PNEUMONIA"]
        auroc = block["metrics"]["auroc"]
        expected = [auroc["value"], *auroc["interval"]]
        ends = [f"{split}/auroc{end}" for end in ("", "_lower", "_upper")]
        assert [found["metrics"][key] for key in ends] == [[(3, value)] for value in expected]
        point = block["operating_points"]["max_f1"]
        assert found["metrics"][f"{split}/sensitivity"] == [(3, point["sensitivity"]["value"])]
    rules = read_json(folder / "thresholds.json")["classes"]["PNEUMONIA"]
    for rule, entry in rules.items():
        assert found["metrics"][f"threshold/{rule}"] == [(3, entry["threshold"])]


def test_a_replay_gives_the_record_of_live_tracking(
    server: Server, tracked: Tracked, tmp_path: Path
) -> None:
    folder, live = tracked
    live_id = read_json(folder / "tracking.json")["trackers"]["mlflow"]["id"]
    copy = tmp_path / "out" / "runs" / folder.name
    shutil.copytree(folder, copy)
    (copy / "tracking.json").unlink()
    track([copy], "mlflow", uri=server.uri)  # it is the same run, wherever its folder is
    assert read_json(copy / "tracking.json")["trackers"]["mlflow"]["id"] == live_id
    assert server.read(live_id) == live
    server.ask("runs/delete", run_id=live_id)
    track([copy])
    replayed = read_json(copy / "tracking.json")["trackers"]["mlflow"]
    assert replayed["id"] != live_id
    assert replayed["see"].startswith(f"{server.uri}/#/experiments/")
    assert server.read(replayed["id"]) == live
    assert len(server.find_runs("live")) == 1


class StopAfter(Callback):
    """Stops a training as Ctrl-C does, after a number of epochs."""

    def __init__(self, epochs: int) -> None:
        self._left = epochs

    def on_epoch(self, row: object) -> None:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt


def test_a_resumed_run_is_one_run(
    server: Server, tracked: Tracked, configure: ConfigMaker, tmp_path: Path
) -> None:
    config = configure(tmp_path, project="resumed")
    with (
        pytest.raises((KeyboardInterrupt, RunInterrupted)),
        Tracking("mlflow", uri=server.uri) as tracking,
    ):
        train(config, callbacks=[tracking, StopAfter(2)])
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    with Tracking() as tracking:
        resume_run(folder, callbacks=[tracking])
    (found,) = server.read_all("resumed").values()
    _, live = tracked
    assert found["status"] == "FINISHED"
    assert found["files"] == live["files"]
    # Its epochs have other times, and it is another project, but all else is the same.
    timed = ("epoch/seconds", "epoch/images_per_second")
    same = {key for key in live["metrics"] if key not in timed}
    assert {key: found["metrics"][key] for key in same} == {k: live["metrics"][k] for k in same}


def test_seeds_are_children_of_their_sweep(
    server: Server, configure: ConfigMaker, tmp_path: Path
) -> None:
    config = configure(tmp_path, project="two_seeds", finetune_epochs=0)
    with Tracking("mlflow", uri=server.uri) as tracking:
        sweep = run_seeds(config, [0, 1], callbacks=[tracking]).run_dir
    found = server.read_all("two_seeds")
    parent = found.pop(sweep.name)
    parent_id = read_json(sweep / "tracking.json")["trackers"]["mlflow"]["id"]
    assert len(found) == 2
    for child in found.values():
        assert child["tags"]["mlflow.parentRunId"] == parent_id
        assert child["status"] == "FINISHED" and "report.html" in child["files"]
    means = [child["metrics"]["test/auroc"][0][1] for child in found.values()]
    assert parent["metrics"]["test/auroc"][0][1] == pytest.approx(sum(means) / 2)
    assert "ensemble/auroc_lower" in parent["metrics"]
    track([sweep])
    assert server.read_all("two_seeds") == {sweep.name: parent, **found}


def read_store(path: Path, question: str) -> list[tuple[Any, ...]]:
    store = sqlite3.connect(path)
    try:
        return store.execute(question).fetchall()
    finally:
        store.close()


def test_folds_are_children_in_the_store_of_the_output_folder(
    configure: ConfigMaker, tmp_path: Path
) -> None:
    config = configure(tmp_path, project="folds", finetune_epochs=0, num_folds=2)
    with Tracking("mlflow") as tracking:
        folder = cross_validate(config, callbacks=[tracking]).run_dir
    store = tmp_path / "mlflow" / "mlflow.db"
    runs = dict(read_store(store, "select name, status from runs"))
    assert set(runs.values()) == {"FINISHED"}
    names = {path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()}
    assert set(runs) == names | {folder.name}
    parents = read_store(store, "select value from tags where key = 'mlflow.parentRunId'")
    ids = dict(read_store(store, "select name, run_uuid from runs"))
    assert parents == [(ids[folder.name],)] * 2
    assert [name for (name,) in read_store(store, "select name from experiments")][-1] == "folds"
    assert list((tmp_path / "mlflow" / "artifacts" / "folds").rglob("history.csv"))


def test_the_command_line_tracks_and_says_where(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "train --arch test_resnet --image-size 64 --no-pretrained --head-epochs 1 --epochs 0"
    assert main([*line.split(), "--data-dir", str(data), "--track", "mlflow,tensorboard"]) == 0
    shown = capsys.readouterr().out
    store = tmp_path / "outputs" / "mlflow" / "mlflow.db"
    assert f"tracked by mlflow: mlflow ui --backend-store-uri sqlite:///{store}" in shown
    assert "tracked by tensorboard: tensorboard --logdir" in shown
    assert read_store(store, "select status from runs") == [("FINISHED",)]
    assert main(["track", "latest", "--checkpoints"]) == 0
    assert [path.name for path in store.parent.rglob("*.pt")] == ["best.pt"]
    assert len(read_store(store, "select run_uuid from runs")) == 1


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("run --tracking-uri http://a:1", "--tracking-uri has no effect alone: add --track mlflow"),
        ("cv --track-names", "--track-names has no effect alone: add --track mlflow"),
        ("train --track wandb", "there is no tracker 'wandb'"),
        ("track none", "none is not a run folder"),
    ],
)
def test_a_mistake_is_one_sentence(
    line: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), "--output-dir", str(tmp_path)]) == 2
    assert sentence in capsys.readouterr().err


def test_help_imports_no_tracker() -> None:
    code = (
        "import sys; from medimg_baseline_cls.cli import describe_commands; describe_commands();"
        "import medimg_baseline_cls.cli.commands, medimg_baseline_cls.tracking.session;"
        "print({'mlflow', 'tensorboard', 'torch', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
