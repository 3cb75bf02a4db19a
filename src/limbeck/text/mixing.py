"""Pseudo-random numbers that are pure functions of what they are drawn for.

The same for ever and on every machine; numpy's generators promise no such thing, as their streams may change
with a version.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

_M1, _M2 = np.uint64(0xBF58_476D_1CE4_E5B9), np.uint64(0x94D0_49BB_1331_11EB)
_GAMMA = np.uint64(0x9E37_79B9_7F4A_7C15)


def mix64(values: U64 | np.uint64 | int) -> U64:
    """splitmix64 of each number: uint64 of the same shape, evenly spread."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is the point
        z = np.asarray(values, np.uint64) + _GAMMA
        z = (z ^ (z >> np.uint64(30))) * _M1
        z = (z ^ (z >> np.uint64(27))) * _M2
        mixed: U64 = np.asarray(z ^ (z >> np.uint64(31)))
    return mixed
