"""Batch norms, and the layers that normalize with numbers of their own, as nodes of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpq_plugins.graph.node import BATCH_NORM, Node
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.call import Call, array_of
from mpq_tfmot.reader.functions import unknown


def normalized(call: Call) -> Node:
    """Rescaling and Normalization: a norm along the channels with numbers for statistics."""
    layer, channels = call.layer, call.shape[-1]
    if call.kind == "Rescaling":
        scale, offset = np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
    else:
        mean, variance = np.asarray(layer.mean, np.float64), np.asarray(layer.variance, np.float64)
        spread = np.maximum(np.sqrt(variance), float(keras.backend.epsilon()))
        scale, offset = (spread, mean) if layer.invert else (1 / spread, -mean / spread)
    along = {array.size for array in (scale, offset)}
    lengthwise = any(array.size > 1 and array.shape[-1:] != (channels,) for array in (scale, offset))
    if lengthwise or not along <= {1, channels}:
        reason = f"{call.kind} by more than one number for each channel has no integer kernel"
        return unknown(call.name, call.inputs, call.whole(), call.kind, reason)
    found = {
        "gamma": np.broadcast_to(scale.reshape(-1), (channels,)),
        "beta": np.broadcast_to(offset.reshape(-1), (channels,)),
        "mean": np.zeros(channels),
        "variance": np.ones(channels),
        "epsilon": 0.0,
        "axis": len(call.shape),
    }
    return Node(call.name, BATCH_NORM, call.inputs, call.whole(), attrs=found)


def statistics(call: Call) -> dict[str, Any] | str:
    """The attrs of a batch norm; why it has no integer form, where it has none."""
    layer, channels = call.layer, call.shape[-1]
    axis = list(layer.axis) if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if axis != [len(call.shape)] and axis != [-1]:
        return f"a batch norm along axis {axis}; only the last axis can be folded"
    return {
        "gamma": array_of(layer.gamma) if layer.scale else np.ones(channels),
        "beta": array_of(layer.beta) if layer.center else np.zeros(channels),
        "mean": array_of(layer.moving_mean),
        "variance": array_of(layer.moving_variance),
        "epsilon": float(layer.epsilon),
        "axis": len(call.shape),
    }
