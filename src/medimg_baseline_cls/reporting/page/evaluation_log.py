"""The log of TEST in the report: how often it was scored, when, by what and why."""

from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.page.tables import Row, Table
from medimg_baseline_cls.reporting.text.format import UNDEFINED, hide_paths


def tabulate_test_log(content: RunContent) -> Table | None:
    """Return one line per evaluation on TEST; None where none was logged."""
    rows = [
        Row(
            (
                row["number"],
                row["when"].removesuffix("+00:00").replace("T", " "),
                hide_paths(row["reason"]),
                hide_paths(row["accepted"]) or UNDEFINED,
                row["code"][:_SHOWN] or row["version"] or UNDEFINED,
            )
        )
        for row in content.test_log
    ]
    if not rows:
        return None
    return Table(
        title="Evaluations on TEST",
        header=("No.", "When (UTC)", "Reason", "Accepted change", "Code"),
        rows=tuple(rows),
        num_text=5,
        notes=(
            "Every evaluation on TEST, from test_log.csv. A change of checkpoint, thresholds, "
            "split or class order is refused unless accepted.",
        ),
    )


def tabulate_hashes(content: RunContent) -> Table | None:
    """Return what each evaluation on TEST was made from; None where none was logged."""
    rows = [
        Row((row["number"], *(row[name][:_SHOWN] for name in _HASHES))) for row in content.test_log
    ]
    if not rows:
        return None
    return Table(
        title="Files of each evaluation on TEST",
        header=("No.", *_HASHES.values()),
        rows=tuple(rows),
        num_text=len(_HASHES) + 1,
        notes=("The first 8 characters of each sha256, from test_log.csv.",),
    )


_SHOWN = 8
_HASHES = {
    "checkpoint_sha256": "Checkpoint",
    "thresholds_sha256": "Thresholds",
    "split_sha256": "Split",
    "predictions_test_sha256": "Predictions",
}
