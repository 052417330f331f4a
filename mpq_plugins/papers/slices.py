"""Slices: from bits that differ between the channels of a tensor to the one bit-width that hardware has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import Arrays


def constants_of(bank: Bank) -> dict[str, NDArray[Any]]:
    """Of neighbouring candidates: up to what bits the lower holds, the middle of both, and their distance."""
    bits = np.asarray(bank.bits, np.float32)
    return {"holds": bits[:-1] + 0.5, "middles": (bits[:-1] + bits[1:]) / 2, "gaps": np.diff(bits)}


def held_by(ops: Ops, bank: Bank, bits: Array, state: Arrays) -> Array:
    """The smallest candidate of at least these bits, the largest where there is none; without gradient."""
    bits = ops.reshape(ops.stop_gradient(bits), [-1, 1])
    return ops.sum(ops.cast(bits > state["holds"], bits) * state["gaps"], axis=-1) + float(bank.bits[0])


def nearest(ops: Ops, bank: Bank, bits: Array, state: Arrays) -> Array:
    """[groups]: the candidate nearest to the mean of the slices' bits; the larger of two that are as near."""
    mean = ops.reshape(bank.mean(ops, bits, "channel", "group"), [-1, 1])
    return ops.sum(ops.cast(mean >= state["middles"], mean) * state["gaps"], axis=-1) + float(bank.bits[0])


def held_steps(
    ops: Ops, step: Array, reach: Array, own: Array, bits: Array, magnitude_bits: Array, power_of_two: bool
) -> Array:
    """Each slice's step where it has at most ``bits``; of one with more the coarser step that reaches as far.

    reach: the largest magnitude. own: bits of the slices. magnitude_bits: ``bits`` without that of the sign. All
    [channels], without gradient.
    """
    coarser = reach / ops.exp2(magnitude_bits)
    if power_of_two:
        coarser = ops.exp2(ops.stop_gradient(ops.round(ops.log2(coarser))))
    return ops.where(own > bits + 0.5, ops.maximum(step, coarser), step)


def codes_of(ops: Ops, bank: Bank, bits: Array) -> tuple[Array, Array]:
    """Lowest and highest code of grids of these bits, [groups]."""
    half = ops.exp2(bits - bank.signed)
    return bank.signed * (bank.narrow - half) + 0.0, half - 1.0
