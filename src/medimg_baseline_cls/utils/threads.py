"""Choose how idle threads wait, before the libraries that start them are loaded.

An OpenMP thread that has nothing to do spins for some 20 ms before it sleeps, an OpenBLAS one for
0.1 s. On a machine that others use as well, it takes their processor, or that of the very thread
it waits for. Numbers, and why these values: docs/decisions/0019-threads.md.
"""

import os
import sys
from typing import NamedTuple


class _Choice(NamedTuple):
    """A variable, its value, the module that reads it, and what a user may have set instead."""

    name: str
    value: str
    reader: str
    rival: str


_CHOICES = (
    _Choice("GOMP_SPINCOUNT", "10000", "torch", "OMP_WAIT_POLICY"),
    _Choice("KMP_BLOCKTIME", "1", "torch", "OMP_WAIT_POLICY"),
    _Choice("OPENBLAS_NUM_THREADS", "1", "numpy", "GOTO_NUM_THREADS"),
)


def calm_threads() -> None:
    """Let idle threads sleep soon, and give OpenBLAS one thread; torch keeps all of its own.

    For the start of a program: the libraries read these variables once, when they are loaded.
    What the user has set is left alone, and so is a library that is loaded already.
    """
    for choice in _CHOICES:
        is_late = choice.reader in sys.modules
        if not is_late and choice.rival not in os.environ:
            os.environ.setdefault(choice.name, choice.value)
