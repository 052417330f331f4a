"""tf.where by a constant condition, between a tensor and a constant: a product with zeros and ones, and a sum."""

from __future__ import annotations

import numpy as np

from mpq_plugins.graph.constants import ADD, MUL
from mpq_plugins.graph.integer_softmax import HIDES
from mpq_plugins.graph.node import Node
from mpq_tfmot.reader.call import Call
from mpq_tfmot.reader.own_tensors import constant_node
from mpq_tfmot.reader.record import is_symbol


def where(call: Call) -> list[Node]:
    """The nodes of a call; none of another. What hides elements from a softmax is a sum alone."""
    given = [*call.node.call_args, *(call.node.call_kwargs[key] for key in ("x", "y") if key in call.node.call_kwargs)]
    if len(given) != 3 or is_symbol(given[0]) or sum(map(is_symbol, given)) != 1:
        return []
    kept = np.asarray(given[0]).astype(bool)
    other = given[2]
    if is_symbol(other):
        other, kept = given[1], ~kept
    offset, (x,), rank = np.where(kept, 0.0, np.asarray(other)), call.inputs, len(call.shape) + 1
    arrays = [np.asarray(array, np.float32)[(None,) * max(0, rank - array.ndim)] for array in (kept, offset)]
    if call.whole() != call.whole(call.in_shapes[0]) or any(len(array) != 1 or array.ndim != rank for array in arrays):
        return []
    made: list[Node] = []
    if np.any(offset > HIDES) and not np.all(offset[~kept] <= HIDES if offset.shape == kept.shape else False):
        made.append(constant_node(f"{call.name}.kept", arrays[0]))
        made.append(Node(f"{call.name}.product", MUL, (x, made[0].name), call.whole()))
        x = made[-1].name
    if not np.any(offset):
        return [*made[:-1], Node(call.name, MUL, made[-1].inputs, call.whole())]
    made.append(constant_node(f"{call.name}.offset", arrays[1]))
    return [*made, Node(call.name, ADD, (x, made[-1].name), call.whole())]
