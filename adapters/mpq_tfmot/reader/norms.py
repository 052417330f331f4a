"""The statistics of batch norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpq_tfmot.reader.call import Call, array_of


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
