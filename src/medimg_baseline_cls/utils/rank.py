"""Which process of several this is; imports nothing, as `medimg --help` asks too."""

import os


def is_main_process() -> bool:
    """Return whether this process writes files: rank 0, or the only one."""
    return os.environ.get("RANK", "0") == "0"
