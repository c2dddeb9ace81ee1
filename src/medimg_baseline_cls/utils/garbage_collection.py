"""Spare the memory: build millions of small records without Python's collector in the way."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Generator[None, None, None]:
    """Pause the search for reference cycles in a block, and let it be as it was afterwards.

    Each of millions of records that stay alive would be looked at again and again: a table of
    a million rows takes almost twice as long with it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
