"""A limit of time lowers the epochs of fine-tuning before training starts, and says so."""

import json
from pathlib import Path

import pytest
from tests.pipeline.conftest import ConfigMaker

from medimg_baseline_cls import train
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.pipeline.steps import time_limit
from medimg_baseline_cls.pipeline.steps.time_limit import estimate_durations, start_limit
from medimg_baseline_cls.training.timing import StepTimes

SIZES = {"train": 1000, "val": 100, "test": 200}


@pytest.mark.parametrize(
    ("settings", "num_stresses", "epoch", "rest"),
    [
        # An epoch: 1000 images of 30 ms and 100 predictions of 10 ms. The rest: features of 1100
        # images, 300 predictions, 30 s.
        ({}, 0, 31.0, 11.0 + 3.0 + 30.0),
        # VAL is scored six times more.
        ({}, 6, 37.0, 17.0 + 3.0 + 30.0),
        # Augmented, the head needs new features in each of four epochs.
        ({"head_augment": True, "head_epochs": 4}, 0, 31.0, 44.0 + 3.0 + 30.0),
        ({"head_epochs": 0}, 0, 31.0, 3.0 + 30.0),
    ],
)
def test_what_a_run_takes(
    settings: dict[str, int], num_stresses: int, epoch: float, rest: float
) -> None:
    times = StepTimes(train=0.03, forward=0.01)
    need = estimate_durations(
        Config(**settings), times, num_images=SIZES, num_stresses=num_stresses
    )
    assert (need.epoch, need.rest) == (pytest.approx(epoch), pytest.approx(rest))


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_is_a_number_of_minutes(minutes: float) -> None:
    with pytest.raises(ConfigError, match="expected minutes"):
        start_limit(minutes, Config())


def test_a_limit_needs_something_to_shorten() -> None:
    with pytest.raises(ConfigError, match="finetune_epochs is 0"):
        start_limit(5.0, Config(finetune_epochs=0))
    assert start_limit(None, Config(finetune_epochs=0)) is None


def take_steps_of(patch: pytest.MonkeyPatch, *, seconds_per_image: float) -> None:
    times = StepTimes(train=seconds_per_image, forward=0.0)
    patch.setattr(time_limit, "time_steps", lambda *_, **__: times)


def test_the_schedule_is_shortened_and_the_run_says_so(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 54 images of TRAIN: an epoch takes 540 s, so that after 30 s for the rest one of two fits.
    take_steps_of(monkeypatch, seconds_per_image=10.0)
    run_dir = train(make_config(phantoms, tmp_path), time_limit=16).run_dir
    written = json.loads((run_dir / "config.json").read_text())
    assert written["finetune_epochs"] == 1
    (warning,) = [
        item["warning"] for item in written["provenance"]["inferences"] if item["warning"]
    ]
    assert warning == "Fine-tuning was shortened to 1 epoch of 2, to fit --time-limit 16."
    assert f"warning: {warning}" in (run_dir / "log.txt").read_text()
    rows = (run_dir / "history.csv").read_text().splitlines()
    assert sum(row.startswith("finetune") for row in rows) == 1


def test_a_limit_beyond_all_measure_changes_nothing(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_steps_of(monkeypatch, seconds_per_image=1e-9)
    run_dir = train(make_config(phantoms, tmp_path, finetune_epochs=1), time_limit=1e308).run_dir
    assert json.loads((run_dir / "config.json").read_text())["finetune_epochs"] == 1


def test_a_limit_that_is_too_short_leaves_nothing_behind(
    phantoms: Path, tmp_path: Path, make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_steps_of(monkeypatch, seconds_per_image=10.0)
    with pytest.raises(ConfigError, match="an epoch of fine-tuning takes about 9.min 0.s"):
        train(make_config(phantoms, tmp_path), time_limit=5)
    assert list((tmp_path / "runs").iterdir()) == []
