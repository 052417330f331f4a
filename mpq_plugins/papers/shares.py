"""Shares: sdq's differentiable bit-width parameters, one for each choice and pair of candidates, and who has them.

A choice is a weight, or one of its channels. Those of a unit (a block of layers, or the whole network) are one: they
draw alike, and their shares move by the mean of what each would move by.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.training.bank import Bank

Granularity = Literal["net", "block", "layer", "kernel"]
"""Who chooses: all weights of the same candidates as one, the weights of a block, each, or each output channel."""


def unit_of(name: str, granularity: str, blocks: tuple[str, ...] = ()) -> str:
    """The name of the unit that a site belongs to.

    blocks: patterns, each of which stands for a block; without any, a block is what a layer's name has before its last
    dot. Sites of no block are by themselves.

    >>> [unit_of("layer1.0.conv2.weight", g) for g in ("net", "block", "layer")]
    ['', 'layer1.0', 'layer1.0.conv2.weight']
    >>> unit_of("block_3_expand.weight", "block", ("block_2_*", "block_3_*")), unit_of("fc.weight", "block")
    ('block_3_*', 'fc.weight')
    """
    if granularity == "net":
        return ""
    if granularity != "block":
        return name
    if blocks:
        return next((pattern for pattern in blocks if fnmatchcase(name, pattern)), name)
    before, dot, _ = name.removesuffix(".weight").rpartition(".")
    return before if dot else name


def means_of_units(units: list[str]) -> NDArray[np.float32] | None:
    """The matrix [choices, choices] that gives every choice the mean of its unit; None where all are alone."""
    alike = np.array([[a == b for b in units] for a in units], np.float32)
    return None if len(set(units)) == len(units) else alike / alike.sum(axis=1, keepdims=True)


def tied(ops: Ops, values: Array, state: Any) -> Array:
    """[choices, ...]: the mean of each unit for each of its members."""
    if "units" not in state:
        return values
    return ops.sum(ops.reshape(state["units"], [*state["units"].shape, 1]) * values[None], axis=1)


def active(ops: Ops, shares: Array, state: Any) -> tuple[Array, Array]:
    """The share of the pair at which each choice stands, [choices], and where it is, one-hot [choices, pairs].

    shares: [choices, pairs], the pair of the two lowest candidates first, at which a choice stays in the end.
    """
    pair = ops.reshape(ops.maximum(state["pair"], 1.0), [-1, 1])
    mask = ops.cast(ops.abs(state["places"][1:] - pair) < 0.5, shares)
    return ops.sum(mask * shares, axis=-1), mask


def active_number(shares: NDArray[Any], pair: NDArray[Any]) -> NDArray[np.float64]:
    """The same of one group, in NumPy: [] or [channels]."""
    index = np.maximum(np.asarray(pair).astype(int), 1) - 1
    return np.take_along_axis(np.asarray(shares, np.float64), index[..., None], axis=-1)[..., 0]


def bank_units(bank: Bank, granularity: str, blocks: tuple[str, ...]) -> list[str]:
    """The units of a bank's groups; activations, whose bits the paper fixes, are by themselves."""
    own = granularity if bank.kind == "weight" else "layer"
    return [unit_of(slot.name, own, blocks) for slot in bank.slots]
