"""Turn (seed, purpose, ...) into random numbers that depend on nothing else.

Nothing here reads or moves a global generator: the same key gives the same numbers in
any order of calls, in any process, with any number of workers and any NumPy version.
`torch_randomness` lends torch's global generators a seed and gives them back as they were.
"""

import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: the increment of splitmix64


def derive_key(seed: int, *purpose: str | int) -> int:
    """Return the 64-bit key of a purpose under a seed.

    Args:
        seed: any integer.
        purpose: words and numbers that name what is drawn, such as "augment", "finetune", 3.

    Returns:
        An integer in [0, 2**64), different for every different (seed, *purpose).

    >>> derive_key(0, "split") == derive_key(0, "split")
    True
    >>> derive_key(0, "split", 1) == derive_key(0, "split", "1")
    False
    """
    parts = [part if isinstance(part, str) else int(part) for part in (seed, *purpose)]
    canonical = json.dumps(parts).encode("ascii")
    return int.from_bytes(hashlib.blake2b(canonical, digest_size=8).digest(), "little")


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a generator of its own for one purpose, counter-based (Philox)."""
    return np.random.Generator(np.random.Philox(key=derive_key(seed, *purpose)))


def uniform_table(key: int, rows: NDArray[np.int64], *, count: int) -> NDArray[np.float64]:
    """Return `count` uniform numbers for each row, a function of (key, row, column) alone.

    Args:
        key: from `derive_key`.
        rows: any integers, shape (n,).
        count: numbers per row.

    Returns:
        Values in [0, 1) with 53 random bits, shape (n, count). Steele et al., "Fast
        splittable pseudorandom number generators", OOPSLA 2014 (splitmix64).

    >>> a = uniform_table(7, np.array([5, 9]), count=3)
    >>> b = uniform_table(7, np.array([9]), count=2)
    >>> bool((a[1, :2] == b[0]).all())
    True
    """
    names = np.asarray(rows, dtype=np.int64).astype(np.uint64)
    states = _mix(_mix(names * np.uint64(_GOLDEN)) ^ np.uint64(key))  # (n,)
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)  # (count,)
    bits = _mix(states[:, None] + steps[None, :])  # (n, count)
    return (bits >> np.uint64(11)) * np.float64(2.0**-53)


def permutation(seed: int, *purpose: str | int, size: int) -> NDArray[np.int64]:
    """Return a random order of 0 .. size-1 for one purpose, shape (size,).

    >>> sorted(permutation(3, "epoch", 1, size=4).tolist())
    [0, 1, 2, 3]
    """
    keys = uniform_table(derive_key(seed, *purpose), np.arange(size, dtype=np.int64), count=1)[:, 0]
    return np.argsort(keys, kind="stable").astype(np.int64)


@contextmanager
def torch_randomness(seed: int, *purpose: str | int) -> Generator[None, None, None]:
    """Seed torch's global generators (CPU and CUDA) for a block, and restore them after it.

    For what only knows the global generators: layer initialization, dropout, drop path.
    """
    import torch

    key = derive_key(seed, *purpose)
    # A GPU that was never used has no generator to save; seeding it would leak out of the block.
    uses_cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = list(range(torch.cuda.device_count())) if uses_cuda else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(key)
        if uses_cuda:
            torch.cuda.manual_seed_all(key)
        yield


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the finaliser of splitmix64: every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
