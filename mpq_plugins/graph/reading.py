"""What every reader does with the nodes that it found: name functions, fold constants and norms, settle float parts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.graph.constants import written_out
from mpq_plugins.graph.fitted import with_compositions, without_kernels
from mpq_plugins.graph.float_parts import settle_float_parts
from mpq_plugins.graph.folding import fold_batch_norms
from mpq_plugins.graph.fusing import fuse_clamps
from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.recognizing import recognized
from mpq_plugins.graph.scaling import channels_as_layers, fold_into_layers_before, fold_into_layers_behind
from mpq_plugins.targets import Target


def settled(graph: Graph, keep_float: Iterable[str] = (), *, fold: bool = True, target: Target | None = None) -> Graph:
    """The graph that everything else works on. fold: as of ``fold_batch_norms``' into_layers.

    target: what the graph is read for, which may lack a kernel or have several for one op; None knows every op.

    Raises as settle_float_parts does, and NonFiniteValues for a weight or bias that holds NaN or infinity.
    """
    graph = fold_into_layers_before(recognized(written_out(graph), target))
    graph = fold_batch_norms(graph, into_layers=fold)
    graph = fold_into_layers_behind(graph)
    graph = graph if target is None else without_kernels(graph, target)
    graph = channels_as_layers(settle_float_parts(graph, keep_float))
    graph = fuse_clamps(graph if target is None else with_compositions(graph, target))
    for node in graph.nodes:
        for array in (node.weight, node.bias):
            if array is not None and not np.all(np.isfinite(array)):
                bad = int(array.size - np.count_nonzero(np.isfinite(array)))
                raise NonFiniteValues(f"{node.name}: {bad} of {array.size} weights are NaN or infinite")
    return graph
