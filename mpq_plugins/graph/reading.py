"""What every reader does with the nodes that it found: fold norms, settle float parts, fuse clamps, check values."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.graph.float_parts import settle_float_parts
from mpq_plugins.graph.folding import fold_batch_norms
from mpq_plugins.graph.fusing import fuse_clamps
from mpq_plugins.graph.node import Graph


def settled(graph: Graph, keep_float: Iterable[str] = (), *, fold: bool = True) -> Graph:
    """The graph that everything else works on. fold: as of ``fold_batch_norms``' into_layers.

    Raises as settle_float_parts does, and NonFiniteValues for a weight or bias that holds NaN or infinity.
    """
    graph = fuse_clamps(settle_float_parts(fold_batch_norms(graph, into_layers=fold), keep_float))
    for node in graph.nodes:
        for array in (node.weight, node.bias):
            if array is not None and not np.all(np.isfinite(array)):
                bad = int(array.size - np.count_nonzero(np.isfinite(array)))
                raise NonFiniteValues(f"{node.name}: {bad} of {array.size} weights are NaN or infinite")
    return graph
