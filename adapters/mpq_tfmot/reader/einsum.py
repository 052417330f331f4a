"""Einsums of an activation with a constant kernel that are a dense layer along the last axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpq_plugins.graph.node import Node
from mpq_tfmot.reader.call import Call, array_of


def einsum_dense(call: Call) -> list[Node]:
    """keras.layers.EinsumDense; none where its equation is no dense layer."""
    layer = call.layer
    return dense(
        call, str(layer.equation), array_of(layer.kernel), None if layer.bias is None else array_of(layer.bias)
    )


def dense(call: Call, equation: str, kernel: Any, bias: Any) -> list[Node]:
    """The nodes of ``abc,cde->abde`` and the like: what the activation ends with, the kernel begins with, and what is
    left of it the output ends with. None for another equation."""
    left, _, result = equation.replace(" ", "").partition("->")
    x, _, own = left.partition(",")
    x, result = x.replace("...", ""), result.replace("...", "")
    summed = next((n for n in range(len(own), 0, -1) if x.endswith(own[:n])), 0)
    kept = own[summed:]
    if not summed or not kept or result != x[: len(x) - summed] + kept or set(kept) & set(x):
        return []
    shape = call.in_shapes[0]
    wide, rows = math.prod(kernel.shape[:summed]), math.prod(kernel.shape[summed:])
    before = shape[: len(shape) - summed]
    if bias is not None and np.size(bias) != rows:
        return []
    made, source = list[Node](), call.inputs[0]
    if summed > 1:
        made.append(Node(f"{call.name}.flat", "reshape", (source,), call.whole((*before, wide))))
        source = made[-1].name
    weight = np.ascontiguousarray(kernel.reshape(wide, rows).T)
    own_bias = None if bias is None else np.ravel(bias)
    alone = len(kept) == 1
    name = call.name if alone else f"{call.name}.dense"
    made.append(Node(name, "linear", (source,), call.whole((*before, rows)), weight, own_bias))
    return made if alone else [*made, Node(call.name, "reshape", (name,), call.whole())]
