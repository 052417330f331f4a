"""tf.where by a constant condition, between a tensor and a constant."""

from __future__ import annotations

import numpy as np

from mpq_plugins.graph.choosing import chosen
from mpq_plugins.graph.node import Node
from mpq_tfmot.reader.call import Call
from mpq_tfmot.reader.record import is_symbol


def where(call: Call) -> list[Node]:
    """The nodes of a call; none of another."""
    given = [*call.node.call_args, *(call.node.call_kwargs[key] for key in ("x", "y") if key in call.node.call_kwargs)]
    if len(given) != 3 or is_symbol(given[0]) or sum(map(is_symbol, given)) != 1:
        return []
    kept, other = np.asarray(given[0]).astype(bool), given[2]
    if is_symbol(other):
        kept, other = ~kept, given[1]
    (x,) = call.parts
    return chosen(call.name, x, kept, np.asarray(other)) if x.shape == call.whole() else []
