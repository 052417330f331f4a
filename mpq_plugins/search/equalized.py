"""Cross-layer equalization of a graph; mpq_plugins.search.equalization says by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.node import Graph, Node
from mpq_plugins.graph.ops import is_op, op_of
from mpq_plugins.graph.runner import Runner
from mpq_plugins.search import equalization
from mpq_plugins.search.chunk import Chunk
from mpq_plugins.search.columns import output_columns
from mpq_plugins.search.equalization import Link

Array = NDArray[np.float64]


def equalized(graph: Graph, runner: Runner, chunks: Sequence[Chunk]) -> Graph:
    """The graph with its linked layers equalized: the same function, factors powers of two.

    chunks: calibration data, tensors of the runner's framework.
    """
    links = find_links(graph)
    layers = {node.name: node for node in graph.layers}
    linked = {name for link in links for name in (link.first, link.second)}
    outputs = {name: _ranges(layers[name], output=True) for name in linked}
    inputs = {name: _ranges(layers[name], output=False) for name in linked}
    paired = {name: _paired(layers[name]) for name in linked}
    # a channel that never fires has a peak of zero, and its bias must not grow past all bounds
    seen = _peaks(graph, runner, chunks, links)
    peaks = {name: np.maximum(peak, np.abs(layers[name].biases)) for name, peak in seen.items()}
    exponents = equalization.equalize(links, outputs, inputs, peaks, paired)
    for link in links:
        factor = np.ldexp(1.0, exponents[link.first])
        first = layers[link.first]
        bias = None if first.bias is None else first.bias / factor
        layers[link.first] = replace(first, weight=_scaled(first, 1 / factor, True), bias=bias)
        layers[link.second] = replace(layers[link.second], weight=_scaled(layers[link.second], factor, False))
    return graph.with_nodes(layers.values())


def find_links(graph: Graph) -> list[Link]:
    """Pairs of layers of which the second alone reads the first, through a ReLU or nothing."""
    links = []
    for node in graph.layers:
        if not _linkable(graph, node) or node.low not in (None, 0.0):
            continue
        at, high = node, node.high
        while len(graph.readers(at.name)) == 1 and at.name not in graph.outputs:
            at = graph.readers(at.name)[0]
            if not is_op(at) or not op_of(at).passes_scales or at.op == "clamp":
                break
        if at is not node and at.weighted and _linkable(graph, at):
            links.append(Link(node.name, at.name, high))
    return links


def _linkable(graph: Graph, node: Node) -> bool:
    """Whether channels of the layer can be scaled: a convolution or linear that is called once, full or depthwise."""
    if node.op.startswith("conv_transpose") or sum(n.weight_site == node.weight_site for n in graph.layers) > 1:
        return False
    return node.op == "linear" or node.attrs["groups"] == 1 or _paired(node)


def _paired(node: Node) -> bool:
    """Whether input and output channels are the same ones."""
    assert node.weight is not None
    return node.op != "linear" and node.attrs["groups"] == len(node.weight) and node.weight.shape[1] == 1


def _axis(node: Node, output: bool) -> int:
    return 0 if output or _paired(node) else 1


def _ranges(node: Node, output: bool) -> Array:
    assert node.weight is not None
    axis = _axis(node, output)
    others = tuple(d for d in range(node.weight.ndim) if d != axis)
    return np.asarray(np.abs(node.weight).max(axis=others), np.float64)


def _scaled(node: Node, factor: Array, output: bool) -> Array:
    assert node.weight is not None
    shape = [1] * node.weight.ndim
    shape[_axis(node, output)] = -1
    return np.asarray(node.weight * factor.reshape(shape))


def _peaks(graph: Graph, runner: Runner, chunks: Sequence[Chunk], links: Sequence[Link]) -> dict[str, Array]:
    """The largest magnitude of each channel of the activations between linked layers, before an upper bound."""
    model, wanted = FloatModel(graph, runner), {link.first for link in links}
    peaks: dict[str, Array] = {}

    def step(node: Node, inputs: Sequence[Any]) -> Any:
        value = model.unclamped(node, inputs)
        if node.name in wanted:
            rows = output_columns(node, runner.numpy(value), graph.layout).astype(np.float64)
            peak = np.abs(rows if node.low is None else np.maximum(rows, node.low)).max(axis=1)
            peaks[node.name] = np.maximum(peaks[node.name], peak) if node.name in peaks else peak
        return model.clamped(node, value)

    for chunk in chunks:
        run_nodes(graph, chunk, step, graph.outputs)
    return peaks
