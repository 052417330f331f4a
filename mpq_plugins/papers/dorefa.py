"""DoReFa's weight quantizer, and the one with N2UQ's entropy pre-scale in place of its tanh.

2**b levels from -1 to 1 with none at zero: no hardware grid of this package holds them, so they serve
SDQ's own setting, in which weights are quantized in simulation only.
"""

from __future__ import annotations

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.training.regularizers import entropy_scale


def unit_weight(ops: Ops, weight: Array) -> Array:
    """t = tanh(W) / (2 max |tanh(W)|) + 1/2, in [0, 1]; 1/2 everywhere for an all-zero weight."""
    bounded = ops.tanh(weight)
    return bounded / (2.0 * ops.maximum(ops.max(ops.abs(bounded)), ops.array(1e-12, bounded))) + 0.5


def prescaled_unit_weight(ops: Ops, weight: Array, bits: Array) -> Array:
    """The entropy pre-scale of the weight, cut to [-1, 1] and mapped to [0, 1]."""
    scaled = entropy_scale(ops, weight, bits) * weight
    one = ops.array(1.0, scaled)
    return ops.minimum(ops.maximum(scaled, -one), one) / 2.0 + 0.5


def quantize_unit(ops: Ops, unit: Array, bits: Array) -> Array:
    """2 / (2**b - 1) * round((2**b - 1) t) - 1, straight-through.

    >>> from mpq_plugins.array_ops.reference import NUMPY
    >>> import numpy as np
    >>> quantize_unit(NUMPY, unit_weight(NUMPY, np.array([-1, -0.25, 0.1, 0.5])), 2.0).round(3).tolist()
    [-1.0, -0.333, 0.333, 0.333]
    """
    steps = 2.0**bits - 1.0
    return 2.0 * ops.fake_quantize(unit, 1.0 / steps, 0, steps) - 1.0
