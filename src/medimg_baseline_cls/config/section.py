"""What a section of the settings is, and what a setting knows besides its type and range."""

from pydantic import ConfigDict

RULES = ConfigDict(
    extra="forbid",
    use_attribute_docstrings=True,
    coerce_numbers_to_str=True,
    allow_inf_nan=False,
)


class Flag:
    """Other spellings of a setting's flag, and whether the short `--help` shows it."""

    def __init__(self, *aliases: str, is_common: bool = False) -> None:
        self.aliases = aliases
        self.is_common = is_common


COMMON = Flag(is_common=True)
