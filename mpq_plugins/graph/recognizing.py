"""Functions of one element that a model writes by hand, as the records that they are.

A tree of elementwise ops that begins and ends with one tensor and that nobody else looks into is a function of one
element. Where it has the values of a record's, ``relu6(x + 3) / 6`` those of the hard sigmoid, it becomes that record:
one function gets one verdict and one rounding, however it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.folding import reader_counts
from mpq_plugins.graph.node import Array, Graph, Node
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.ops import all_ops, is_op, op_of
from mpq_plugins.graph.runtimes import runtime_of
from mpq_plugins.hardware.target import Target
from mpq_plugins.registry import once_known

PROBES: Array = np.concatenate([np.linspace(-12.0, 12.0, 385), 2.0 ** np.arange(4, 21), -(2.0 ** np.arange(4, 21))])
"""Where functions are compared: closely where they bend, and far out, where a clamp may end one of them."""
FEW: Array = np.array([-7.0, -2.9, -1.3, -0.4, 0.3, 1.1, 2.8, 7.0])
"""Where they are compared first: most are told apart by these."""
TOLERANCE = 1e-5
"""How far two functions of one name are apart, because a text has 0.16666667 for 1 / 6 or 0.7979 for sqrt(2 / pi)."""
LARGEST = 16
"""How many ops a function may be written in."""
WITH_ATTRS: dict[str, tuple[dict[str, Any], ...]] = {"gelu": ({"approximate": False}, {"approximate": True})}
"""What the attrs of a record may be, where it has any; others cannot be recognized."""


def recognized(graph: Graph, target: Target | None) -> Graph:
    """The graph with each function that is written in several ops as one node, under the name of its last op.

    target: whose kernels there are; a function that it has none for is left as it is written.
    """
    order, counts = {node.name: index for index, node in enumerate(graph.nodes)}, reader_counts(graph)
    nodes = {node.name: node for node in graph.nodes}
    for name in reversed(order):
        if name not in nodes or not _elementwise(nodes, nodes[name]):
            continue
        found = None
        for source, inside in _trees(nodes, nodes[name], counts, order):
            node = _as_record(nodes, name, source, inside, target) if len(inside) > 1 else None
            found = found if node is None else (node, inside)
        if found is not None:
            node, inside = found
            counts.subtract(read for gone in inside for read in nodes[gone].inputs)
            counts.update(node.inputs)
            for gone in inside[:-1]:
                del nodes[gone]
            nodes[name] = node
    return replace(graph, nodes=tuple(nodes.values()))


def _elementwise(nodes: Mapping[str, Node], node: Node) -> bool:
    """Whether each element of the output depends on the one element in the same place of each input."""
    if not is_op(node) or "axis" in node.attrs:
        return False
    word = node.op in ("clamp", "add", "mul") or op_of(node).table
    return word and all(nodes[name].shape == node.shape for name in node.inputs)


def _trees(
    nodes: Mapping[str, Node], root: Node, counts: Mapping[str, int], order: Mapping[str, int]
) -> Iterator[tuple[str, list[str]]]:
    """Ways to see the node as a function of one tensor: its name, and the nodes in between in order, from few to many.

    counts: how often each node is read. order: of their execution.
    """
    inside, read = [root.name], list(root.inputs)
    while len(inside) <= LARGEST:
        front = set(read).difference(inside)
        if len(front) == 1:
            yield next(iter(front)), sorted(inside, key=order.__getitem__)
        last = nodes[max(front, key=order.__getitem__)]
        if not _elementwise(nodes, last) or counts[last.name] != read.count(last.name):
            return
        inside.append(last.name)
        read += last.inputs


def _as_record(
    nodes: Mapping[str, Node], name: str, source: str, inside: Sequence[str], target: Target | None
) -> Node | None:
    tree = [nodes[other] for other in inside]
    found, near = _functions()
    few = _computed(tree, source, FEW)
    likely = np.flatnonzero(np.all(np.abs(near - few) <= TOLERANCE * (1 + np.abs(near)), axis=1))
    if not len(likely):
        return None
    values = _computed(tree, source, PROBES)
    for word, attrs, wanted in (found[index] for index in likely):
        known = target is None or target.runs(all_ops()[word].target_word) or word in runtime_of(target).compositions
        if known and np.allclose(values, wanted, rtol=TOLERANCE, atol=TOLERANCE):
            gone = [other for node in tree for other in (node.name, *node.attrs.get("fused", ())) if other != name]
            attrs = {**attrs, "fused": tuple(gone)}
            return replace(nodes[name], op=word, inputs=(source,), low=None, high=None, attrs=attrs)
    return None


def _computed(nodes: Sequence[Node], source: str, probes: Array) -> Array:
    """What the last of some nodes gives where the source has the values of the probes."""
    values = {source: probes}
    with np.errstate(all="ignore"):
        for node in nodes:
            made = op_of(node).value(NUMPY_RUNNER, node, *(values[name] for name in node.inputs))
            made = np.asarray(made, np.float64)
            made = made if node.low is None else np.maximum(made, node.low)
            values[node.name] = made if node.high is None else np.minimum(made, node.high)
    return values[nodes[-1].name]


@once_known
def _functions() -> tuple[list[tuple[str, dict[str, Any], Array]], Array]:
    """Word, attrs and values at the probes of all functions that can be recognized; and at the few, [function, few]."""
    found, near = [], []
    for word, op in all_ops().items():
        if not op.table or word == AFFINE:
            continue
        for attrs in WITH_ATTRS.get(word, () if op.attrs else ({},)):
            node = Node(word, word, ("x",), attrs=attrs)
            found.append((word, attrs, _computed([node], "x", PROBES)))
            near.append(_computed([node], "x", FEW))
    return found, np.stack(near)
