"""Where losses are taken: what a model returns, or of a softmax or an argmax at its end what that reads."""

from __future__ import annotations

from mpq_plugins.graph.node import FLOAT, Graph, Node

SOFTMAXES = ("softmax", "log_softmax", "logsoftmax")
PLACES = ("argmax", "argmin", "argsort", "one_hot")
"""Functions without a gradient: which element it is, and not what."""
BOTH = ("extreme", "kth", "top_k", "topk")
"""Functions that give elements, and their places."""


def loss_ends(graph: Graph) -> tuple[str, ...]:
    """Names of the nodes, each once: returned ones first, then those that a softmax or a place is made of."""
    returned: list[str] = []
    read: list[str] = []
    for name in graph.outputs:
        before = _before(graph, name)
        (returned if before == name else read).append(before)
    return tuple(dict.fromkeys([*returned, *read]))


def _before(graph: Graph, name: str) -> str:
    node = graph[name]
    function = node.attrs.get("function")
    softmax = node.op == FLOAT and str(node.attrs["what"]).lower() in SOFTMAXES
    through = softmax or (node.op == FLOAT and (function in PLACES or _gives_places(graph, node)))
    return _before(graph, node.inputs[0]) if through else name


def _gives_places(graph: Graph, node: Node) -> bool:
    """Whether it is the places of a function that gives both, or that whose elements nobody asks for."""
    if node.attrs.get("function") in BOTH:
        return True
    of = graph[node.inputs[0]] if node.inputs else node
    item = node.attrs.get("function") == "item" and of.attrs.get("function") in BOTH
    return bool(item and node.attrs["arguments"].get("index") == 1)
