import csv
import itertools
from dataclasses import replace

import pytest

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.schema import Stage
from medimg_baseline_cls.training.history import (
    EpochRow,
    Progress,
    Timings,
    read_history,
    write_history,
)

STAGE = Stage(name="finetune", epochs=6, head_lr=0.1)


def row(ap, loss=0.5, *, stage="finetune", epoch=1):
    return EpochRow(
        stage=stage, epoch=epoch, lr=0.1, train_loss=0.3, val_loss=loss, val_ap=ap, val_auroc=ap
    )


def progress_of(*aps, stage="finetune"):
    return Progress([row(ap, stage=stage, epoch=i) for i, ap in enumerate(aps, start=1)])


def test_a_higher_ap_wins_and_a_tie_goes_to_the_lower_loss():
    assert row(0.9, 0.7).is_better_than(row(0.8, 0.1))
    assert row(0.9, 0.3).is_better_than(row(0.9, 0.4))
    assert not row(0.9, 0.4).is_better_than(row(0.9, 0.4))
    assert row(0.0).is_better_than(row(None))
    assert row(None, 0.3).is_better_than(row(None, 0.4))
    assert row(0.1).is_better_than(None)


@pytest.mark.parametrize("aps", list(itertools.permutations([0.2, 0.5, 0.5, 0.9])))
def test_the_best_is_the_first_of_the_highest(aps):
    assert progress_of(*aps).best().epoch == aps.index(max(aps)) + 1


def test_patience_counts_epochs_since_the_best_of_the_stage():
    history = progress_of(0.5, 0.9, 0.8, 0.7)
    assert history.num_stale("finetune") == 2
    assert history.is_done(STAGE, patience=2)
    assert not history.is_done(STAGE, patience=3)
    assert not history.is_done(STAGE, patience=0)


def test_each_stage_has_its_own_patience():
    rows = progress_of(0.99, stage="head").rows + progress_of(0.5, 0.6).rows
    history = Progress(rows)
    assert history.num_stale("finetune") == 0
    assert history.best().stage == "head"
    assert history.best("finetune").epoch == 2
    assert history.is_last_best("finetune") and not history.is_last_best()


def test_a_stage_is_done_after_its_epochs():
    assert progress_of(*[0.1 * i for i in range(6)]).is_done(STAGE, patience=0)
    assert Progress().is_done(Stage(name="head", epochs=0, head_lr=1.0), patience=0)
    assert not Progress().is_done(STAGE, patience=0)


def test_progress_survives_the_way_through_plain_values():
    history = progress_of(0.1, None, 0.30000000000000004)
    assert Progress.from_plain(history.to_plain()) == history


def test_history_reads_back_to_the_same_numbers(tmp_path):
    write_history(tmp_path, progress_of(0.1 + 0.2, None))
    with (tmp_path / "history.csv").open() as file:
        first, second = csv.DictReader(file)
    assert list(first) == "stage epoch lr train_loss val_loss val_ap val_auroc".split()
    assert float(first["val_ap"]) == 0.1 + 0.2
    assert second["val_ap"] == ""


def test_stressed_validation_decides_where_it_was_measured(tmp_path):
    worse = replace(row(0.9), stressed_ap=0.7)
    better = replace(row(0.8), epoch=2, stressed_ap=0.75)
    assert better.is_better_than(worse) and not worse.is_better_than(better)
    write_history(tmp_path, Progress([worse, better]))
    assert read_history(tmp_path) == Progress([worse, better])
    write_history(tmp_path, Progress([row(0.9)]))
    assert "stressed" not in (tmp_path / "history.csv").read_text()
    assert read_history(tmp_path) == Progress([row(0.9)])


@pytest.mark.parametrize("lines", [[0, 2], [0, 1, 3], [0, 1, 1], [0, 2, 1]])
def test_a_history_without_one_of_its_epochs_is_refused(tmp_path, lines):
    write_history(tmp_path, progress_of(0.1, 0.2, 0.3))
    path = tmp_path / "history.csv"
    whole = path.read_text().splitlines()
    path.write_text("\n".join(whole[number] for number in lines) + "\n")
    with pytest.raises(RunError, match=r"the epochs of finetune are not 1, 2, 3, \.\.\.: restore"):
        read_history(tmp_path)


def test_timings_of_unfinished_epochs_are_dropped(tmp_path):
    timings = Timings(tmp_path, Progress())
    for epoch in (1, 2, 3):
        timings.add("finetune", epoch, seconds=1.0, images_per_second=10.0)
    resumed = Timings(tmp_path, progress_of(0.1, 0.2))
    resumed.add("finetune", 3, seconds=9.0, images_per_second=10.0)
    with (tmp_path / "timings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["epoch"], r["seconds"]) for r in rows] == [("1", "1.0"), ("2", "1.0"), ("3", "9.0")]


def test_a_new_run_does_not_take_over_old_timings(tmp_path):
    Timings(tmp_path, Progress()).add("head", 1, seconds=1.0, images_per_second=1.0)
    Timings(tmp_path, Progress()).add("head", 1, seconds=2.0, images_per_second=1.0)
    assert (tmp_path / "timings.csv").read_text().count("\n") == 2
