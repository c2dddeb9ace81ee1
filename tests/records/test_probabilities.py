"""What is written about probabilities and subgroups reads back, and is written again as it was."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.records.samples import TASKS, choose, draw_parts, positive_of

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.evaluation import resampling
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.evaluation.subgroup_columns import part_column
from medimg_baseline_cls.evaluation.subgroups import SubgroupSettings, measure_subgroups
from medimg_baseline_cls.pipeline.steps import calibration
from medimg_baseline_cls.records.probabilities import (
    CalibrationSummary,
    PrevalenceMetrics,
    PrevalenceSummary,
    RecalibrationSummary,
)
from medimg_baseline_cls.records.subgroups import SubgroupSummary
from medimg_baseline_cls.records.summaries import read_record
from medimg_baseline_cls.schema import ImageRecord, Split, format_findings
from medimg_baseline_cls.utils.files import write_json

RECORDS: dict[str, Any] = {
    "calibration.json": CalibrationSummary,
    "recalibration.json": RecalibrationSummary,
    "prevalence.json": PrevalenceSummary,
    "subgroups.json": SubgroupSummary,
}
every_task = pytest.mark.parametrize(("task", "is_odd"), [(t, o) for t in TASKS for o in (0, 1)])


def train_of(task: str, names: tuple[str, ...]) -> Split:
    """Return a split whose TRAIN has each class once, or each finding once."""
    blank = ImageRecord(
        image_id="", path="", label="", group="", split="train", sha256="", width=1, height=1
    )
    labels = list(names)
    if task == "multilabel":
        labels = [format_findings([int(n == name) for n in names], names) for name in names]
    records = tuple(replace(blank, image_id=label, label=label) for label in labels)
    return Split(records, names, task="multilabel" if task == "multilabel" else "multiclass")


def write_all(folder: Path, task: str, *, is_odd: bool, patch: pytest.MonkeyPatch) -> None:
    """Write the four files of a run of drawn predictions."""
    for name in ("draw_calibration", "draw_decision_curves"):
        patch.setattr(calibration, name, lambda *_, **__: None)
    parts, thresholds = draw_parts(task, is_odd=is_odd), choose(task, is_odd=is_odd)
    (folder / "predictions_val.csv").write_text("")
    session: Any = SimpleNamespace(
        run_dir=folder, config=Config(num_resamples=50, target_prevalence=0.02)
    )
    calibration.write_calibration(
        session,
        parts,
        weights=resampling.draw_parts(parts, Resampling(50)),
        split=train_of(task, parts[0].class_names),
        thresholds=thresholds,
        positive_class=positive_of(task),
    )
    values = [("F", "M", "few", "")[i % 4 if i < 12 else i % 2] for i in range(len(parts[1].paths))]
    found = measure_subgroups(
        parts,
        [part_column("sex", values, train=[], edges=None)],
        thresholds=thresholds,
        positive_class=positive_of(task),
        settings=SubgroupSettings(10, 0.9, Resampling(40, 0)),
    )
    write_json(folder / "subgroups.json", found.to_json())


@every_task
def test_each_file_is_written_again_as_it_was(
    task: str, is_odd: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(tmp_path, task, is_odd=is_odd, patch=monkeypatch)
    for name, kind in RECORDS.items():
        text = (tmp_path / name).read_text()
        record = read_record(tmp_path / name, kind.from_json)
        write_json(tmp_path / "again.json", record.to_json())
        assert (tmp_path / "again.json").read_text() == text
        assert len(json.loads(text)) >= 1 + (name != "prevalence.json")
    content = json.loads((tmp_path / "subgroups.json").read_text())
    sizes = content["columns"][0]["subgroups"]
    assert [value for value, found in sizes.items() if found["is_too_small"]] == ["few"]


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("content", [[], {"a": 3}, {"classes": 3}, {"val": {"a": {}}}, {"a": []}])
def test_what_is_not_such_a_file_is_refused_by_its_path(
    tmp_path: Path, name: str, content: Any
) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        read_record(tmp_path / name, RECORDS[name].from_json)


def test_older_files_name_the_highest_f1_score_as_the_operating_point() -> None:
    content: dict[str, Any] = {
        "prevalence": 0.1,
        "average_precision": {"value": 0.3, "baseline": 0.1},
        "operating_points": {},
        "max_f1_at_prevalence": {"threshold": 0.9, "sensitivity": {"value": 0.5}},
    }
    older = {name.removesuffix("_at_prevalence"): value for name, value in content.items()}
    assert PrevalenceMetrics.from_json(older).to_json() == content
