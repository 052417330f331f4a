"""Numbers that no grid holds beside the others of a tensor: what hides elements from all but a softmax.

A sum with -1e9, or a concatenation, has a place in float alone, and so has what reads it, up to the op behind which
nothing of it is left: a maximum, a clamp, a function that is flat there. Such nodes stay float where the target has
float arithmetic, and are refused elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpq_plugins.graph.constants import ADD, AFFINE
from mpq_plugins.graph.node import CONSTANT, RAW, UNKNOWN, Array, Graph, Node, undescribed
from mpq_plugins.graph.ops import op_of

APART = 1e4
"""How far apart constants lie of which no grid holds both beside an activation."""
HIDES_ALL = 1e7
"""From where on a number that is added leaves less than a step of one, in float32, of what it is added to."""
PADDED = "it pads with numbers that no grid holds beside the others"
MOVES = ("reshape", "transpose", "slice", "concat", "pad")
KEEP = ("affine", "leaky_relu", "abs", "log_sigmoid", "softsign", "power")
"""Functions of one element that large numbers come out of as such, or that are not flat."""


def with_large_numbers_off_grids(graph: Graph, large: set[str]) -> Graph:
    """The graph with the sums that hide elements as float parts, and what reads such numbers up to what ends them.

    large: the nodes known to give such numbers.
    """
    constants = _constants(graph)
    adding = {node.name for node in graph.nodes if _adds_too_much(graph, node, constants)}
    padded = {node.name for node in graph.nodes if node.attrs.get("reason") == PADDED or _pads_far(node)}
    large, reading = large | adding | padded, set[str]()
    for node in graph.nodes:
        read = node.inputs[:1] if node.op == "softmax" else node.inputs  # its mask hides what the scores leave
        if not large.isdisjoint(read) and node.op not in (*RAW, UNKNOWN) and not node.weighted:
            reading.add(node.name)
            if not _ends(node):
                large.add(node.name)
    reasons = {
        **dict.fromkeys(reading, "it reads numbers that no grid holds beside the others"),
        **dict.fromkeys(adding, "it hides elements by numbers that no grid holds beside the others"),
    }
    return graph.mapped(lambda node: undescribed(node, reasons[node.name]) if node.name in reasons else node)


def far_apart(values: Array) -> bool:
    """Whether some numbers hide what the others leave as it is, wherever they are added.

    >>> far_apart(np.array([0.0, -1e9])), far_apart(np.array([0.0, np.inf])), far_apart(np.array([2e4, 2.1e4]))
    (True, True, False)
    """
    values = np.asarray(values, np.float64)
    return bool(values.size) and bool(values.max() - values.min() >= APART)


def _constants(graph: Graph) -> dict[str, Array]:
    """Bounds of the values of what depends on no argument, by node: constants, behind moves and factors."""
    found: dict[str, Array] = {}
    for node in graph.nodes:
        sources = [found.get(name) for name in node.inputs]
        if node.op == CONSTANT:
            value = np.asarray(node.attrs["value"], np.float64)
            if value.size:
                found[node.name] = np.array([value.min(), value.max()])
        elif node.op in (*MOVES, AFFINE) and sources and node.name not in graph.computed:
            known = [bounds for bounds in sources if bounds is not None]
            if len(known) == len(sources):
                values = np.concatenate([*known, [0.0]] if node.op == "pad" else known)
                if node.op == AFFINE:
                    scale, offset = (np.atleast_1d(node.attrs[key]) for key in ("scale", "offset"))
                    values = values[:, None] * scale + offset
                found[node.name] = np.array([values.min(), values.max()])
    return found


def _adds_too_much(graph: Graph, node: Node, constants: Mapping[str, Array]) -> bool:
    """Whether a node that depends on an argument puts large numbers beside those of an activation, or over them."""
    if node.name not in graph.computed:
        return False
    bounds = [constants[name] for name in node.inputs if name in constants]
    if node.op == AFFINE:
        hides = graph[node.inputs[0]].op == UNKNOWN and np.any(np.abs(node.attrs["scale"]) >= APART)
        along = "axis" in node.attrs and far_apart(node.attrs["offset"])
        return bool(hides or along or np.any(np.abs(node.attrs["offset"]) >= HIDES_ALL))
    if node.low is not None and node.low == node.high:
        return bool(abs(node.low) >= APART)  # a number for every element
    if node.op == ADD:
        return any(far_apart(values) or np.all(np.abs(values) >= HIDES_ALL) for values in bounds)
    return node.op == "concat" and any(far_apart(np.append(0.0, values)) for values in bounds)


def _pads_far(node: Node) -> bool:
    return node.attrs.get("function") == "pad" and far_apart(np.append(0.0, node.attrs["arguments"]["value"]))


def _ends(node: Node) -> bool:
    """Whether nothing is left of large numbers behind a node."""
    bounded = node.op in ("max_pool", "clamp") or node.low is not None or node.high is not None
    return bounded or (op_of(node).table and node.op not in KEEP)
