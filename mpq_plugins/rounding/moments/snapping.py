"""Float tensors on steps so coarse that float64 sums of their products are exact, in any order.

Two frameworks, or one at two batch sizes, add the products of a convolution in different orders, so
the last bits of its float output differ. With ACTIVATION_BITS significand bits for what a layer reads, relative
to a power of two above the largest magnitude, and what is left of float64's 53 for its weight, every
partial sum is a whole number of steps that float64 holds: the result does not depend on the order.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from mpq_plugins.rounding.moments.layer_moments import Array

ACTIVATION_BITS = 20
EXACT_BITS = 52
"""Of float64's 53, one less than it holds."""
SINGLE_BITS = 24
"""Significant bits of a float32."""
_FINER = 2.0**20
_SINGLE = 2.0**-60, 2.0**60
"""Steps by which float32 values are divided in float32 without leaving its range."""


def snap(x: ArrayLike, largest: float | Array, bits: int) -> Array:
    """x at the nearest multiple of ``2**(e - bits)``, half to even; 2**e is the power of two above ``largest``.

    largest: of the magnitudes of the whole tensor, one number, or one for each row that broadcasts against x.
    A quotient that is a tie but for the last place of float64 counts as a tie: frameworks divide
    differently there.

    >>> snap([0.3, 0.999], 0.999, 2)
    array([0.25, 1.  ])
    """
    step, values = _steps(largest, bits), np.asarray(x)
    single = values.dtype == np.float32 and step.ndim == 0 and _SINGLE[0] < step < _SINGLE[1]
    # float32 holds what powers of two and rounding make of its values, at half the memory
    codes = values / np.float32(step) if single else np.asarray(values, dtype=np.float64) / step
    codes *= _FINER
    np.rint(codes, out=codes)
    codes /= _FINER
    np.rint(codes, out=codes)
    snapped = codes.astype(np.float64) if single else codes
    snapped *= step
    return np.asarray(snapped)


def snap_weight(weight: ArrayLike) -> Array:
    """A weight [..., in] on steps of its own for each row, as fine as exact sums with a snapped input allow."""
    w = np.asarray(weight, dtype=np.float64)
    return snap(w, np.abs(w).max(axis=-1, keepdims=True, initial=0.0), significant_bits(w.shape[-1]))


def significant_bits(inputs: int) -> int:
    """Of the snapped weights of a layer of so many inputs.

    >>> significant_bits(25088)
    17
    """
    return EXACT_BITS - ACTIVATION_BITS - math.ceil(math.log2(max(inputs, 2)))


def ends_of(x: ArrayLike) -> tuple[float, float]:
    """The least and the largest of x, zeros where there is nothing; both NaN where x holds NaN.

    >>> ends_of([-3.0, 2.0]), ends_of([])
    ((-3.0, 2.0), (0.0, 0.0))
    """
    values = np.asarray(x)
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def largest_magnitude(x: ArrayLike) -> float:
    """The largest magnitude in x; NaN where x holds NaN.

    >>> largest_magnitude([-3.0, 2.0]), largest_magnitude([])
    (3.0, 0.0)
    """
    low, high = ends_of(x)
    return max(high, -low)


def hardswish(x: ArrayLike) -> Array:
    """``x min(max(x + 3, 0), 6) / 6`` in float64: one definition, whatever a framework computes.

    >>> hardswish([-4.0, 1.0, 4.0])
    array([-0.        ,  0.66666667,  4.        ])
    """
    values = np.asarray(x, dtype=np.float64)
    return np.asarray(values * np.clip(values + 3, 0, 6) / 6)


def _steps(largest: float | Array, bits: int) -> Array:
    """The step of each largest magnitude; 1 where it is zero."""
    exponent = np.where(np.asarray(largest) > 0, np.frexp(largest)[1] - bits, 0)
    return np.asarray(np.ldexp(1.0, np.maximum(exponent, -1000)))
