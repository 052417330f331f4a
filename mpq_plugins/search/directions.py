"""Where gradients start at an output of a graph: the same direction in every framework."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.ops import is_op, op_of
from mpq_plugins.sensitivity.fisher import FisherDirections

Array = NDArray[np.float64]


def direction_at(
    graph: Graph,
    name: str,
    directions: FisherDirections,
    value: NDArray[Any],
    index: int,
    turn: int,
    first: int,
    samples: int,
) -> Array:
    """The gradient to start from at the output of a node; images go with their channels in front, in every layout.

    value: of the node. index, turn, first, samples: as of ``FisherDirections.draw``.
    """
    node = graph[name]
    images = value.ndim == 4 or (value.ndim == 3 and (not is_op(node) or op_of(node).images))
    if graph.layout == "NHWC" and images:
        drawn = directions.draw(np.moveaxis(value, -1, 1), index, turn, first, samples)
        return np.moveaxis(drawn, 1, -1)
    return directions.draw(value, index, turn, first, samples)
