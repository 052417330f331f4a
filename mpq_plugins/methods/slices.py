"""Slices: from bits that differ between the channels of a tensor to the one bit-width that hardware has."""

from __future__ import annotations

from mpq_plugins.ops import Array, Ops
from mpq_plugins.training.bank import Bank


def held_by(ops: Ops, bank: Bank, bits: Array) -> Array:
    """The smallest candidate of at least these bits, the largest where there is none; without gradient."""
    bits = ops.stop_gradient(bits)
    held = bits * 0.0 + float(bank.bits[-1])
    for candidate in reversed(bank.bits[:-1]):
        held = ops.where(bits <= candidate + 0.5, float(candidate), held)
    return held


def nearest(ops: Ops, bank: Bank, bits: Array) -> Array:
    """[groups]: the candidate nearest to the mean of the slices' bits; the larger of two that are as near."""
    mean = bank.mean(ops, bits, "channel", "group")
    chosen = mean * 0.0 + float(bank.bits[0])
    for lower, upper in zip(bank.bits, bank.bits[1:], strict=False):
        chosen = ops.where(mean >= (lower + upper) / 2, float(upper), chosen)
    return chosen


def codes_of(ops: Ops, bank: Bank, bits: Array) -> tuple[Array, Array]:
    """Lowest and highest code of grids of these bits, [groups]."""
    half = ops.exp2(bits - bank.signed)
    return bank.signed * (bank.narrow - half) + 0.0, half - 1.0
