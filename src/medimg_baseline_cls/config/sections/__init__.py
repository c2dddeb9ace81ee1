"""The sections of the settings, in the order of help and files; each declares its settings once."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from medimg_baseline_cls.config.messages import (
    FieldFacts,
    SettingsError,
    read_field_facts,
    shorten_value,
    show_value,
)
from medimg_baseline_cls.config.sections.data import (
    DataSettings,
    ImagesSettings,
    LabelsSettings,
    SplitSettings,
    TableSettings,
)
from medimg_baseline_cls.config.sections.results import (
    EvaluationSettings,
    MachineSettings,
    ResultsSettings,
)
from medimg_baseline_cls.config.sections.training import (
    AugmentationSettings,
    ModelSettings,
    TrainingSettings,
)

SECTIONS: dict[str, type[Any]] = {
    "data": DataSettings,
    "table": TableSettings,
    "labels": LabelsSettings,
    "split": SplitSettings,
    "images": ImagesSettings,
    "model": ModelSettings,
    "training": TrainingSettings,
    "augmentation": AugmentationSettings,
    "evaluation": EvaluationSettings,
    "results": ResultsSettings,
    "machine": MachineSettings,
}
FIELD_GROUPS = {name: tuple(read_field_facts(kind)) for name, kind in SECTIONS.items()}
_FACTS = {
    name: facts for kind in SECTIONS.values() for name, facts in read_field_facts(kind).items()
}
FLAG_ALIASES = {name: facts.aliases for name, facts in _FACTS.items() if facts.aliases}
FIRST_SETTINGS = frozenset(name for name, facts in _FACTS.items() if facts.is_common)
"""The settings that most users need: `--help` shows these, `--help-all` shows all."""


def field_facts() -> dict[str, FieldFacts]:
    """Return what is known of each setting, by name, in the order of declaration."""
    return _FACTS


def flatten_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that may be grouped by section, under their own names.

    Other tools' names of settings are understood too; one next to the setting itself is kept, to be
    refused as unknown.

    Raises:
        SettingsError: a setting is in the wrong section, or in its section and outside.

    >>> flatten_sections({"training": {"epochs": 3}, "seed": 1})
    {'seed': 1, 'finetune_epochs': 3}
    """
    grouped = {
        name: {shorten_value(key): inner for key, inner in (value or {}).items()}
        for name, value in values.items()
        if name in SECTIONS and (value is None or isinstance(value, Mapping))
    }
    flat = _rename_aliases({name: values[name] for name in values if name not in grouped})
    mistakes = [*_refuse_sections(flat)]
    for section, found in grouped.items():
        inner = _rename_aliases(found)
        for name in inner:
            owner = next((s for s, names in FIELD_GROUPS.items() if name in names), section)
            if isinstance(inner[name], Mapping):
                mistakes.append(
                    f"{name} is a section inside the section {section}: move it out of it."
                )
            elif owner != section:
                mistakes.append(
                    f"{name} is in the section {section}: move it to the section {owner}."
                )
            elif name in flat:
                mistakes.append(
                    f"{name} is given twice, once in the section {section}: leave one out."
                )
        flat |= inner
    if mistakes:
        raise SettingsError(mistakes)
    return flat


def _refuse_sections(flat: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each section that has a value, and for each that is unknown."""
    for name, value in flat.items():
        if name in SECTIONS:
            example = FIELD_GROUPS[name][0]
            yield (
                f"{name} = {show_value(value)}: {name} is a section and contains settings, such as "
                f"{example}."
            )
        elif isinstance(value, Mapping) and name not in _FACTS:
            near = get_close_matches(name.lower(), SECTIONS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"sections are {', '.join(SECTIONS)}."
            yield f"there is no section {shorten_value(name)!r}: {hint}"


def _rename_aliases(values: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        alias.lstrip("-").replace("-", "_"): name
        for name, aliases in FLAG_ALIASES.items()
        for alias in aliases
        if alias.startswith("--")
    }
    return {
        name if names.get(name, name) in values else names[name]: value
        for name, value in values.items()
    }
