"""PReLU, whose slopes are variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpq_plugins.graph.composing import Composing
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Shape
from mpq_tfmot.reader.call import array_of


def _prelu(made: Composing, parts: list[Part], layer: Any, shape: Shape) -> Part | None:
    """Slopes of one number, or by channel; of every element they have no form here."""
    alpha = array_of(layer.alpha)
    slopes = alpha.reshape(-1, alpha.shape[-1])
    return made.prelu(parts[0], slopes[0]) if np.array_equal(slopes, np.broadcast_to(slopes[0], slopes.shape)) else None


LAYERS: Mapping[str, Any] = {"PReLU": _prelu}
