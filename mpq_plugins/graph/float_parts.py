"""What stays float: ops that nothing describes, where the target has float arithmetic, and what a user keeps so."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from mpq_plugins.errors import ModelError, UnmatchedName
from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.node import CONSTANT, FLOAT, INPUT, INPUT_SUFFIX, RAW, UNKNOWN, Graph, Node
from mpq_plugins.graph.refusals import refusal
from mpq_plugins.graph.shares import BEHIND, BETWEEN, KEPT

logger = logging.getLogger(__name__)


class OneNode(str):
    """In keep_float, the name of a node as a recipe lists it, and not of a module that holds others."""

    __slots__ = ()


def settle_float_parts(graph: Graph, keep_float: Iterable[str] = (), *, anywhere: bool = True) -> Graph:
    """The graph with every node either on grids or "float", and an "input" node wherever a float tensor is quantized.

    keep_float: names of nodes, of modules that hold them, or patterns of either. A node without a record is float too,
    and so is whatever reads it where no weight follows.
    anywhere: whether a node without a record may be float in front of a weight too, and then what lies between float
    nodes is float with them; else only behind the last.
    A float node holds what it was as attrs["was"], where that is known (else only the framework can compute it), and
    why it is float as attrs["reason"].

    Raises ModelError where nothing is left to quantize, UnmatchedName where a name matches nothing, and UnsupportedOp,
    with all names (``names``), where a node without a record feeds a weight and may not.
    """
    kept = kept_names(graph, keep_float)
    if not any(node.weighted and node.name not in kept for node in graph.nodes):
        unknown = [node for node in graph.nodes if node.op == UNKNOWN and node.attrs.get("weights")]
        reasons = "".join(f"; {node.name}: {node.attrs['reason']}" for node in unknown)
        named = ", ".join(node.name for node in graph.nodes if node.weighted)
        reasons += f"; keep_float names all that there are ({named})" if named else ""
        raise ModelError(f"the model has no convolution or linear layer to quantize{reasons}")
    refused = {} if anywhere else unknown_before_weights(graph, kept)
    if refused:
        raise refusal(graph, refused, {}, set(refused), refused)
    floats = dict.fromkeys(kept, KEPT)
    floats |= {node.name: "" for node in graph.nodes if node.op in (FLOAT, UNKNOWN) and node.name not in kept}
    floats = dict.fromkeys(_behind(graph, kept), BEHIND) | floats
    if anywhere:
        floats = dict.fromkeys(_between(graph, floats), BETWEEN) | floats
    graph = graph.mapped(lambda node: _as_float(node, floats[node.name]) if node.name in floats else node)
    for node in graph.nodes:
        if node.name in floats:
            logger.info("%s stays float: %s", node.name, node.attrs["reason"])
    return _with_inputs(graph)


def _behind(graph: Graph, kept: Collection[str]) -> set[str]:
    """What reads a node without a record that no weight follows."""
    before, found = before_weights(graph, kept), set[str]()
    for node in graph.nodes:
        unknown = node.op == UNKNOWN and node.name not in kept
        if node.name not in before and (unknown or found.intersection(node.inputs)):
            found.add(node.name)
    return found


def _between(graph: Graph, floats: Collection[str]) -> set[str]:
    """What lies between float nodes alone: rounding there would cost accuracy and gain nothing.

    An op without a weight is between them where float nodes compute all that it reads and read all that it computes;
    a sum or product with constants where they read all of it, for a small number that a divisor gets vanishes on grids;
    what moves constants where they read all of it.
    """
    behind = set(floats)
    for node in graph.nodes:
        sources = [name for name in node.inputs if graph[name].op != CONSTANT]
        if not node.weighted and sources and behind.issuperset(sources):
            behind.add(node.name)
    for node in reversed(graph.nodes):
        readers = {reader.name for reader in graph.readers(node.name)}
        if node.name in behind.difference(floats) and (
            node.name in graph.outputs or not readers or not behind >= readers
        ):
            behind.remove(node.name)
    for node in reversed(graph.nodes):
        readers = {reader.name for reader in graph.readers(node.name)}
        constant = node.name not in graph.computed and node.op != CONSTANT
        if (node.op == AFFINE or constant) and node.name not in graph.outputs and readers and behind >= readers:
            behind.add(node.name)
    return behind.difference(floats)


def kept_names(graph: Graph, keep_float: Iterable[str]) -> set[str]:
    """The nodes that keep_float names. Raises UnmatchedName for what matches nothing."""
    found: set[str] = set()
    for pattern in keep_float:
        if not isinstance(pattern, str):
            raise UnmatchedName(
                f"keep_float takes names of modules and functions, or patterns of names, and not a "
                f"{getattr(pattern, '__name__', type(pattern).__name__)}; there are "
                f"{', '.join(node.name for node in graph.nodes[:8])}, ..."
            )
        alone: set[str] = {pattern} if isinstance(pattern, OneNode) and pattern in graph else set()
        matched = alone or {node.name for node in graph.nodes if node.op not in RAW[:2] and _matches(node, pattern)}
        if not matched:
            names = [name for node in graph.nodes for name in (node.name, *node.attrs.get("fused", ()))]
            close = difflib.get_close_matches(pattern, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names[:8])}, ..."
            raise UnmatchedName(f"keep_float names {pattern!r}, which matches nothing in the model{hint}")
        found |= matched
    return found


def _matches(node: Node, pattern: str) -> bool:
    names = (node.name, *node.attrs.get("fused", ()), *node.attrs.get("fused_before", ()))
    return any(name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern) for name in names)


def before_weights(graph: Graph, kept: Collection[str]) -> set[str]:
    """The nodes in front of a weight that is to be quantized."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if (node.weighted and node.name not in kept) or node.name in found:
            found.update(node.inputs)
    return found


def unknown_before_weights(graph: Graph, kept: Collection[str]) -> dict[str, str]:
    """The nodes without a record in front of a weight that is to be quantized, and the reasons."""
    before = before_weights(graph, kept)
    refused = [n for n in graph.nodes if n.op == UNKNOWN and n.name in before and n.name not in kept]
    return {node.name: str(node.attrs["reason"]) for node in refused}


def _as_float(node: Node, reason: str) -> Node:
    """reason: where the node has none of its own."""
    if node.op == FLOAT:
        return node
    kept = ("what", "reason", "weights", "macs", "function", "arguments")
    attrs = {name: node.attrs[name] for name in kept if name in node.attrs}
    attrs.setdefault("what", node.op)
    attrs.setdefault("reason", reason)
    if node.op != UNKNOWN:
        attrs["was"] = node
    elif "was" in node.attrs:
        attrs["was"] = node.attrs["was"]
    return Node(node.name, FLOAT, node.inputs, node.shape, attrs=attrs)


def _with_inputs(graph: Graph) -> Graph:
    """An "input" node behind every float tensor that a node on grids reads, and behind no other."""
    entering = {
        name for node in graph.nodes if node.op not in (*RAW, INPUT) for name in node.inputs if graph[name].op in RAW
    }
    nodes = []
    for node in graph.nodes:
        if node.op not in (*RAW, INPUT):
            inputs = tuple(name + INPUT_SUFFIX if name in entering else name for name in node.inputs)
            node = replace(node, inputs=inputs)
        nodes.append(node)
        if node.name in entering:
            nodes.append(Node(node.name + INPUT_SUFFIX, INPUT, (node.name,), node.shape))
    return replace(graph, nodes=tuple(nodes))
