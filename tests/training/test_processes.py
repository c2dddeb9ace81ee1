"""Several processes are one process that shares its work: see process_groups.py."""

import json
from types import SimpleNamespace

import pytest
import torch

from medimg_baseline_cls.errors import TrainingError
from medimg_baseline_cls.utils.distributed import detecting_lost_ranks

WORLDS = (2, 3)


@pytest.fixture(scope="module")
def folder(groups_folder):
    return groups_folder


@pytest.fixture(scope="module")
def found(folder):
    """What each process found, by number of processes and rank."""
    return {
        (world, rank): torch.load(folder / f"found_{world}_{rank}.pt", weights_only=False)
        for world in (1, 2, 3)
        for rank in range(world)
    }


def members(found, world, task):
    return [found[world, rank][task] for rank in range(world)]


@pytest.mark.parametrize("world", WORLDS)
def test_validation_counts_every_image_once(found, world):
    # Set sizes of 1, 7, 13 and 64, in both stages; a set that is counted wrongly raises.
    for scores in members(found, world, "find_scores"):
        assert scores == found[1, 0]["find_scores"]


@pytest.mark.parametrize("world", WORLDS)
def test_gradients_are_those_of_one_process(found, world):
    # The second step has two images: with three processes, one has none.
    for gradients in members(found, world, "find_gradients"):
        assert len(gradients) == 2
        for mine, expected in zip(gradients, found[1, 0]["find_gradients"], strict=True):
            torch.testing.assert_close(mine, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("stages", ["head", "both"])
def test_weights_are_identical_everywhere_and_close_to_those_of_one_process(found, world, stages):
    first, *others = [states[stages] for states in members(found, world, "train_together")]
    for name, expected in found[1, 0]["train_together"][stages].items():
        assert all(torch.equal(other[name], first[name]) for other in others)
        torch.testing.assert_close(first[name], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("job", ["classes", "findings", "frozen", "sync", "sync_findings"])
def test_24_steps_end_in_the_weights_of_one_process(found, world, job):
    # Shares of 3, 3 and 2 images, and at an epoch's end of 1, 1 and none.
    first, *others = [jobs[job] for jobs in members(found, world, "train_steps")]
    expected = found[1, 0]["train_steps"][job]
    assert list(first) == list(expected)
    for name, tensor in expected.items():
        assert all(torch.equal(other[name], first[name]) for other in others), name
        torch.testing.assert_close(first[name], tensor, rtol=0, atol=1e-5)


@pytest.mark.parametrize("world", WORLDS)
def test_learning_weights_and_statistics_do_not_drift_apart(found, world):
    first, *others = members(found, world, "train_last_weights")
    for name, tensor in first.items():
        assert all(torch.equal(other[name], tensor) for other in others), name


@pytest.mark.parametrize("world", WORLDS)
def test_batchnorm_statistics_are_averaged(found, world):
    expected = sum(range(world)) / world
    for rank, statistics in enumerate(members(found, world, "share_buffers")):
        assert statistics[:6] == [expected] * 6
        assert statistics[6:] == [rank] * 6, "frozen ones are left alone"


@pytest.mark.parametrize("world", WORLDS)
def test_the_head_stage_changes_the_head_alone_to_the_bit(found, world):
    assert members(found, world, "find_changed") == [["fc.weight", "fc.bias"]] * world


@pytest.mark.parametrize("world", [1, *WORLDS])
def test_a_signal_to_one_process_stops_all(found, folder, world):
    messages = members(found, world, "stop_one")
    assert all("stopped in stage head, epoch 3" in message for message in messages)
    history = (folder / f"stopped_{world}" / "history.csv").read_text().splitlines()
    assert len(history) == 1 + 2


@pytest.mark.parametrize("world", [1, *WORLDS])
def test_a_loss_that_is_not_finite_in_one_process_stops_all(found, folder, world):
    messages = members(found, world, "poison_one")
    assert all("stage finetune" in message for message in messages)
    named = (folder / f"poisoned_{world}" / "nonfinite_batch.json").read_text()
    assert "17" in named


@pytest.mark.parametrize("world", [1, *WORLDS])
def test_one_process_writes(folder, world):
    names = sorted(path.name for path in (folder / f"run_both_{world}").iterdir())
    assert names == ["best.pt", "best_head.pt", "history.csv", "last.pt", "timings.csv"]


@pytest.fixture(scope="module")
def lost(run_script):
    """What the other two said when one of three processes was lost: see lost_processes.py."""
    return run_script("lost_processes.py")


@pytest.mark.parametrize(
    ("fate", "code", "seconds"), [("killed", -9, 60), ("raising", 1, 60), ("stopped", -9, 3)]
)
def test_a_lost_process_ends_the_others_with_one_sentence(lost, fate, code, seconds):
    assert json.loads((lost / "codes.json").read_text())[fate] == [0, 0, code]
    for rank in (0, 1):
        report = json.loads((lost / f"{fate}_{rank}.json").read_text())
        assert report["said"] == (
            f"another process of this run is gone, or has not answered for {seconds} s; "
            "resume from the last finished epoch, with as many processes as you like: "
            f"medimg run --resume {lost / fate}"
        )
        assert report["seconds"] < 30


def test_uneven_work_is_waited_for_longer_than_a_step(lost):
    for rank in range(3):
        report = json.loads((lost / f"late_{rank}.json").read_text())
        assert report["said"] == "waited"
        assert report["seconds"] >= 4 > 3, "the last is the limit of a step"


def test_a_run_of_three_that_lost_one_is_resumed_by_two(lost):
    whole, resumed = (
        torch.load(lost / name / "last.pt", weights_only=True) for name in ("whole", "killed")
    )
    for name, tensor in whole["model"].items():
        torch.testing.assert_close(resumed["model"][name], tensor, rtol=0, atol=1e-5)
    rows = [(lost / name / "history.csv").read_text().splitlines() for name in ("whole", "killed")]
    assert [len(part) for part in rows] == [7, 7]


def test_other_errors_are_left_as_they_are(accelerator):
    with pytest.raises(RuntimeError, match="shape"), detecting_lost_ranks(accelerator):
        raise RuntimeError("shape of gloo")


def test_a_run_that_had_not_begun_is_started_again(tmp_path):
    crowd = SimpleNamespace(num_processes=2)
    with (
        pytest.raises(TrainingError, match="start the run again"),
        detecting_lost_ranks(crowd, tmp_path),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shape"), detecting_lost_ranks(crowd, tmp_path):
        raise RuntimeError("shape")
