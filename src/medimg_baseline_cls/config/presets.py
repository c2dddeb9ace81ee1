"""Presets: the settings of a training recipe together, below settings file and flags."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "baseline": {
        "finetune_epochs": 3,
        "augment": "standard",
        "select": "val_ap",
        "frozen_stem": False,
        "head_fit": "adamw",
    },
    "robust": {
        "finetune_epochs": 6,
        "augment": "acquisition",
        "select": "stressed_val",
        "frozen_stem": True,
        "head_fit": "adamw",
    },
    "frozen": {
        "finetune_epochs": 0,
        "augment": "standard",
        "select": "val_ap",
        "frozen_stem": False,
        "head_fit": "logistic",
    },
}
"""By name; docs/benchmarks/shift.md says what each reaches."""
