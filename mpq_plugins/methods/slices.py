"""Slices: from bits that differ between the channels of a tensor to the one bit-width that hardware has."""

from __future__ import annotations

from mpq_plugins.ops import Array, Ops
from mpq_plugins.training.slot import Slot


def held_by(ops: Ops, slot: Slot, bits: Array) -> Array:
    """The smallest candidate of at least these bits, the largest where there is none; without gradient."""
    bits = ops.stop_gradient(bits)
    held = bits * 0.0 + float(slot.bits[-1])
    for candidate in reversed(slot.bits[:-1]):
        held = ops.where(bits <= candidate + 0.5, ops.array(float(candidate), bits), held)
    return held


def nearest(ops: Ops, slot: Slot, bits: Array) -> Array:
    """The candidate nearest to the mean of the slices' bits; the larger of two that are as near."""
    mean = ops.mean(bits)
    chosen = ops.array(float(slot.bits[0]), mean)
    for lower, upper in zip(slot.bits, slot.bits[1:], strict=False):
        chosen = ops.where(mean >= (lower + upper) / 2, ops.array(float(upper), mean), chosen)
    return chosen


def codes_of(ops: Ops, slot: Slot, bits: Array) -> tuple[Array, Array]:
    """Lowest and highest code of a grid of these bits, as arrays."""
    if not slot.signed:
        return bits * 0.0, ops.exp2(bits) - 1.0
    half = ops.exp2(bits - 1.0)
    return (1.0 - half if slot.narrow else -half), half - 1.0
