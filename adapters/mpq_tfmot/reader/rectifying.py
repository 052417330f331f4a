"""PReLU, whose slopes are variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpq_plugins.graph.composing import Composing
from mpq_plugins.graph.moving import Part, size_of
from mpq_plugins.graph.node import Shape
from mpq_tfmot.reader.call import array_of


def _prelu(made: Composing, parts: list[Part], layer: Any, shape: Shape) -> Part | None:
    """Slopes of one number, by channel, or of every element, which are those of a long row."""
    (x,) = parts
    alpha = np.broadcast_to(array_of(layer.alpha), [size_of(x, axis) for axis in range(1, len(x.shape))])
    slopes = alpha.reshape(-1, alpha.shape[-1])
    if np.array_equal(slopes, np.broadcast_to(slopes[0], slopes.shape)):
        return made.prelu(x, slopes[0])
    flat = made.prelu(made.reshape(x, (x.shape[0], slopes.size)), slopes.ravel())
    return made.reshape(flat, x.shape)


LAYERS: Mapping[str, Any] = {"PReLU": _prelu}
