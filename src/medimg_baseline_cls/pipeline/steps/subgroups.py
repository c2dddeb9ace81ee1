"""The subgroups of a run: columns of split.csv and what file names tell, measured on TEST.

Subgroups are how TEST is looked at, not what decides on it: their settings may change after
TEST was scored.
"""

from collections.abc import Sequence

from medimg_baseline_cls.evaluation.operating_points import Thresholds
from medimg_baseline_cls.evaluation.resampling import Resampling
from medimg_baseline_cls.evaluation.subgroup_columns import SubgroupColumn
from medimg_baseline_cls.evaluation.subgroups import (
    SubgroupSettings,
    measure_subgroups,
    write_subgroups,
)
from medimg_baseline_cls.pipeline.steps.session import Session
from medimg_baseline_cls.plots.subgroups import draw_subgroups
from medimg_baseline_cls.records.subgroups import SubgroupSummary
from medimg_baseline_cls.schema import Predictions
from medimg_baseline_cls.utils.files import write_json

MAX_FIGURES = 8
_NAME = "subgroups"


def evaluate_subgroups(
    session: Session,
    columns: Sequence[SubgroupColumn],
    *,
    parts: Sequence[Predictions],
    thresholds: Thresholds,
    positive_class: str | None,
) -> None:
    """Write subgroups.json, subgroups.csv and figures/subgroups_test.png, where there are any."""
    run_dir, config = session.run_dir, session.config
    _remove_files(session)
    if not columns:
        return
    summary = measure_subgroups(
        parts,
        columns,
        thresholds=thresholds,
        positive_class=positive_class,
        settings=SubgroupSettings(
            config.subgroup_min_images,
            config.target_sensitivity,
            Resampling(config.num_resamples, config.seed),
        ),
    )
    write_json(run_dir / f"{_NAME}.json", summary.to_json())
    write_subgroups(run_dir / f"{_NAME}.csv", summary)
    _draw(session, summary)
    num_subgroups = sum(len(column.subgroups) for column in summary.columns)
    names = ", ".join(column.name for column in columns)
    session.log.info(f"subgroups: {num_subgroups}, by {names}")


def _draw(session: Session, summary: SubgroupSummary) -> None:
    """Draw the positive class, or each class; of many classes the first ones."""
    names = list(summary.whole.classes)
    for number, name in enumerate(names[:MAX_FIGURES], start=1):
        ending = "" if len(names) == 1 else f"_{number}"
        draw_subgroups(
            summary,
            session.run_dir / "figures" / f"{_NAME}_test{ending}.png",
            class_name=name,
            rule=session.config.operating_point,
        )


def _remove_files(session: Session) -> None:
    """Remove what an earlier evaluation wrote: other settings may leave other files."""
    for ending in ("json", "csv"):
        (session.run_dir / f"{_NAME}.{ending}").unlink(missing_ok=True)
    for path in (session.run_dir / "figures").glob(f"{_NAME}_test*.*"):
        path.unlink()
