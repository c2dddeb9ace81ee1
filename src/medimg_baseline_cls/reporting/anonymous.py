"""Take file names, image ids and patients out of what the report shows: pseudonyms instead.

Panels whose file names do not end in a pseudonym have the file name drawn into the picture:
they are left out. What people typed (reasons, comments) and the values of subgroups stay.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from medimg_baseline_cls.records.evaluations import EvaluationSummary
from medimg_baseline_cls.reporting.content import RunContent
from medimg_baseline_cls.utils.pseudonyms import NameHider, Pseudonyms


def hide_content(content: RunContent, pseudonyms: Pseudonyms) -> RunContent:
    """Return the same run with pseudonyms for image_id, path and group, wherever they appear."""
    mistakes = tuple(hide_row(row, pseudonyms) for row in content.mistakes)
    known = {row["image_id"] for row in mistakes}
    hider = NameHider(pseudonyms, [row["path"] for row in (*content.split, *content.rejected)])
    return replace(
        content,
        config=_hide_texts({**content.config, "anonymous_ids": True}, "inferences", hider=hider),
        evaluation=_hide_warnings(content.evaluation, hider),
        split=tuple(hide_row(row, pseudonyms) for row in content.split),
        rejected=tuple(_hide_rejected(row, hider) for row in content.rejected),
        mistakes=mistakes,
        dossier=tuple(hide_row(row, pseudonyms) for row in content.dossier),
        panels={
            kind: tuple(p for p in paths if any(p.stem.endswith(name) for name in known))
            for kind, paths in content.panels.items()
        },
    )


def hide_row(row: Mapping[str, str], pseudonyms: Pseudonyms) -> dict[str, str]:
    """Return a row of a table with pseudonyms in the columns that name an image or a patient."""
    return {name: _choose(name, pseudonyms)(cell) if cell else cell for name, cell in row.items()}


def _choose(column: str, pseudonyms: Pseudonyms) -> Callable[[str], str]:
    if column == "group":
        return pseudonyms.group
    if column in ("image_id", "path") or column.endswith("_image_id"):
        return pseudonyms.image
    return _keep


def _keep(text: str) -> str:
    return text


def _hide_rejected(row: Mapping[str, str], hider: NameHider) -> dict[str, str]:
    """Return a rejected file without its name, which the reason may repeat."""
    return {**row, "path": hider.image(row["path"]), "reason": hider.text(row["reason"])}


def _hide_warnings(
    evaluation: EvaluationSummary | None, hider: NameHider
) -> EvaluationSummary | None:
    if evaluation is None:
        return None
    patients = _hide_texts(evaluation.patients, "warnings", hider=hider)
    warnings = tuple(map(hider.text, evaluation.warnings))
    return replace(evaluation, warnings=warnings, patients=patients)


def _hide_texts(content: Any, key: str, *, hider: NameHider, is_inside: bool = False) -> Any:
    """Return plain values without names of images in the texts below one key."""
    if isinstance(content, Mapping):
        pairs = cast(Mapping[str, Any], content)
        return {
            name: _hide_texts(value, key, hider=hider, is_inside=is_inside or name == key)
            for name, value in pairs.items()
        }
    if isinstance(content, list):
        items = cast(list[Any], content)
        return [_hide_texts(item, key, hider=hider, is_inside=is_inside) for item in items]
    return hider.text(content) if is_inside and isinstance(content, str) else content
