"""A run's controls are fitted on its TRAIN images; training says what the audit would say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medimg_baseline_cls import train
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.pipeline.steps.prepare import reopen_data
from medimg_baseline_cls.pipeline.steps.session import read_provenance, reopen_session
from medimg_baseline_cls.pipeline.steps.shortcut_baselines import evaluate_controls, list_images_of
from medimg_baseline_cls.utils.files import read_json

ConfigMaker = Callable[..., Config]


def controls_of(run_dir: Path) -> dict[str, dict[str, Any]]:
    overview = read_json(run_dir / "eval_summary.json")
    return {control["name"]: control for control in overview["controls"]}


def test_summary_of_a_run_holds_both_controls(finished_run: Path) -> None:
    controls = controls_of(finished_run)
    assert set(controls) == {"trivial", "border"}
    for control in controls.values():
        assert "logistic regression" in control["description"]
        for split in ("val", "test"):
            for metric in ("auroc", "average_precision"):
                assert 0 <= control[split][metric]["value"] <= 1


def test_line_at_the_end_and_report_show_them(finished_run: Path) -> None:
    log = (finished_run / "log.txt").read_text(encoding="utf-8")
    assert "controls that the model must beat, AUROC on TEST: trivial" in log
    page = (finished_run / "report.html").read_text(encoding="utf-8")
    assert "Controls that do not see the anatomy" in page
    value = controls_of(finished_run)["border"]["test"]["auroc"]["value"]
    assert f"{value:.3f}" in page


def test_model_that_does_not_beat_them_is_warned_of(finished_run: Path) -> None:
    overview = read_json(finished_run / "eval_summary.json")
    auroc = overview["headline"]["test"]["auroc"]
    low, own = auroc["interval"][0], auroc["value"]
    told = sum("does not clearly beat" in warning for warning in overview["warnings"])
    reached = [c["test"]["auroc"]["value"] for c in overview["controls"]]
    assert told == (low > 0.5) * sum(own <= value + 0.02 for value in reached)
    assert any("chance (0.5)" in warning for warning in overview["warnings"]) == (low <= 0.5)


def test_controls_do_not_look_at_labels_of_test(finished_run: Path, tmp_path: Path) -> None:
    session = reopen_session(finished_run)
    data = reopen_data(session, read_provenance(finished_run))
    before = evaluate_controls(session, data)
    assert before == evaluate_controls(session, data)
    assert [control.name for control in before] == list(controls_of(finished_run))
    written = json.loads(json.dumps([control.to_json() for control in before]))
    assert written == list(controls_of(finished_run).values())


def test_large_train_set_is_thinned_out(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = reopen_session(finished_run)
    data = reopen_data(session, read_provenance(finished_run))
    monkeypatch.setattr(
        "medimg_baseline_cls.pipeline.steps.shortcut_baselines.MAX_TRAIN_IMAGES", 30
    )
    fewer = [control.to_json() for control in evaluate_controls(session, data)]
    assert fewer != list(controls_of(finished_run).values())


def test_images_of_a_run_are_all_of_its_images(finished_run: Path) -> None:
    session = reopen_session(finished_run)
    data = reopen_data(session, read_provenance(finished_run))
    images = list_images_of(data)
    assert images.split is data.split
    assert len(images.rows) == len(data.split.records)


def write_films(folder: Path, counts: dict[str, int]) -> None:
    rng = np.random.default_rng(1)
    for cell, count in counts.items():
        (folder / cell).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / cell / f"p{cell[:2]}{number}_1.png")


def test_training_warns_of_what_needs_no_pixels(tmp_path: Path, make_config: ConfigMaker) -> None:
    data = tmp_path / "data"
    counts = {"train/A": 24, "train/B": 24, "test/A": 4, "test/B": 12}
    write_films(data, counts)
    odd = data / "train/A/pxx_1.png"
    shutil.copy(data / "train/A/ptr0_1.png", odd)
    config = make_config(
        data, tmp_path, head_epochs=1, finetune_epochs=0, group_regex="none", positive_class="B"
    )
    run_dir = train(config).run_dir
    log = (run_dir / "log.txt").read_text(encoding="utf-8")
    told = [line for line in log.splitlines() if line.startswith("warning: ")]
    assert any("class and split with fewer than 10 images" in line for line in told)
    assert any("share in test differs" in line for line in told)


def test_training_on_sound_images_warns_of_nothing(
    tmp_path: Path, make_config: ConfigMaker
) -> None:
    data = tmp_path / "data"
    write_films(data, {"train/A": 40, "train/B": 40, "test/A": 12, "test/B": 12})
    config = make_config(
        data, tmp_path, head_epochs=1, finetune_epochs=0, group_regex="none", positive_class="B"
    )
    log = (train(config).run_dir / "log.txt").read_text(encoding="utf-8")
    assert "warning: " not in log
