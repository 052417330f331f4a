"""Noise that every framework, device and replica agrees on: a hash of seed, group, row and step.

Integer arithmetic modulo 2**32 in 64-bit integers, in which no product overflows: multipliers above 2**31
stand as their negative equivalents. The mixing function is the one of 32 bits and least bias that
Chris Wellons' search found (github.com/skeeto/hash-prospector, 16 21f0aaad 15 d35a2d97 15).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.layout import Extent
from mpq_plugins.training.slot import Slot

_MASK = 0xFFFFFFFF
_FIRST = 0x21F0AAAD
_SECOND = 0xD35A2D97 - (1 << 32)


def mixed(ops: Ops, x: Array) -> Array:
    """A permutation of the 32-bit numbers whose output bits depend on all input bits.

    >>> [int(v) for v in mixed(NUMPY, np.array([0, 1, 2]))]
    [0, 114555507, 229111015]
    """
    x = ops.bit_and(ops.bit_xor(x, ops.shift_right(x, 16)) * _FIRST, _MASK)
    x = ops.bit_and(ops.bit_xor(x, ops.shift_right(x, 15)) * _SECOND, _MASK)
    return ops.bit_xor(x, ops.shift_right(x, 15))


def counters(
    bank: Bank, extent: Extent, further: tuple[int, ...], seed: int, draws_as: Callable[[Slot], str] | None = None
) -> NDArray[np.int64]:
    """What tells the draws of a bank apart, by seed, group and place within the group: [rows, *further].

    A group has the same wherever it stands in whatever bank. draws_as: by what a group is known, its name by default.
    """
    parts = []
    for index, slot in enumerate(bank.slots):
        rows = bank.layout.counts(extent)[index]
        name = slot.name if draws_as is None else draws_as(slot)
        key = mixed(NUMPY, np.array(zlib.crc32(name.encode()) ^ (int(seed) & _MASK), np.int64))
        place = np.arange(rows * math.prod(further), dtype=np.int64)
        parts.append(mixed(NUMPY, np.bitwise_and(key + mixed(NUMPY, place + 1), _MASK)).reshape(rows, *further))
    return np.concatenate(parts)


def step_key(step: int) -> int:
    """What tells the draws of one step from those of others."""
    return int(mixed(NUMPY, np.array((int(step) + 1) & _MASK, np.int64)))


def draws(ops: Ops, counter: Array, key: Any) -> Array:
    """Uniform draws of 24 bits from [0, 1), of the counters' shape. key: of the step (``step_key``)."""
    return ops.float32(ops.shift_right(mixed(ops, ops.bit_xor(counter, key)), 8)) * (1.0 / (1 << 24))
