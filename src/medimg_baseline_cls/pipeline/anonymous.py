"""Pseudonyms of a run for sharing: tables without names, and the private key to them.

pseudonyms_PRIVATE.csv in the run folder says who is who, and must stay where the images are;
the folder anonymous/ holds the tables to give away. The pseudonyms are keyed hashes, the same
in every run of the same user.
"""

import shutil
from pathlib import Path

from medimg_baseline_cls.report.anonymous import hide_row
from medimg_baseline_cls.utils.files import read_csv, write_csv
from medimg_baseline_cls.utils.pseudonyms import Pseudonyms, load_key

PRIVATE_NAME = "pseudonyms_PRIVATE.csv"
SHARED_FOLDER = "anonymous"
_SHARED = ("predictions_val.csv", "predictions_test.csv", "mistakes.csv", "dossier.csv")


def load_pseudonyms() -> Pseudonyms:
    """Return the pseudonyms of this user.

    Raises:
        ConfigError: the user's key can neither be read nor made.
    """
    return Pseudonyms(load_key())


def write_anonymous(run_dir: Path, pseudonyms: Pseudonyms) -> None:
    """Write the tables to share into anonymous/, and pseudonyms_PRIVATE.csv beside it."""
    split = run_dir / "split.csv"
    if split.is_file():
        rows = [
            (
                r["image_id"],
                pseudonyms.image(r["image_id"]),
                r["group"],
                pseudonyms.group(r["group"]),
            )
            for r in read_csv(split)
        ]
        header = ("image_id", "pseudonym", "group", "group_pseudonym")
        write_csv(run_dir / PRIVATE_NAME, header, rows=rows)
    folder = run_dir / SHARED_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    for name in _SHARED:
        table = read_csv(run_dir / name) if (run_dir / name).is_file() else []
        if table:
            hidden = [tuple(hide_row(row, pseudonyms).values()) for row in table]
            write_csv(folder / name, tuple(table[0]), rows=hidden)
