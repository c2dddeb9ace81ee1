import hashlib
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medimg_baseline_cls.utils.seed import (
    derive_key,
    generator,
    permutation,
    torch_randomness,
    uniform_table,
)

parts = st.one_of(st.text(max_size=6), st.integers())
purposes = st.lists(parts, max_size=4)


@given(st.integers(), purposes, st.integers(), purposes)
def test_different_purposes_have_different_keys(
    seed: int, purpose: list[str | int], other_seed: int, other: list[str | int]
) -> None:
    is_same = (seed, purpose) == (other_seed, other)
    assert (derive_key(seed, *purpose) == derive_key(other_seed, *other)) == is_same


def test_key_does_not_depend_on_how_words_are_cut_or_on_number_types() -> None:
    assert derive_key(0, "ab", "c") != derive_key(0, "a", "bc")
    assert derive_key(0, "a", 1) == derive_key(np.int64(0), "a", np.int64(1))  # pyright: ignore[reportArgumentType]
    assert 0 <= derive_key(-5) < 2**64


def mix_with_plain_integers(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


@given(st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 5))
def test_uniform_table_is_the_published_hash(key: int, row: int, column: int) -> None:
    golden = 0x9E3779B97F4A7C15
    state = mix_with_plain_integers(mix_with_plain_integers(row * golden % 2**64) ^ key)
    bits = mix_with_plain_integers((state + (column + 1) * golden) % 2**64)
    table = uniform_table(key, np.array([row], dtype=np.int64), count=column + 1)
    assert table[0, column] == (bits >> 11) / 2**53


def test_key_never_changes_between_versions() -> None:
    # Frozen on purpose: another value here means that old runs cannot be repeated.
    digest = hashlib.blake2b(b'[0, "split", 3]', digest_size=8).digest()
    assert derive_key(0, "split", 3) == int.from_bytes(digest, "little")
    assert derive_key(0, "split") == 4933647517844995975


def test_uniform_value_depends_on_key_row_and_column_alone() -> None:
    rows = np.arange(50)
    whole = uniform_table(9, rows, count=8)
    order = np.random.default_rng(0).permutation(50)
    assert np.array_equal(uniform_table(9, rows[order], count=8), whole[order])
    assert np.array_equal(uniform_table(9, rows[7:8], count=3), whole[7:8, :3])
    assert not np.array_equal(uniform_table(10, rows, count=8), whole)


def test_uniform_table_is_uniform_and_uncorrelated() -> None:
    table = uniform_table(derive_key(1, "augment"), np.arange(20_000), count=6)
    assert table.min() >= 0
    assert table.max() < 1
    assert stats.kstest(table.ravel(), "uniform").pvalue > 1e-3
    # Columns, neighboring rows and neighboring epochs: |r| of independent ones is < 0.04.
    next_epoch = uniform_table(derive_key(1, "augment", 2), np.arange(20_000), count=6)
    columns = np.hstack([table[:-1], table[1:], next_epoch[:-1]])
    correlation = np.corrcoef(columns, rowvar=False) - np.eye(18)
    assert np.abs(correlation).max() < 0.04


def test_uniform_table_of_nothing_is_empty() -> None:
    assert uniform_table(1, np.array([], dtype=np.int64), count=3).shape == (0, 3)
    assert uniform_table(1, np.array([4]), count=0).shape == (1, 0)


@given(st.integers(0, 200), st.integers())
def test_permutation_holds_every_index_once(size: int, seed: int) -> None:
    assert sorted(permutation(seed, "epoch", size=size).tolist()) == list(range(size))


def test_permutation_differs_between_epochs_and_leaves_few_in_place() -> None:
    orders = np.stack([permutation(0, "epoch", epoch, size=500) for epoch in range(40)])
    assert len({tuple(order) for order in orders}) == 40
    # The number of fixed points of a random order has mean 1 and variance 1.
    fixed = (orders == np.arange(500)).sum(axis=1)
    assert abs(fixed.mean() - 1) < 4 / np.sqrt(40)


def test_generators_of_two_purposes_are_unrelated_and_repeatable() -> None:
    a, b = generator(0, "a").random(1000), generator(0, "b").random(1000)
    assert np.array_equal(a, generator(0, "a").random(1000))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.15


def test_nothing_reads_or_moves_a_global_generator() -> None:
    states = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())  # type: ignore[index]
    permutation(0, "x", size=9)
    generator(0, "x").random()
    with torch_randomness(0, "x"):
        torch.rand(3)
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_torch_randomness_is_restored_also_on_errors() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="inside"), torch_randomness(0, "x"):
        torch.rand(3)
        raise RuntimeError("inside")
    assert torch.equal(torch.get_rng_state(), before)


def test_torch_randomness_repeats_layers_whatever_came_before() -> None:
    layers = []
    for draws in (0, 5):
        torch.rand(draws)
        with torch_randomness(3, "init", "head"):
            layers.append(torch.nn.Linear(4, 2).weight.detach())
    with torch_randomness(3, "init", "tail"):
        other = torch.nn.Linear(4, 2).weight.detach()
    assert torch.equal(layers[0], layers[1])
    assert not torch.equal(layers[0], other)
