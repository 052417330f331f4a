"""Small graphs on grids, without a framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpq_plugins import Grid, plugins
from mpq_plugins.graph.node import ARGUMENT, Batch, Graph, Node, Shape
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.sites import take_sites


def argument(shape: Shape, name: str = "x", index: int = 0) -> list[Node]:
    """An argument of the model, and where it enters the part on grids."""
    whole = (Batch(), *shape)
    return [Node(name, ARGUMENT, (), whole, attrs={"index": index}), Node(f"{name}__input", "input", (name,), whole)]


def on_grids(nodes: Sequence[Node], grids: Mapping[str, Grid], outputs: Sequence[str] = ()) -> QuantizedGraph:
    """The graph of these nodes, of which the last one is the output; grids by site."""
    graph = Graph(tuple(nodes), tuple(outputs) or (nodes[-1].name,), "NCHW")
    return QuantizedGraph.of(graph, take_sites(graph), grids, plugins.target("onnxruntime"))
