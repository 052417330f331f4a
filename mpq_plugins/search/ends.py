"""Where losses are taken: what a model returns, or of a softmax at its end what that reads."""

from __future__ import annotations

from mpq_plugins.graph.node import FLOAT, Graph

SOFTMAXES = ("softmax", "log_softmax", "logsoftmax")


def loss_ends(graph: Graph) -> tuple[str, ...]:
    """Names of the nodes, each once: returned ones first, then those that a softmax reads."""
    returned, read = [], []
    for name in graph.outputs:
        node = graph[name]
        if node.op == FLOAT and str(node.attrs["what"]).lower() in SOFTMAXES:
            read.append(node.inputs[0])
        else:
            returned.append(name)
    return tuple(dict.fromkeys([*returned, *read]))
