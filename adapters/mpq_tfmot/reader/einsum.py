"""Einsums of Keras and TensorFlow with constant kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpq_plugins.graph import einsum as core
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.reducing import Reducing
from mpq_tfmot.reader.call import Call, array_of


def einsum_dense(call: Call) -> list[Node]:
    """keras.layers.EinsumDense; none where its equation has no form."""
    layer = call.layer
    bias = None if layer.bias is None else array_of(layer.bias)
    return einsum(call, str(layer.equation), (call.parts[0], array_of(layer.kernel)), bias)


def einsum(call: Call, equation: str, factors: tuple[Any, Any], bias: Any = None) -> list[Node]:
    """The nodes of an activation and a constant, in either order; none for another equation."""
    a, b = (f if isinstance(f, Part) else np.asarray(f, np.float64) for f in factors)
    return core.einsum(Reducing(call.name, "NHWC"), equation, a, b, bias) or []
