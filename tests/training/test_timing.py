"""Timing steps before the training changes nothing of it."""

from pathlib import Path

import torch
from tests.training.toy import build_toy, make_data, make_settings

from medimg_baseline_cls.training.fit import fit
from medimg_baseline_cls.training.timing import time_steps
from medimg_baseline_cls.utils.device import make_accelerator


def test_the_weights_are_those_of_a_training_that_was_not_timed(tmp_path: Path) -> None:
    ends: list[dict[str, torch.Tensor]] = []
    for is_timed in (False, True):
        accelerator = make_accelerator(torch.device("cpu"), "fp32")
        model, data, settings = build_toy(), make_data(), make_settings()
        run_dir = tmp_path / str(is_timed)
        run_dir.mkdir()
        if is_timed:
            begun = {name: value.clone() for name, value in model.net.state_dict().items()}
            times = time_steps(
                model, data, settings=settings, run_dir=run_dir, accelerator=accelerator
            )
            assert times.train > 0
            assert times.forward > 0
            assert all(begun[name].equal(value) for name, value in model.net.state_dict().items())
            assert model.net.training == build_toy().net.training
            assert list(run_dir.iterdir()) == []
        fit(model, data, settings=settings, run_dir=run_dir, accelerator=accelerator)
        ends.append(model.net.state_dict())
    assert all(ends[0][name].equal(value) for name, value in ends[1].items())
