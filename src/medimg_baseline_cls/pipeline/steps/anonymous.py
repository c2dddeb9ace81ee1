"""Pseudonyms of a run for sharing: tables without names, and the private key to them.

pseudonyms_PRIVATE.csv in the run folder maps pseudonyms to real names, and must stay with the
images; the folder anonymous/ contains the tables to share. The pseudonyms are keyed hashes, the
same in every run of the same user. What is printed has no names either; only a refusal still names
the file that has to be corrected.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medimg_baseline_cls.audit.check_results import Check, Example, Finding
from medimg_baseline_cls.evaluation.error_review import DOSSIER_NAME
from medimg_baseline_cls.reporting.anonymous import hide_row
from medimg_baseline_cls.schema import Inference
from medimg_baseline_cls.utils.files import read_csv, write_csv
from medimg_baseline_cls.utils.pseudonyms import NameHider, Pseudonyms, load_key
from medimg_baseline_cls.utils.spreadsheet_cells import guard_cell, read_guarded_csv

PRIVATE_NAME = "pseudonyms_PRIVATE.csv"
SHARED_FOLDER = "anonymous"
_SHARED = ("predictions_val.csv", "predictions_test.csv", "mistakes.csv", DOSSIER_NAME)


def load_pseudonyms() -> Pseudonyms:
    """Return the pseudonyms of this user.

    Raises:
        ConfigError: the user's key can neither be read nor made.
    """
    return Pseudonyms(load_key())


def make_hider(paths: Sequence[str], *, is_anonymous: bool) -> NameHider:
    """Return what hides the names of these images, where they are to be hidden.

    Raises:
        ConfigError: the user's key can neither be read nor made.
    """
    return NameHider(load_pseudonyms() if is_anonymous else None, paths)


def hide_inferences(inferences: Iterable[Inference], hider: NameHider) -> tuple[Inference, ...]:
    """Return what was inferred without the names that it gives as examples."""
    return tuple(
        replace(
            item,
            found=hider.text(item.found),
            reason=hider.text(item.reason),
            warning=hider.text(item.warning),
        )
        for item in inferences
    )


def hide_checks(checks: Iterable[Check], hider: NameHider) -> tuple[Check, ...]:
    """Return checks with pseudonyms in their examples."""

    def hide(example: Example) -> Example:
        paths = tuple(map(hider.image, example.paths))
        return replace(example, paths=paths, text=hider.text(example.text))

    def hide_examples(finding: Finding) -> Finding:
        return replace(finding, examples=tuple(map(hide, finding.examples)))

    return tuple(replace(c, findings=tuple(map(hide_examples, c.findings))) for c in checks)


def write_private(path: Path, pseudonyms: Pseudonyms, *, images: Iterable[tuple[str, str]]) -> None:
    """Write who is who into a table that its owner alone can read.

    Args:
        path: the table; its name ends in pseudonyms_PRIVATE.csv.
        pseudonyms: of this user.
        images: image_id and group of each.
    """
    rows = [
        (image_id, pseudonyms.image(image_id), group, pseudonyms.group(group))
        for image_id, group in images
    ]
    header = ("image_id", "pseudonym", "group", "group_pseudonym")
    write_csv(path, header, rows=rows, is_private=True)


def write_anonymous(run_dir: Path, pseudonyms: Pseudonyms) -> None:
    """Write the tables to share into anonymous/, and pseudonyms_PRIVATE.csv next to it."""
    split = run_dir / "split.csv"
    if split.is_file():
        images = [(row["image_id"], row["group"]) for row in read_csv(split)]
        write_private(run_dir / PRIVATE_NAME, pseudonyms, images=images)
    folder = run_dir / SHARED_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    for name in _SHARED:
        read = read_guarded_csv if name == DOSSIER_NAME else read_csv
        table = read(run_dir / name) if (run_dir / name).is_file() else []
        if table:
            hidden = [tuple(map(guard_cell, hide_row(row, pseudonyms).values())) for row in table]
            write_csv(folder / name, tuple(table[0]), rows=hidden)
