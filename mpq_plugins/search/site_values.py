"""The values of every activation site in the float model and in its simulation, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.search.chunk import Chunk

Values = NDArray[np.float64]


def site_values(graph: Graph, simulation: Simulation, chunks: Sequence[Chunk]) -> Iterator[tuple[str, Values, Values]]:
    """(site, values in the float model, values in the simulation) of every activation, chunk after chunk.

    graph: the float model, whose nodes are those of the simulation.
    """
    run = simulation.runner
    model = FloatModel(graph, run)
    owners = {node.site: node.name for node in graph.nodes if simulation.quantized.grid_of.get(node.name) == node.site}
    for chunk in chunks:
        floats = run_nodes(graph, chunk, model.step, owners.values())
        for site, value in simulation.sites(chunk).items():
            yield site, run.numpy(floats[owners[site]]).astype(np.float64), run.numpy(value).astype(np.float64)
