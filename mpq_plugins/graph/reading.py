"""What every reader does with the nodes that it found: name functions, fold constants and norms, settle float parts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mpq_plugins.errors import ModelError, NonFiniteValues
from mpq_plugins.graph.constants import written_out
from mpq_plugins.graph.fitted import with_compositions, without_kernels
from mpq_plugins.graph.float_parts import followed_by_weights, kept_names, settle_float_parts
from mpq_plugins.graph.folding import fold_batch_norms
from mpq_plugins.graph.fusing import fuse_clamps
from mpq_plugins.graph.node import INPUT, RAW, Graph
from mpq_plugins.graph.recognizing import recognized
from mpq_plugins.graph.refusals import Refuses, refusal, refuses_nothing
from mpq_plugins.graph.scaling import channels_as_layers, fold_into_layers_before, fold_into_layers_behind
from mpq_plugins.targets import Target


def settled(
    graph: Graph,
    keep_float: Iterable[str] = (),
    *,
    fold: bool = True,
    target: Target | None = None,
    refuses: Refuses = refuses_nothing,
) -> Graph:
    """The graph that everything else works on. fold: as of ``fold_batch_norms``' into_layers.

    target: what the graph is read for, which may lack a kernel or have several for one op; None knows every op.
    refuses: what the target has against a graph.
    Raises as settle_float_parts does, UnsupportedOp with the names of all ops that are not computed in integers or
    that the target refuses, and NonFiniteValues for a weight or bias that holds NaN or infinity.
    """
    graph = fold_into_layers_before(recognized(written_out(graph), target))
    graph = fold_batch_norms(graph, into_layers=fold)
    graph = fold_into_layers_behind(graph)
    graph = graph if target is None else without_kernels(graph, target)
    graph = _checked(graph, tuple(keep_float), target, refuses)
    for node in graph.nodes:
        for array in (node.weight, node.bias):
            if array is not None and not np.all(np.isfinite(array)):
                bad = int(array.size - np.count_nonzero(np.isfinite(array)))
                raise NonFiniteValues(f"{node.name}: {bad} of {array.size} weights are NaN or infinite")
    return graph


def _checked(graph: Graph, keep_float: tuple[str, ...], target: Target | None, refuses: Refuses) -> Graph:
    """The settled graph, if nothing is refused.

    What the target refuses on its grids is tried in float, as the user would, until nothing new is refused.
    """
    followed = followed_by_weights(graph, kept_names(graph, keep_float))
    reasons, stuck = dict(followed), dict[str, str]()
    while True:
        try:
            made = channels_as_layers(settle_float_parts(graph, (*keep_float, *reasons)))
            made = fuse_clamps(made if target is None else with_compositions(made, target))
        except ModelError:
            if not reasons:
                raise
            break  # nothing would be left on grids
        against = dict(refuses(made))
        on_grids = {n: why for n, why in against.items() if made[n].op not in (*RAW, INPUT) and n not in reasons}
        stuck = {n: why for n, why in against.items() if n not in on_grids}
        if not on_grids:
            break
        reasons |= on_grids
    if reasons or stuck:
        helped = [name for name in reasons if name not in stuck]
        raise refusal(graph, reasons, stuck, kept_names(graph, helped), followed)
    return made
