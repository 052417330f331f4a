"""What every reader does with the nodes that it found: fold norms, settle float parts, fuse clamps, check values."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mpq_plugins.errors import ModelError, NonFiniteValues
from mpq_plugins.graph.float_parts import followed_by_weights, kept_names, settle_float_parts
from mpq_plugins.graph.folding import fold_batch_norms
from mpq_plugins.graph.fusing import fuse_clamps
from mpq_plugins.graph.node import FLOAT, INPUT, Graph
from mpq_plugins.graph.refusals import Refuses, refusal, refuses_nothing


def settled(
    graph: Graph, keep_float: Iterable[str] = (), *, fold: bool = True, refuses: Refuses = refuses_nothing
) -> Graph:
    """The graph that everything else works on. fold: as of ``fold_batch_norms``' into_layers.

    refuses: what the target has against a graph.
    Raises as settle_float_parts does, UnsupportedOp with the names of all ops that are not computed in integers or
    that the target refuses, and NonFiniteValues for a weight or bias that holds NaN or infinity.
    """
    graph = _checked(fold_batch_norms(graph, into_layers=fold), tuple(keep_float), refuses)
    for node in graph.nodes:
        for array in (node.weight, node.bias):
            if array is not None and not np.all(np.isfinite(array)):
                bad = int(array.size - np.count_nonzero(np.isfinite(array)))
                raise NonFiniteValues(f"{node.name}: {bad} of {array.size} weights are NaN or infinite")
    return graph


def _checked(graph: Graph, keep_float: tuple[str, ...], refuses: Refuses) -> Graph:
    """The settled graph, if nothing is refused.

    What the target refuses on its grids is tried in float, as the user would, until nothing new is refused.
    """
    followed = followed_by_weights(graph, kept_names(graph, keep_float))
    reasons, stuck = dict(followed), dict[str, str]()
    while True:
        try:
            made = fuse_clamps(settle_float_parts(graph, (*keep_float, *reasons)))
        except ModelError:
            if not reasons:
                raise
            break  # nothing would be left on grids
        against = dict(refuses(made))
        on_grids = {n: why for n, why in against.items() if made[n].op not in (FLOAT, INPUT) and n not in reasons}
        stuck = {n: why for n, why in against.items() if n not in on_grids}
        if not on_grids:
            break
        reasons |= on_grids
    if reasons or stuck:
        helped = [name for name in reasons if name not in stuck]
        raise refusal(graph, reasons, stuck, kept_names(graph, helped), followed)
    return made
