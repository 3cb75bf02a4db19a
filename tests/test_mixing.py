"""Splitmix64: the published numbers, every shape, evenly spread, one to one."""

from __future__ import annotations

import warnings

import numpy as np

from limbeck.text.mixing import mix64

GAMMA = 0x9E37_79B9_7F4A_7C15
# What splitmix64 gives from the state 0: the state grows by GAMMA before each number.
PUBLISHED = (0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F)


def test_published_numbers() -> None:
    states = [(GAMMA * n) % 2**64 for n in range(3)]
    assert [int(mix64(state)) for state in states] == list(PUBLISHED)


def test_any_shape_and_no_warning() -> None:
    grid = np.arange(6, dtype=np.uint64).reshape(2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed = mix64(grid)
        assert int(mix64(np.uint64(2**64 - 1))) == int(mix64(2**64 - 1))
    assert mixed.shape == grid.shape
    assert mixed.dtype == np.uint64
    assert [int(mix64(int(n))) for n in grid.ravel()] == mixed.ravel().tolist()
    assert mix64(np.zeros(0, np.uint64)).shape == (0,)


def test_evenly_spread_and_one_to_one() -> None:
    mixed = mix64(np.arange(100_000, dtype=np.uint64))
    assert len(np.unique(mixed)) == len(mixed)
    bits = (mixed[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert abs(bits.mean(0) - 0.5).max() < 0.01  # six standard deviations
    shares = np.bincount((mixed % np.uint64(10)).astype(np.int64)) / len(mixed)
    assert abs(shares - 0.1).max() < 0.006
