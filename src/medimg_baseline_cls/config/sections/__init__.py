"""The sections of the settings, in the order of help and files; each declares its settings once."""

from collections.abc import Mapping
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
    {'finetune_epochs': 3, 'seed': 1}
    """
    grouped = {
        name: _rename_aliases({shorten_value(key): inner for key, inner in (value or {}).items()})
        for name, value in values.items()
        if name in SECTIONS and (value is None or isinstance(value, Mapping))
    }
    flat = _rename_aliases({name: values[name] for name in values if name not in grouped})
    mistakes = [
        f"{name} = {show_value(flat[name])}: {name} is a section and contains settings, such as "
        f"{FIELD_GROUPS[name][0]}."
        for name in flat
        if name in SECTIONS
    ]
    for section, inner in grouped.items():
        for name in inner:
            owner = next((s for s, names in FIELD_GROUPS.items() if name in names), section)
            if owner != section:
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
