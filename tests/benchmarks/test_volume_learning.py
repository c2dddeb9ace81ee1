"""The page on volumes is written from its stored rows, and says where the attention is."""

import json
from pathlib import Path

import pytest
from tests.benchmarks.test_shift import load

volume_learning = load("volume_learning")


def test_the_page_is_that_of_the_stored_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = volume_learning.PAGE.read_text()
    monkeypatch.setattr(volume_learning, "PAGE", tmp_path / "volumes.md")
    rows = volume_learning.read_rows()
    volume_learning.write_page(rows)
    assert (tmp_path / "volumes.md").read_text() == stored
    assert all(
        row["largest_change_by_order"] <= 1e-6 for row in rows if row["pooling"] == "attention"
    )


def test_a_threshold_is_that_of_the_run(tmp_path: Path) -> None:
    rules = {"max_f1": {"threshold": 0.25}, "default": {"threshold": 0.5}}
    content = {"classes": {volume_learning.POSITIVE: rules}}
    (tmp_path / "thresholds.json").write_text(json.dumps(content))
    assert volume_learning.read_threshold(tmp_path) == 0.25
