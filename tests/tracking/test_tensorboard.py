"""Event files, read back by TensorBoard's own reader."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from medimg_baseline_cls import Tracking, track
from medimg_baseline_cls.tracking.record import read_record
from medimg_baseline_cls.utils.files import read_json, write_json
from medimg_baseline_cls.utils.own_output import is_marked_output, is_own
from medimg_baseline_cls.utils.seals import seal_results


def copy_of(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "outputs" / "runs" / folder.name
    shutil.copytree(folder, copy)
    return copy


def files_of(folder: Path) -> Path:
    return folder.parents[1] / "tensorboard" / folder.name


def read(folder: Path) -> EventAccumulator:
    everything = {"scalars": 0, "tensors": 0, "images": 0}
    reader = EventAccumulator(str(files_of(folder)), size_guidance=everything)
    reader.Reload()
    return reader


def list_points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    reader = read(folder)
    tags = reader.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in tags}


def expect_points(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    record = read_record(folder)
    points: dict[str, list[tuple[int, Any]]] = {}
    for epoch in record.epochs:
        for name, value in epoch.metrics.items():
            points.setdefault(name, []).append((epoch.step, pytest.approx(value, rel=1e-6)))
    for name, value in record.metrics.items():
        if name.endswith(("_lower", "_upper")):
            continue
        points[name] = [(record.num_epochs, pytest.approx(value, rel=1e-6))]
    return points


def test_the_files_have_the_record(finished: Path, tmp_path: Path) -> None:
    copy = copy_of(finished, tmp_path)
    track([copy], "tensorboard")
    assert list_points(copy) == expect_points(finished)


def test_settings_are_a_table_and_can_be_compared(finished: Path, tmp_path: Path) -> None:
    copy = copy_of(finished, tmp_path)
    track([copy], "tensorboard")
    reader = read(copy)
    assert {"settings", "origin", "estimates"} <= set(reader.Tags()["tensors"])
    metrics = read_record(finished).metrics
    low, high = (metrics[f"test/auroc_{end}"] for end in ("lower", "upper"))
    row = f"| test/auroc | {metrics['test/auroc']:.4f} (lower {low:.4f}, upper {high:.4f}) |"
    (estimates,) = reader.Tensors("estimates")
    assert row.encode() in estimates.tensor_proto.string_val[0]
    (table,) = reader.Tensors("settings")
    assert b"| finetune_lr | 0.001 |" in table.tensor_proto.string_val[0]
    content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    session = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert session.group_name == finished.name
    assert session.hparams["finetune_lr"].number_value == 0.001
    assert session.hparams["arch"].string_value == "test_resnet"


def test_pictures_are_those_of_the_run(finished: Path, tmp_path: Path) -> None:
    copy = copy_of(finished, tmp_path)
    track([copy], "tensorboard")
    (image,) = read(copy).Images("figures/roc")
    assert image.encoded_image_string == (finished / "figures" / "roc.png").read_bytes()
    assert "figures/train_batch" not in read(copy).Tags()["images"]


def test_a_run_that_is_sent_again_has_each_point_once(finished: Path, tmp_path: Path) -> None:
    copy = copy_of(finished, tmp_path)
    for _ in range(2):
        track([copy], "tensorboard")
    assert list_points(copy) == expect_points(finished)
    assert len(list(files_of(copy).iterdir())) == 1


def test_epochs_that_come_one_by_one_give_the_same_points(finished: Path, tmp_path: Path) -> None:
    copy = copy_of(finished, tmp_path)
    history = (finished / "history.csv").read_text().splitlines()
    late = ("status.json", "thresholds.json", "val_summary.json", "test_summary.json", "patients")
    kept = tmp_path / "late"
    kept.mkdir()
    for name in late:
        (copy / name).rename(kept / name)
    write_json(copy / "status.json", {"state": "training"})
    with Tracking("tensorboard") as tracking:
        for number in (1, 2, 3):
            (copy / "history.csv").write_text("\n".join(history[: number + 1]) + "\n")
            tracking.on_start(copy)
        (copy / "status.json").unlink()
        for name in late:
            (kept / name).rename(copy / name)
        tracking.on_results(copy)
    assert list_points(copy) == expect_points(finished)


def test_another_result_replaces_the_one_before(finished: Path, tmp_path: Path) -> None:
    copy = copy_of(finished, tmp_path)
    track([copy], "tensorboard")
    path = copy / "test_summary.json"
    content = read_json(path)
    content["classes"]["PNEUMONIA"]["metrics"]["auroc"]["value"] = 0.125
    write_json(path, content)
    seal_results(copy, [path.name])  # as an evaluation does
    track([copy])
    assert list_points(copy)["test/auroc"] == [(3, 0.125)]


def test_a_folder_that_cannot_be_written_is_one_sentence(finished: Path, tmp_path: Path) -> None:
    copy = copy_of(finished, tmp_path)
    files_of(copy).parent.write_text("a file where a folder is needed")
    with pytest.raises(Exception, match=r"tensorboard has not taken .*not a directory"):
        track([copy], "tensorboard")


def test_a_reader_that_is_open_forgets_what_was_replaced(finished: Path, tmp_path: Path) -> None:
    copy = copy_of(finished, tmp_path)
    track([copy], "tensorboard")
    reader = read(copy)
    before = [event.step for event in reader.Scalars("epoch/val_ap")]
    (earlier,) = files_of(copy).iterdir()
    kept = earlier.read_bytes()
    track([copy])
    earlier.write_bytes(kept)  # as an open TensorBoard still has it
    both = read(copy)
    assert [event.step for event in both.Scalars("epoch/val_ap")] == before


def test_runs_of_an_output_folder_are_listed_by_their_names_alone(
    finished: Path, tmp_path: Path
) -> None:
    copy = copy_of(finished, tmp_path)
    (copy.parent / "latest").symlink_to(copy.name, target_is_directory=True)
    track([copy, copy.parent / "latest"], "tensorboard")
    home = copy.parents[1] / "tensorboard"
    assert [path.name for path in home.iterdir() if path.is_dir()] == [finished.name]
    known = read_json(copy / "tracking.json")["trackers"]["tensorboard"]
    assert known["see"] == f"tensorboard --logdir {home}"


def test_the_folder_of_event_files_is_marked_as_ours(finished: Path, tmp_path: Path) -> None:
    copy = copy_of(finished, tmp_path)
    track([copy], "tensorboard")
    home = copy.parents[1]
    assert is_marked_output(home / "tensorboard")
    assert is_own(home)  # runs/ and tensorboard/, and nothing else
