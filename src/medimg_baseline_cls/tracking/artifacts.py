"""The files of a run that trackers are sent: report, tables, pictures of results, settings.

By default nothing of them names an image, a patient or a place on this computer, and no image of a
patient is shown: page and documents are written for this from what is left of the run. A file in
which a name is found in spite of that is left out.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medimg_baseline_cls.reporting.anonymous import hide_content
from medimg_baseline_cls.reporting.content import RunContent, as_mapping, read_run, show_content
from medimg_baseline_cls.reporting.documents.model_card import format_model_card
from medimg_baseline_cls.reporting.documents.table_files import write_tables
from medimg_baseline_cls.reporting.outdated import is_current
from medimg_baseline_cls.reporting.page.report_page import render_report
from medimg_baseline_cls.tracking.record import PATH_SETTINGS
from medimg_baseline_cls.utils.files import read_csv, write_json, write_text_atomic
from medimg_baseline_cls.utils.pseudonyms import Pseudonyms, load_key

_AS_THEY_ARE = ("config.json", "history.csv", "report.html", "model_card.md", "checklist.md")
_OF_PATIENTS = "train_batch"  # the picture of the first batch
_KEPT = ("task", "class_names", "positive_class", "color", "val_strategy", "split_sha256")
_SHORTEST = 6  # a shorter name may be any word or number
_PICTURE, _WORD = re.compile(r"data:image/[^\"']+"), re.compile(r"[\w.-]+")


def list_artifacts(
    folder: Path, *, scratch: Path, names: bool = False, checkpoints: bool = False
) -> dict[str, Path]:
    """Return the files to send, by the path that they have in the tracker.

    Args:
        folder: of a run or of a sweep.
        scratch: a folder that is written to, for files that are changed before they are sent.
        names: send the files as they are, names and images of patients included.
        checkpoints: also send best.pt.
    """
    pictures = [
        path
        for place in (folder / "figures", folder / "ensemble" / "figures")
        for path in sorted(place.glob("*.png"))
        if names or not path.stem.startswith(_OF_PATIENTS)
    ]
    found = {f"figures/{path.name}": path for path in pictures}
    if names:
        paths = [folder / name for name in _AS_THEY_ARE]
        paths += sorted(folder.glob("tables/*"))
    else:
        scratch.mkdir(parents=True, exist_ok=True)
        if (folder / "config.json").is_file():
            _write_without_names(folder, scratch)
        paths = [path for path in sorted(scratch.rglob("*")) if path.is_file()]
        paths.append(folder / "history.csv")
    for path in (*paths, *([folder / "best.pt"] if checkpoints else [])):
        if path.is_file():
            home = folder if path.is_relative_to(folder) else scratch
            found[path.relative_to(home).as_posix()] = path
    return found


def _write_without_names(folder: Path, scratch: Path) -> None:
    content = read_run(folder)
    write_json(scratch / "config.json", _keep_settings(content.config))
    if (folder / "report.html").is_file() and is_current(folder):
        content = show_content(_hide(content))
        write_tables(content, scratch / "tables")
        write_text_atomic(scratch / "model_card.md", format_model_card(content, {}))
        write_text_atomic(scratch / "report.html", render_report(content))
    known = _list_names(folder)
    for path in [path for path in scratch.rglob("*") if path.is_file()]:
        if _names_any(path.read_text(encoding="utf-8", errors="surrogateescape"), known):
            path.unlink()


def _keep_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without places, and of what was inferred what has no names of files."""
    provenance = as_mapping(config.get("provenance"))
    weights = as_mapping(provenance.get("weights"))
    known = {name: provenance[name] for name in _KEPT if name in provenance}
    known["weights"] = {name: weights[name] for name in ("kind", "sha256") if name in weights}
    settings = {n: v for n, v in config.items() if n not in (*PATH_SETTINGS, "provenance")}
    return {**settings, "provenance": known}


def _hide(content: RunContent) -> RunContent:
    """Return the run with pseudonyms, and without places, pictures of patients and typed reasons.

    Raises:
        ConfigError: the key of the pseudonyms cannot be read.
    """
    content = hide_content(content, Pseudonyms(load_key()))
    kept = _keep_settings(content.config)
    provenance = {**content.provenance, **kept["provenance"]}
    provenance.pop("started_in", None)
    return replace(
        content,
        config={**kept, "provenance": provenance},
        environment={n: v for n, v in content.environment.items() if n != "command"},
        figures={n: p for n, p in content.figures.items() if not n.startswith(_OF_PATIENTS)},
        panels=dict.fromkeys(content.panels, ()),
        nearest={},
        test_log=tuple({**row, "reason": "", "accepted": ""} for row in content.test_log),
    )


def _list_names(folder: Path) -> set[str]:
    """Return the names of images and patients that are long enough to be recognized."""
    names: set[str] = set()
    for table in ("split.csv", "rejected.csv"):
        path = folder / table
        for row in read_csv(path) if path.is_file() else ():
            file = row["path"].rsplit("/", 1)[-1]
            names |= {file, file.rsplit(".", 1)[0], row.get("group", "")}
    return {name for name in names if len(name) >= _SHORTEST}


def _names_any(text: str, names: Iterable[str]) -> bool:
    r"""Return whether a text contains one of the names as a word of its own.

    >>> _names_any("of Doe_J_1, twice", {"Doe_J_1"}), _names_any("Doe_J_12", {"Doe_J_1"})
    (True, False)
    """
    text = _PICTURE.sub("", text)
    words = set(_WORD.findall(text))
    words |= {word.strip(".-") for word in words} | {word.rsplit(".", 1)[0] for word in words}
    plain = {name for name in names if _WORD.fullmatch(name)}
    others = (name for name in names if not _WORD.fullmatch(name))
    return not plain.isdisjoint(words) or any(name in text for name in others)
