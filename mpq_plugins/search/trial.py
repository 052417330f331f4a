"""The float model with some of its tensors changed: what sensitivities by trial are measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.node import Graph, Node
from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.sites import GraphSites
from mpq_plugins.graph.weights import from_matrix, matrix
from mpq_plugins.rounding.moments.layer_moments import Array
from mpq_plugins.search.chunk import Chunk, samples_of
from mpq_plugins.search.ends import loss_ends
from mpq_plugins.search_input import PROBES, Change


class Trial:
    """Runs a graph on the chunks that hold the first PROBES samples.

    Changed weights are copies; the model's stay as they are.
    """

    def __init__(self, graph: Graph, sites: GraphSites, runner: Runner, chunks: Sequence[Chunk]) -> None:
        self._graph = graph
        self._runner = runner
        self._model = FloatModel(graph, runner)
        self._sites = set(sites.grid_of.values()) | {node.weight_site for node in graph.layers}
        self._chunks = _first(chunks, PROBES)

    def outputs(self, changes: Mapping[str, Change]) -> tuple[Array, ...]:
        """The model's float outputs (what a softmax at its end reads), chunks one after another, float64.

        changes: by site, what to make of a weight in matrix form [out, in], or of an activation.
        Raises ModelError for a site that the model does not have.
        """
        unknown = [name for name in changes if name not in self._sites]
        if unknown:
            raise ModelError(f"the model has no site {', '.join(unknown)}")
        changed = {node.name: _changed(node, changes) for node in self._graph.layers if node.weight_site in changes}
        fresh = FloatModel(self._graph, self._runner)

        def step(node: Node, inputs: Sequence[Any]) -> Any:
            new = changed.get(node.name)
            value = self._model.step(node, inputs) if new is None else fresh.step(new, inputs)
            change = changes.get(node.site)
            if change is None:
                return value
            made = np.asarray(change(self._runner.numpy(value).astype(np.float64)))
            return self._runner.tensor(made, self._runner.precision_of(value))

        ends = loss_ends(self._graph)
        parts = []
        for chunk in self._chunks:
            found = run_nodes(self._graph, chunk, step, ends)
            parts.append([self._runner.numpy(found[name]).astype(np.float64) for name in ends])
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _changed(node: Node, changes: Mapping[str, Change]) -> Node:
    rows = np.asarray(changes[node.weight_site](matrix(node).astype(np.float64)), dtype=np.float64)
    return replace(node, weight=from_matrix(node, rows))


def _first(chunks: Sequence[Chunk], samples: int) -> list[Chunk]:
    """The first chunks, whole, that hold so many samples."""
    found: list[Chunk] = []
    for chunk in chunks:
        found.append(chunk)
        samples -= samples_of(chunk)
        if samples <= 0:
            break
    return found
