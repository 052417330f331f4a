"""Elements of an activation where a constant condition holds, and of a constant elsewhere, as arithmetic.

It is a product with ones and zeros, and a sum; what hides elements from a softmax is a sum alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mpq_plugins.graph.constants import ADD, MUL
from mpq_plugins.graph.integer_softmax import HIDES
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import CONSTANT, Batch, Node


def chosen(name: str, x: Part, kept: ArrayLike, other: ArrayLike) -> list[Node]:
    """The nodes of ``where(kept, x, other)``; none where the condition differs from sample to sample, or has more axes.

    >>> x = Part("x", (Batch(), 3))
    >>> [node.op for node in chosen("y", x, [True, False, True], 0.0)]
    ['constant', 'mul']
    >>> [node.op for node in chosen("y", x, [True, False, True], -np.inf)]
    ['constant', 'add']
    """
    condition = np.asarray(kept, bool)
    values = np.broadcast_to(np.asarray(other, np.float64), np.broadcast_shapes(condition.shape, np.shape(other)))
    condition = np.broadcast_to(condition, values.shape)
    rank = len(x.shape)
    if condition.ndim > rank or (condition.ndim == rank and len(condition) != 1):
        return []
    if any(size not in (1, own) for size, own in zip(condition.shape[::-1], x.shape[::-1], strict=False)):
        return []
    wide = (1,) * (rank - condition.ndim) + condition.shape
    offset = np.where(condition, 0.0, values).reshape(wide)
    made: list[Node] = []
    source = x.name
    if not np.all(values[~condition] <= HIDES):
        made.append(_constant(f"{name}.kept", condition.reshape(wide)))
        made.append(Node(f"{name}.product", MUL, (source, made[0].name), x.shape))
        source = made[-1].name
        if not np.any(offset):
            return [made[0], Node(name, MUL, made[1].inputs, x.shape)]
    made.append(_constant(f"{name}.offset", offset))
    return [*made, Node(name, ADD, (source, made[-1].name), x.shape)]


def _constant(name: str, value: Any) -> Node:
    return Node(name, CONSTANT, (), (Batch(), *value.shape[1:]), attrs={"value": np.asarray(value, np.float32)})
