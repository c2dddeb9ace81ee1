"""Settings: keywords, files and flags in, one frozen and checked `Config` out."""

from medimg_baseline_cls.config.contradictions import check_task, find_useless
from medimg_baseline_cls.config.judging import JUDGE_SETTINGS
from medimg_baseline_cls.config.messages import SettingsError, show_value, suggest_fields
from medimg_baseline_cls.config.presets import PRESETS
from medimg_baseline_cls.config.search_space import (
    SearchSpace,
    apply_values,
    count_combinations,
    parse_space,
    read_space,
)
from medimg_baseline_cls.config.sections import (
    FIELD_GROUPS,
    FIRST_SETTINGS,
    FLAG_ALIASES,
    field_facts,
)
from medimg_baseline_cls.config.settings import Config
from medimg_baseline_cls.config.settings_files import (
    build_config,
    config_to_dict,
    format_setting,
    load_config_file,
)

__all__ = [
    "FIELD_GROUPS",
    "FIRST_SETTINGS",
    "FLAG_ALIASES",
    "JUDGE_SETTINGS",
    "PRESETS",
    "Config",
    "SearchSpace",
    "SettingsError",
    "apply_values",
    "build_config",
    "check_task",
    "config_to_dict",
    "count_combinations",
    "field_facts",
    "find_useless",
    "format_setting",
    "load_config_file",
    "parse_space",
    "read_space",
    "show_value",
    "suggest_fields",
]
