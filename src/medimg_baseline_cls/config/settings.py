"""The one Config: every setting with its default, its range, its help and its checks.

It takes plain keywords and gives a frozen record, or one `ConfigError` that lists every mistake:
unknown names, wrong types, values out of range, settings that contradict each other or have no
effect. The string under a field is its help in `medimg train --help`.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic import (
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from medimg_baseline_cls.config.contradictions import find_contradictions
from medimg_baseline_cls.config.messages import SettingsError, describe_mistakes, is_unnamable
from medimg_baseline_cls.config.section import RULES
from medimg_baseline_cls.config.sections import (
    FLAG_ALIASES,
    data,
    field_facts,
    flatten_sections,
    results,
    training,
)


# Fields are collected from the last base to the first: the first section comes last.
@dataclass(frozen=True, kw_only=True, config=RULES)
class Config(
    results.MachineSettings,
    results.ResultsSettings,
    results.EvaluationSettings,
    training.AugmentationSettings,
    training.TrainingSettings,
    training.ModelSettings,
    data.ImagesSettings,
    data.SplitSettings,
    data.LabelsSettings,
    data.TableSettings,
    data.DataSettings,
):
    """Every setting of a run.

    Example:
        >>> Config(arch="densenet121", image_size=96).batch_size
        32
    """

    @model_validator(mode="wrap")
    @classmethod
    def _explain_mistakes(
        cls, values: ArgsKwargs, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        """Turn pydantic's errors and contradictions of valid settings into one ConfigError."""
        values = ArgsKwargs(values.args, flatten_sections(values.kwargs or {}))
        try:
            config = handler(values)
        except ValidationError as error:
            mistakes = describe_mistakes(error, field_facts(), aliases=FLAG_ALIASES)
            broken = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
            given = values.kwargs or {}
            valid = {name: given[name] for name in given if name not in broken}
            try:
                cls(**valid)
            except SettingsError as more:
                mistakes += more.mistakes
            raise SettingsError(mistakes) from None
        contradictions = find_contradictions(config)
        if contradictions:
            raise SettingsError(contradictions)
        return config

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_lookalikes(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true for a number and "" for anything; pydantic would silently convert them.

        The word none means no value where a field is optional: TOML has no other way.
        """
        facts = field_facts()[str(info.field_name)]
        if facts.is_optional and isinstance(value, str) and value.lower() == "none":
            return None
        if isinstance(value, bool) and facts.kind is not bool:
            raise ValueError("a switch")
        if isinstance(value, str) and not value.strip():
            raise ValueError("empty")
        if is_unnamable(value) or (isinstance(value, int) and abs(value) >= 2**63):
            raise ValueError("not a name, or a number too large for a file")
        return value

    @field_validator("data_dir", "output_dir", "cache_dir", "weights", "manifest")
    @classmethod
    def _expand_home(cls, value: Path | None) -> Path | None:
        with suppress(RuntimeError):  # an unknown user: left unchanged
            return None if value is None else value.expanduser()
        return value
