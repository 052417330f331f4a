"""Functions of one element that a model writes by hand, as the records that they are.

A tree of elementwise ops that begins and ends with one tensor and that nobody else looks into is a function of one
element. Where it has the values of a record's, ``relu6(x + 3) / 6`` those of the hard sigmoid, it becomes that record:
one function gets one verdict and one rounding, however it is written. One with a comparison in it, which no grid holds,
is a clamp, a leaky ReLU or a table of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.graph.computed_masks import makes_mask
from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.folding import reader_counts
from mpq_plugins.graph.logic import WHOLE, is_logic
from mpq_plugins.graph.masks import without_unread
from mpq_plugins.graph.node import CONSTANT, UNKNOWN, Array, Graph, Node
from mpq_plugins.graph.off_grids import far_apart
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.graph.ops.piecewise import PIECEWISE
from mpq_plugins.graph.runtimes import runtime_of
from mpq_plugins.graph.trees import computed, elementwise, steps_of, trees
from mpq_plugins.hardware.target import Target
from mpq_plugins.registry import once_known

PROBES: Array = np.concatenate([np.linspace(-12.0, 12.0, 385), 2.0 ** np.arange(4, 21), -(2.0 ** np.arange(4, 21))])
"""Where functions are compared: closely where they bend, and far out, where a clamp may end one of them."""
FEW: Array = np.array([-7.0, -2.9, -1.3, -0.4, 0.3, 1.1, 2.8, 7.0])
"""Where they are compared first: most are told apart by these."""
_HALF: Array = np.concatenate([2.0 ** np.arange(-40, -10), np.linspace(0.0, 16.0, 2**14 + 1), 2.0 ** np.arange(5, 41)])
CLOSE: Array = np.concatenate([-_HALF, _HALF])
"""Where a function that jumps is looked at, since a jump may be anywhere."""
TOLERANCE = 1e-5
"""How far two functions of one name are apart, because a text has 0.16666667 for 1 / 6 or 0.7979 for sqrt(2 / pi)."""
WITH_ATTRS: dict[str, tuple[dict[str, Any], ...]] = {"gelu": ({"approximate": False}, {"approximate": True})}
"""What the attrs of a record may be, where it has any; others cannot be recognized."""


def recognized(graph: Graph, target: Target | None) -> Graph:
    """The graph with each function that is written in several ops as one node, under the name of its last op.

    target: whose kernels there are; a function that it has none for is left as it is written.
    """
    order, counts = {node.name: index for index, node in enumerate(graph.nodes)}, reader_counts(graph)
    nodes = {node.name: node for node in graph.nodes}
    for name in reversed(order):
        if name not in nodes or makes_mask(nodes[name]) or not elementwise(nodes, nodes[name]):
            continue
        found = None
        for source, inside in trees(nodes, nodes[name], counts, order):
            tree = [nodes[other] for other in inside]
            node = _as_record(tree, source, target) if len(inside) > 1 else None
            if node is None and any(map(is_logic, tree)) and _on_grids(graph, nodes, tree[-1], source):
                node = _by_values(tree, source, target)
            found = found if node is None else (node, inside)
        if found is not None:
            node, inside = found
            counts.subtract(read for gone in inside for read in nodes[gone].inputs)
            counts.update(node.inputs)
            for gone in inside[:-1]:
                del nodes[gone]
            nodes[name] = node
    return without_unread(replace(graph, nodes=tuple(nodes.values())), graph)


def _as_record(tree: Sequence[Node], source: str, target: Target | None) -> Node | None:
    found, near = _functions()
    few = computed(tree, source, FEW)
    likely = np.flatnonzero(np.all(np.abs(near - few) <= TOLERANCE * (1 + np.abs(near)), axis=1))
    if not len(likely):
        return None
    values = computed(tree, source, PROBES)
    for word, attrs, wanted in (found[index] for index in likely):
        if _runs(target, word) and np.allclose(values, wanted, rtol=TOLERANCE, atol=TOLERANCE):
            return _made(tree, source, word, attrs)
    return None


def _runs(target: Target | None, word: str) -> bool:
    return target is None or target.runs(all_ops()[word].target_word) or word in runtime_of(target).compositions


def _made(
    tree: Sequence[Node],
    source: str,
    word: str,
    attrs: Mapping[str, Any],
    bounds: tuple[float | None, float | None] = (None, None),
) -> Node:
    """The last node of a tree as all of it. bounds: of a clamp."""
    last = tree[-1]
    gone = [other for node in tree for other in (node.name, *node.attrs.get("fused", ())) if other != last.name]
    attrs = {**attrs, "fused": tuple(gone)}
    return Node(last.name, word, (source,), last.shape, low=bounds[0], high=bounds[1], attrs=attrs)


def _on_grids(graph: Graph, nodes: Mapping[str, Node], root: Node, source: str) -> bool:
    """Whether a tree begins with numbers of a grid, and truth values that it ends with are taken for zeros and ones."""
    begins = nodes[source]
    whole = begins.attrs.get("reason") == WHOLE or "float" not in begins.attrs.get("dtype", "float")
    if whole or begins.op == CONSTANT:
        return False
    if root.attrs.get("reason") != WHOLE:
        return True
    readers = [node for node in nodes.values() if root.name in node.inputs]
    return root.name not in graph.outputs and all(node.op != UNKNOWN for node in readers)


def _by_values(tree: Sequence[Node], source: str, target: Target | None) -> Node | None:
    """A function with comparisons as a clamp or a leaky ReLU, whose numbers its values tell, or as a table of its own.

    None where the target has no tables, and where it gives numbers that no grid holds beside the others.
    """
    if far_apart(np.append(0.0, computed(tree, source, FEW))):
        return None
    values = computed(tree, source, CLOSE)
    far = CLOSE.max()
    low, high = float(values.min()), float(values.max())
    if np.array_equal(values, np.clip(CLOSE, low, high)):
        return _made(tree, source, "clamp", {}, (None if low == -far else low, None if high == far else high))
    slope = float(values[CLOSE.argmin()] / -far)
    if np.allclose(values, np.where(CLOSE > 0, CLOSE, slope * CLOSE), TOLERANCE, 0) and _runs(target, "leaky_relu"):
        return _made(tree, source, "leaky_relu", {"slope": slope})
    if target is not None and (not target.runs(PIECEWISE) or PIECEWISE in runtime_of(target).lacks):
        return None
    return _made(tree, source, PIECEWISE, {"steps": steps_of(tree, source)})


@once_known
def _functions() -> tuple[list[tuple[str, dict[str, Any], Array]], Array]:
    """Word, attrs and values at the probes of all functions that can be recognized; and at the few, [function, few]."""
    found, near = [], []
    for word, op in all_ops().items():
        if not op.table or word == AFFINE:
            continue
        for attrs in WITH_ATTRS.get(word, () if op.attrs else ({},)):
            node = Node(word, word, ("x",), attrs=attrs)
            found.append((word, attrs, computed([node], "x", PROBES)))
            near.append(computed([node], "x", FEW))
    return found, np.stack(near)
