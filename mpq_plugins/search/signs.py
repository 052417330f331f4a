"""Which of the tensors that enter the part on grids go below zero."""

from __future__ import annotations

from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.node import INPUT, Graph
from mpq_plugins.graph.runner import Runner
from mpq_plugins.search.chunk import Chunk


def signed_inputs(graph: Graph, runner: Runner, chunk: Chunk) -> dict[str, bool]:
    """By the site of each input, whether it takes negative values on these arguments of the model."""
    inputs = [node for node in graph.nodes if node.op == INPUT]
    found = run_nodes(graph, chunk, FloatModel(graph, runner).step, [node.name for node in inputs])
    return {node.site: bool((runner.numpy(found[node.name]) < 0).any()) for node in inputs}
