"""The files of a run folder, read into plain values; a stage not yet run leaves its own empty.

Only config.json must be there. Nothing outside the run folder is opened.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.records.estimates import Json, read_number
from medimg_baseline_cls.records.evaluations import EvaluationSummary
from medimg_baseline_cls.records.probabilities import (
    CalibrationSummary,
    PrevalenceSummary,
    RecalibrationSummary,
)
from medimg_baseline_cls.records.subgroups import SubgroupSummary
from medimg_baseline_cls.records.summaries import SplitSummary
from medimg_baseline_cls.records.updating import UpdatingSummary
from medimg_baseline_cls.schema import SPLIT_NAMES, Task, TaskFacts
from medimg_baseline_cls.utils import texts
from medimg_baseline_cls.utils.files import read_csv, read_json
from medimg_baseline_cls.utils.runs import SELECTION
from medimg_baseline_cls.utils.spreadsheet_cells import read_guarded_csv
from medimg_baseline_cls.utils.visible import show_all

KINDS = ("FP", "FN")

Rows = Sequence[Mapping[str, str]]
Record = TypeVar("Record")


# What `explain` draws unless explained.json names another kind of map.
_GRADCAM = {
    "label": "Grad-CAM",
    "folder": "gradcam",
    "shows": "what raised the score",
    "is_of_class": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent(TaskFacts):
    """What a run folder has; empty mappings and rows stand for files not written yet.

    Attributes:
        name: the folder's own name.
        config: settings and, under "provenance", what was inferred from the data.
        evaluation: the evaluation in short; None before there was one.
        summaries: of each split ("val", "test") that was evaluated.
        patient_summaries: the same per patient; empty where patients have one image each.
        calibration, recalibration, prevalence, subgroups: None where there is no such file.
        figures: each PNG of `figures/`, by file name.
        panels: "FP" and "FN" to the PNG of each, by file name.
        nearest: row of split.csv, as text, to the small PNG of a training image.
        external: of a locked run on another data set, which TEST is then; empty for a run.
        updating: what updates on that data set would gain; None for a run.
        status: how far the run got.
        gaps: a warning for each file that is missing or cannot be read.
        selection: what a sweep has chosen the run from; empty for other runs.
    """

    name: str
    config: Json
    environment: Json
    evaluation: EvaluationSummary | None
    summaries: Mapping[str, SplitSummary]
    patient_summaries: Mapping[str, SplitSummary]
    calibration: CalibrationSummary | None
    recalibration: RecalibrationSummary | None
    prevalence: PrevalenceSummary | None
    split: Rows
    rejected: Rows
    history: Rows
    timings: Rows
    mistakes: Rows
    dossier: Rows
    test_log: Rows
    external: Json
    updating: UpdatingSummary | None
    subgroups: SubgroupSummary | None
    figures: Mapping[str, Path]
    panels: Mapping[str, tuple[Path, ...]]
    nearest: Mapping[str, Path]
    maps: Json
    status: Json
    gaps: tuple[str, ...] = ()
    selection: Json = field(default_factory=dict[str, Any])

    @property
    def is_stopped(self) -> bool:
        """Return whether training was stopped before its end."""
        return self.status.get("state") in ("training", "interrupted")

    @property
    def is_judged(self) -> bool:
        """Return whether the predictions are those of another program: no network, no TRAIN."""
        return "judged" in self.provenance

    @property
    def provenance(self) -> Json:
        """Return what the first stages inferred from the data."""
        return as_mapping(self.config.get("provenance"))

    @property
    def inferences(self) -> Rows:
        """Return what was concluded without a setting; empty for runs that did not write it."""
        return cast(Rows, self.provenance.get("inferences", ()))

    @property
    def listed_inferences(self) -> Rows:
        """Return those about the data of this page: the data of the run are not external ones."""
        return () if self.external else self.inferences

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the splits to list: all of them, or those that are of other data."""
        if not self.is_judged and not self.external:
            return SPLIT_NAMES
        found = {row["split"] for row in self.split}
        return tuple(name for name in SPLIT_NAMES if name in found)

    @property
    def settings(self) -> Json:
        """Return config.json without the inferences, shown in a table, and where it was started."""
        hidden = ("inferences", "started_in")
        kept = {name: value for name, value in self.provenance.items() if name not in hidden}
        return {**self.config, **({"provenance": kept} if kept else {})}

    @property
    def unit(self) -> str:
        """Return what images are grouped by: "patient" where patients are known, else "group"."""
        said = [item["found"] for item in self.inferences if item["topic"] == "patients"]
        paths = {row["path"] for row in self.split}
        is_known = any(row["group"] not in paths for row in self.split)
        return (
            "group" if not is_known or any(s.startswith("not known") for s in said) else "patient"
        )

    @property
    def num_slices(self) -> int:
        """Return to how many slices each image, which is a volume, was resampled; 0 for images."""
        found = self.config.get("slices")
        return found if isinstance(found, int) else 0

    @property
    def is_3d(self) -> bool:
        """Return whether the network sees volumes whole."""
        return str(self.config.get("arch")).startswith("monai3d:")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes in their frozen order."""
        evaluated = self.evaluation.class_names if self.evaluation else ()
        for names in (evaluated, *(s.get("class_names") for s in (self.provenance, self.config))):
            if names:
                return tuple(str(name) for name in names)
        return tuple(sorted({row["label"] for row in self.split}))

    @property
    def task(self) -> Task:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return "multiclass", "ordinal" or "multilabel"."""
        if self.evaluation is not None:
            return self.evaluation.task
        return self.provenance.get("task") or "multiclass"

    @property
    def target_sensitivity(self) -> float | None:
        """Return the target that the thresholds were chosen by, whatever config.json says today."""
        for points in self.thresholds.values():
            target = read_number(points.get("target_sensitivity", {}).get("target"))
            if target is not None:
                return target
        return number_of(str(self.config.get("target_sensitivity", "")))

    @property
    def positive_class(self) -> str | None:
        """Return the positive class; None where each class is compared with the rest."""
        evaluated = filter(None, (self.evaluation, *self.summaries.values()))
        named = [summary.positive_class for summary in evaluated]
        named += [source.get("positive_class") for source in (self.provenance, self.config)]
        return next((str(name) for name in named if name in self.class_names), None)

    @property
    def checkpoint(self) -> Json:
        """Return stage, epoch and sha256 of the network that was evaluated."""
        return {} if self.evaluation is None else self.evaluation.checkpoint

    @property
    def thresholds(self) -> Mapping[str, Mapping[str, Json]]:
        """Return each threshold of the evaluation by class, then by rule, with its description."""
        return {} if self.evaluation is None else self.evaluation.thresholds


