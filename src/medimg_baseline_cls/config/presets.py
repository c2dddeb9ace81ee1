"""Presets: settings that belong together, below settings file and flags.

docs/how-to/robust.md says what each is for; docs/benchmarks/shift.md what the recipes reach.
"""

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
    "smoke": {
        "limit": 200,
        "image_size": 64,
        "head_epochs": 2,
        "finetune_epochs": 1,
        "num_resamples": 200,
        "num_hard_examples": 2,
    },
}
"""By name: recipes of training, and `smoke`, a trial of the whole way on a few images."""
