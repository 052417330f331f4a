"""Batch norms: their statistics, and those along another axis than the last."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.folded_norms import norm_attrs
from mpq_plugins.graph.node import Node
from mpq_tfmot.reader.call import Call, array_of


def along_another_axis(call: Call) -> list[Node]:
    """A batch norm along one axis that is not the last: that axis brought to the end and back; none of several."""
    layer, rank = call.layer, len(call.shape) + 1
    axes = [int(axis) % rank for axis in (layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis])]
    if len(axes) != 1 or axes[0] == 0:
        return []
    order = (*(axis for axis in range(rank) if axis != axes[0]), axes[0])
    back = tuple(order.index(axis) for axis in range(rank))
    shape = tuple(call.whole()[axis] for axis in order)
    spread = np.sqrt(array_of(layer.moving_variance) + float(layer.epsilon))
    scale = (array_of(layer.gamma) if layer.scale else 1.0) / spread
    offset = (array_of(layer.beta) if layer.center else 0.0) - array_of(layer.moving_mean) * scale
    turned, normed = f"{call.name}.turned", f"{call.name}.normed"
    attrs = {"scale": scale, "offset": offset, "axis": rank - 1}
    return [
        Node(turned, "transpose", call.inputs, shape, attrs={"order": order}),
        Node(normed, AFFINE, (turned,), shape, attrs=attrs),
        Node(call.name, "transpose", (normed,), call.whole(), attrs={"order": back}),
    ]


def statistics(call: Call) -> dict[str, Any] | str:
    """The attrs of a batch norm; why it has no integer form, where it has none."""
    layer = call.layer
    axis = list(layer.axis) if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if axis != [len(call.shape)] and axis != [-1]:
        return f"a batch norm along axis {axis}; only the last axis can be folded"
    gamma = array_of(layer.gamma) if layer.scale else None
    beta = array_of(layer.beta) if layer.center else None
    mean, variance = array_of(layer.moving_mean), array_of(layer.moving_variance)
    return norm_attrs(mean, variance, gamma, beta, layer.epsilon, axis=len(call.shape))
