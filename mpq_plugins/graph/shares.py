"""What stays float, in numbers: multiply-accumulates for one sample, and why each part is float."""

from __future__ import annotations

import math

from mpq_plugins.graph.node import FLOAT, Batch, Graph, Layout, Node

KEPT, BEHIND, BETWEEN = "kept in float", "it reads float ops, and no weight follows", "it lies between float ops"
"""Why a node is float that has a kernel."""


def positions(node: Node, source: Node, layout: Layout) -> int:
    """How often one sample multiplies with each element of the node's weight; source: the node that it reads."""
    if node.op == "linear":
        return math.prod(node.sample_shape[:-1])
    shape = (source if node.op.startswith("conv_transpose") else node).shape
    batch = [size.times for size in shape if isinstance(size, Batch)]
    plain = [size for size in (shape[2:] if layout == "NCHW" else shape[1:-1]) if not isinstance(size, Batch)]
    return math.prod(batch) * math.prod(plain)


def macs_of(node: Node, graph: Graph) -> int:
    """Multiply-accumulates of a node for one sample: of its weight, or what the reader counted (attrs: macs).

    Of a node without a record or a count, by what it holds (attrs "weights": elements, each of which counts at every
    position of the output, unless a function is known, which multiplies none with another).
    """
    was = node.attrs.get("was", node)
    if was.weight is not None:
        return int(was.weight.size) * positions(was, graph[node.inputs[0]], graph.layout)
    if "macs" in node.attrs:
        return int(node.attrs["macs"])
    if "matmul" in (was.op, node.attrs.get("function")) and node.inputs:
        inner = graph[node.inputs[0]].shape[-1:]
        return math.prod(node.sample_shape) * math.prod(n for n in inner if not isinstance(n, Batch))
    if "function" in node.attrs:
        return 0
    along = node.shape[2:] if graph.layout == "NCHW" and len(node.shape) > 2 else node.shape[1:-1]
    return int(node.attrs.get("weights", 0)) * math.prod(n for n in along if not isinstance(n, Batch))


def float_weights(graph: Graph) -> dict[str, int]:
    """Elements of the weights that float nodes hold (attrs: weights, or what the node was), by node."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == FLOAT:
            was = node.attrs.get("was")
            own = was.weight.size if was is not None and was.weight is not None else 0
            found[node.name] = int(node.attrs.get("weights", own))
    return {name: elements for name, elements in found.items() if elements}


def float_macs(graph: Graph) -> dict[str, int]:
    """Multiply-accumulates of the float nodes for one sample, by node; those without any are left out."""
    found = {node.name: macs_of(node, graph) for node in graph.nodes if node.op == FLOAT}
    return {name: macs for name, macs in found.items() if macs}


def float_reasons(graph: Graph) -> dict[str, str]:
    """Why each float node is float, in a sentence."""
    return {node.name: str(node.attrs.get("reason", KEPT)) for node in graph.nodes if node.op == FLOAT}
