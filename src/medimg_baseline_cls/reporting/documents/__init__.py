"""Everything that `medimg report` writes next to the page: tables/, model_card.md, checklist.md."""

from pathlib import Path

from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.reporting.documents.checklist import format_checklist
from medimg_baseline_cls.reporting.documents.model_card import format_model_card
from medimg_baseline_cls.reporting.documents.table_files import write_tables
from medimg_baseline_cls.utils.files import sha256_file, write_text_atomic

_HASHED = (
    *("best.pt", "thresholds.json", "split.csv", "predictions_val.csv", "predictions_test.csv"),
    *("val_summary.json", "test_summary.json"),
)


def write_documents(content: RunContent, run_dir: Path) -> None:
    """Write tables/, model_card.md and checklist.md into a run folder."""
    files = {path.name for path in run_dir.iterdir()}
    hashes = {name: sha256_file(run_dir / name) for name in _HASHED if name in files}
    write_tables(content, run_dir / "tables")
    write_text_atomic(run_dir / "model_card.md", format_model_card(content, hashes))
    write_text_atomic(run_dir / "checklist.md", format_checklist(content, files))
