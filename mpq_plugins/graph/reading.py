"""What every reader does with the nodes that it found: name functions, fold constants and norms, settle float parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.errors import ModelError, NonFiniteValues
from mpq_plugins.graph.choosing import by_products
from mpq_plugins.graph.constants import written_out
from mpq_plugins.graph.describing import as_records
from mpq_plugins.graph.fitted import with_compositions, without_kernels
from mpq_plugins.graph.float_parts import kept_names, settle_float_parts, unknown_before_weights
from mpq_plugins.graph.folding import fold_batch_norms
from mpq_plugins.graph.fusing import fuse_clamps
from mpq_plugins.graph.joining import joined_by_sums
from mpq_plugins.graph.lonely_norms import single
from mpq_plugins.graph.lookups import with_lookups
from mpq_plugins.graph.node import ARGUMENT, INPUT, RAW, Graph, Node
from mpq_plugins.graph.recognizing import recognized
from mpq_plugins.graph.refusals import Refuses, refusal, refuses_nothing
from mpq_plugins.graph.scaling import channels_as_layers, fold_into_layers_before, fold_into_layers_behind
from mpq_plugins.graph.transposed_volumes import transposed_as_plain
from mpq_plugins.graph.volumes import volumes_as_images
from mpq_plugins.hardware.target import Target


def settled(
    graph: Graph,
    keep_float: Iterable[str] | str | None = (),
    *,
    fold: bool = True,
    target: Target | None = None,
    refuses: Refuses = refuses_nothing,
) -> Graph:
    """The graph that everything else works on. fold: as of ``fold_batch_norms``' into_layers.

    keep_float: names or patterns; a str is one of them, and None no one.
    target: what the graph is read for, which may lack a kernel or have several for one op; None knows every op, and
        has float arithmetic.
    refuses: what the target has against a graph.
    Raises as settle_float_parts does, UnsupportedOp with the names of all ops that are not computed in integers, on a
    target without float arithmetic, or that the target has nothing for at all, and NonFiniteValues for a weight or bias
    that holds NaN or infinity.
    """
    graph = recognized(as_records(written_out(joined_by_sums(graph)), target), target)
    if target is not None and not target.float_arithmetic:
        graph = recognized(by_products(graph), target)
    graph = fold_into_layers_before(graph)
    graph = fold_batch_norms(graph, into_layers=fold)
    graph = fold_into_layers_behind(graph)
    graph = with_lookups(graph if target is None else without_kernels(graph, target), target)
    alone = isinstance(keep_float, str) or not isinstance(keep_float or (), Iterable)
    kept: tuple[Any, ...] = (keep_float,) if alone else tuple(keep_float or ())
    graph = _checked(graph, kept, target, refuses).mapped(_held_in_single)
    for node in graph.nodes:
        for array in (node.weight, node.bias):
            if array is not None and not np.all(np.isfinite(array)):
                bad = int(array.size - np.count_nonzero(np.isfinite(array)))
                raise NonFiniteValues(f"{node.name}: {bad} of {array.size} weights are NaN or infinite")
    return graph


def _checked(graph: Graph, keep_float: tuple[str, ...], target: Target | None, refuses: Refuses) -> Graph:
    """The settled graph, if nothing is refused.

    What the target refuses on its grids is tried in float, as the user would, until nothing new is refused; it stays
    so where the target has float arithmetic.
    """
    anywhere = target is None or target.float_arithmetic
    followed = {} if anywhere else unknown_before_weights(graph, kept_names(graph, keep_float))
    reasons, stuck = dict(followed), dict[str, str]()
    while True:
        try:
            made = settle_float_parts(_noted(graph, reasons), (*keep_float, *reasons), anywhere=anywhere)
            made = channels_as_layers(made)
            made = fuse_clamps(made if target is None else with_compositions(made, target))
            made = transposed_as_plain(made)
            made = volumes_as_images(made, alone=target is not None and target.runtime is None)
        except ModelError:
            if not reasons:
                raise
            break  # nothing would be left on grids
        against = dict(refuses(made))
        on_grids = {n: why for n, why in against.items() if made[n].op not in (*RAW, INPUT) and n not in reasons}
        stuck = {n: why for n, why in against.items() if n not in on_grids}
        if not on_grids:
            if anywhere and not stuck:
                return made
            break
        reasons |= on_grids
    if anywhere and stuck:
        unknown = unknown_before_weights(graph, kept_names(graph, keep_float))
        reasons = {n: why for n, why in (unknown | reasons).items() if n in stuck}
    if reasons or stuck:
        helped = [name for name in reasons if name not in stuck]
        raise refusal(graph, reasons, stuck, kept_names(graph, helped), followed)
    return made


def _held_in_single(node: Node) -> Node:
    """The node with its weight in float32, if that holds all its values."""
    if node.weight is None or node.weight.dtype == np.float32:
        return node
    held = single(node.weight)
    return replace(node, weight=held) if np.array_equal(held, node.weight) else node


def _noted(graph: Graph, reasons: Mapping[str, str]) -> Graph:
    """The graph with what a target has against its nodes as their reasons to be float."""
    return graph.mapped(lambda n: replace(n, attrs={"reason": reasons[n.name], **n.attrs}) if n.name in reasons else n)


def read_only(nodes: Sequence[Node], outputs: Iterable[str]) -> tuple[Node, ...]:
    """The nodes without those whose values nobody reads; arguments that are tensors stay."""
    read, kept = set(outputs), []
    for node in reversed(nodes):
        if node.name in read or (node.op == ARGUMENT and "dtype" in node.attrs):
            read.update(node.inputs)
            kept.append(node)
    return tuple(reversed(kept))
