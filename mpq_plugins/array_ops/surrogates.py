"""Rounding gradients: what a rounding passes back instead of its own gradient, zero almost everywhere.

Each surrogate multiplies the upstream gradient g by a factor that depends on where x lay between two
integers, e = x - round(x) in [-1/2, 1/2], and on the sign of g. From "Edge Inference with Fully
Differentiable Quantized Mixed Precision Neural Networks" (2206.07741), where ``inverse_tanh`` is new;
``ewgs`` is Lee et al. (2021). With delta = 0 each is the straight-through estimator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mpq_plugins.array_ops.protocol import DELTA, STRAIGHT_THROUGH, Elementwise
from mpq_plugins.errors import MPQError

_A = 1.9  # of inverse_tanh: the paper's


def _inverse_tanh(ops: Elementwise, e: Any, sign: Any) -> Any:
    return sign * ops.atanh(_A * e) * (0.5 / math.atanh(_A / 2))


SURROGATES: Mapping[str, Callable[[Elementwise, Any, Any], Any]] = {
    "ewgs": lambda ops, e, sign: sign * e,
    "inverse_tanh": _inverse_tanh,
    "tanh": lambda ops, e, sign: 0.5 * sign * ops.tanh(4 * e),
    "position": lambda ops, e, sign: ops.abs(e),
    "acos": lambda ops, e, sign: 0.5 * ops.sin(math.pi * e),
    "gaussian_noise": lambda ops, e, sign: ops.normal_like(e),
    "uniform_noise": lambda ops, e, sign: ops.uniform_like(e) - 0.5,
}
ROUNDINGS = (STRAIGHT_THROUGH, *SURROGATES)
"""The names that ``rounding`` arguments take."""


def check_rounding(rounding: str) -> str:
    """``rounding`` if it is a name of ROUNDINGS; raises MPQError listing them."""
    if rounding not in ROUNDINGS:
        raise MPQError(f"no rounding gradient {rounding!r}; there are {', '.join(ROUNDINGS)}")
    return rounding


def gradient_factor(ops: Elementwise, rounding: str, e: Any, upstream: Any, delta: float = DELTA) -> Any:
    """What a rounding multiplies its upstream gradient by; 1.0 for the straight-through estimator.

    e: x - round(x). upstream: the gradient that arrives, of e's shape.

    >>> from mpq_plugins.array_ops.reference import NUMPY
    >>> import numpy as np
    >>> gradient_factor(NUMPY, "ewgs", np.array([0.25, 0.25]), np.array([1.0, -1.0])).tolist()
    [1.00125, 0.99875]
    """
    if check_rounding(rounding) == STRAIGHT_THROUGH or not delta:
        return 1.0
    return 1.0 + delta * SURROGATES[rounding](ops, e, ops.sign(upstream))