def read_run(run_dir: Path, *, gaps: Mapping[str, str] | None = None) -> RunContent:
    """Read everything that the report shows of a run folder.

    Args:
        run_dir: the run folder.
        gaps: names of files that count as missing, each with a warning.

    Raises:
        RunError: the folder or its config.json is missing, or a file is garbled.
    """
    if not (run_dir / "config.json").is_file():
        raise RunError(
            f"{run_dir} is not a run folder: config.json is missing; "
            f"name a folder that `medimg train` or `medimg run` has made."
        )
    _json, _rows = partial(_read_json, gaps=gaps or {}), partial(_read_rows, gaps=gaps or {})

    def _record(name: str, read: Callable[[Json], Record]) -> Record | None:
        content = _json(run_dir / name)
        return read(content) if content else None

    maps: Json = {**_GRADCAM, **_json(run_dir / "explained.json")}
    panels = run_dir / Path(str(maps["folder"])).name
    return RunContent(
        name=run_dir.resolve().name,
        config=_json(run_dir / "config.json"),
        environment=_json(run_dir / "env_report.json"),
        evaluation=_record("eval_summary.json", EvaluationSummary.from_json),
        summaries=_summaries(run_dir, gaps or ()),
        patient_summaries=_summaries(run_dir / "patients"),
        calibration=_record("calibration.json", CalibrationSummary.from_json),
        recalibration=_record("recalibration.json", RecalibrationSummary.from_json),
        prevalence=_record("prevalence.json", PrevalenceSummary.from_json),
        split=_rows(run_dir / "split.csv"),
        rejected=_rows(run_dir / "rejected.csv"),
        history=_rows(run_dir / "history.csv"),
        timings=_rows(run_dir / "timings.csv"),
        mistakes=_rows(run_dir / "mistakes.csv"),
        dossier=_rows(run_dir / "dossier.csv", read=read_guarded_csv),
        test_log=_rows(run_dir / "test_log.csv"),
        external=_json(run_dir / "external.json"),
        updating=_record("updating.json", UpdatingSummary.from_json),
        subgroups=_record("subgroups.json", SubgroupSummary.from_json),
        figures={path.name: path for path in _pictures(run_dir / "figures")},
        panels={kind: _pictures(panels / kind) for kind in KINDS},
        nearest={path.stem: path for path in _pictures(panels / "nearest")},
        maps=maps,
        status=_json(run_dir / "status.json"),
        gaps=tuple((gaps or {}).values()),
        selection=_json(run_dir / SELECTION),
    )


def show_content(content: RunContent) -> RunContent:
    """Return the same run with what its names hide shown, control characters and the like."""
    texts = {field.name: getattr(content, field.name) for field in fields(content)}
    return replace(content, **show_all(texts))


def as_mapping(value: Any) -> Json:
    """Return the value if it is a JSON object, else an empty one."""
    return cast(Json, value) if isinstance(value, Mapping) else {}


def number_of(text: str | None) -> float | None:
    """Return a CSV cell as a finite number; None for an empty or undefined one."""
    return texts.read_number(text or "")


def _summaries(folder: Path, gaps: Collection[str] = ()) -> Mapping[str, SplitSummary]:
    names = {split: f"{split}_summary.json" for split in ("val", "test")}
    found = {split: _read_json(folder / names[split], gaps=gaps) for split in names}
    return {s: SplitSummary.from_json(content) for s, content in found.items() if content}


def _read_json(path: Path, *, gaps: Collection[str]) -> Json:
    if path.name in gaps or not path.is_file():
        return {}
    return read_json(path)


def _read_rows(
    path: Path, *, gaps: Collection[str], read: Callable[[Path], Rows] = read_csv
) -> Rows:
    return () if path.name in gaps or not path.is_file() else read(path)


def _pictures(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("*.png"))) if folder.is_dir() else ()
