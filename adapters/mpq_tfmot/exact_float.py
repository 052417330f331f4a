"""The float side of the sweep: every sum exact, so that its numbers do not depend on order, batches or threads.

What a layer or an average reads is snapped (core: calibration.snapping) and multiplied in float64; results are
kept as float32. Ops of one element, and those that only move or select elements, are what they are in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpq_plugins.calibration.snapping import ACTIVATION_BITS, hardswish, largest_magnitude, snap, snap_weight
from mpq_tfmot.canonical_ops import Op, combine, multiply
from mpq_tfmot.keras import tf
from mpq_tfmot.layer_matrix import weight_from_matrix, weight_matrix

AVERAGES = ("avg_pool", "global_avg_pool")


def exact_outputs(op: Op, inputs: Sequence[Sequence[Any]]) -> list[Any]:
    """The output of an op, before its clamp, on every chunk; inputs: of each chunk (for an input, its data)."""
    if op.kind == "lookup" and op.word == "hardswish":
        return [tf.constant(hardswish(x.numpy()), x.dtype) for (x,) in inputs]
    if not op.weighted and op.kind not in ("input", *AVERAGES):
        return [combine(op, list(xs)) for xs in inputs]
    largest = max((largest_magnitude(x.numpy()) for (x,) in inputs), default=0.0)
    weight = tf.constant(weight_from_matrix(op, snap_weight(weight_matrix(op))), tf.float64) if op.weighted else None
    results = []
    for (x,) in inputs:
        snapped = tf.constant(snap(x.numpy(), largest, ACTIVATION_BITS), tf.float64)
        if weight is not None:  # the bias is added last, which rounds once
            result = multiply(op, snapped, weight, None) + tf.constant(op.bias, tf.float64)
        else:
            result = snapped if op.kind == "input" else combine(op, [snapped])
        results.append(tf.cast(result, x.dtype))
    return results
