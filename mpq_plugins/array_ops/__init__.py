"""The array functions of trainable methods: their protocol, rounding gradients, and the NumPy reference."""

from __future__ import annotations

from mpq_plugins.array_ops.protocol import DELTA, STRAIGHT_THROUGH, Array, Elementwise, Ops
from mpq_plugins.array_ops.reference import NUMPY, Gradients, NumpyOps, fake_quantize_gradients
from mpq_plugins.array_ops.surrogates import ROUNDINGS, SURROGATES, check_rounding, gradient_factor

__all__ = [
    "DELTA",
    "NUMPY",
    "ROUNDINGS",
    "STRAIGHT_THROUGH",
    "SURROGATES",
    "Array",
    "Elementwise",
    "Gradients",
    "NumpyOps",
    "Ops",
    "check_rounding",
    "fake_quantize_gradients",
    "gradient_factor",
]
