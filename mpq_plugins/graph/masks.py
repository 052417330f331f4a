"""Masks of a softmax: what is added to scores, or put in their place, so that nothing of them is left.

A number of -64 and less hides a score: next to one that is not hidden its exponential, 2^-92 and less, is none of any
grid's steps. Masks are the softmax's own (attrs: mask, real numbers), so that they take no codes of a sum's grid; on
grids a hidden score is left out, whatever the number was.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mpq_plugins.graph.constants import ADD, AFFINE
from mpq_plugins.graph.logic import CHOOSE
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import CONSTANT, UNKNOWN, Array, Batch, Graph, Node, Operand, Shape
from mpq_plugins.graph.off_grids import far_apart, with_large_numbers_off_grids

HIDES = -64.0
"""The largest number that hides a score."""
SOFTMAX, WHERE, MASK = "softmax", "where", "mask"


@dataclass(frozen=True)
class Masked:
    """Scores under their masks: softmax(scale * scores + mask). scores: the last axis is that of the softmax."""

    scores: Part
    scale: float
    mask: Array


def with_masks(graph: Graph, wanted: Collection[str]) -> Graph:
    """The graph with the softmaxes of these names that masks lead to as records that have the mask.

    Reshapes that keep the last axis, between the mask and the softmax, come behind it.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        found = _under(graph, node) if node.name in wanted and _along_last_axis(node) else None
        nodes += [node] if found is None else _written(node, found)
    made = without_unread(replace(graph, nodes=tuple(nodes)), graph)
    return with_large_numbers_off_grids(made, {node.name for node in made.nodes if _chooses_large(made, node)})


def _chooses_large(graph: Graph, node: Node) -> bool:
    """Whether a node puts large numbers in the place of an activation's elements."""
    if node.op != UNKNOWN or node.attrs.get("function") not in (WHERE, CHOOSE):
        return False
    chosen = [node.attrs["arguments"].get(name, 0.0) for name in ("fill", "input", "other")]
    sides = [graph[node.inputs[side.index]] for side in chosen if isinstance(side, Operand)]
    numbers = [side for side in chosen if not isinstance(side, Operand)]
    numbers += [side.attrs["value"] for side in sides if side.op == CONSTANT]
    return any(far_apart(np.append(0.0, number)) for number in numbers)


def without_unread(graph: Graph, before: Graph) -> Graph:
    """The graph without the nodes that only nodes of another graph, which it replaces, have read."""
    read = {*graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        known = node.name in before and (not before.readers(node.name) or node.op == "argument")
        if node.name in read or known or node.name not in before:
            read.update(node.inputs)
            kept.append(node)
    return replace(graph, nodes=tuple(reversed(kept)))


def hidden_by(mask: Any) -> Any:
    """Where a mask hides scores."""
    return np.asarray(mask) <= HIDES


def parted(mask: Array) -> tuple[Array | None, Array | None] | None:
    """What a mask adds to the scores that it does not hide, and itself where it hides some; None for nothing.

    None at all for a mask that holds NaN or infinity.

    >>> parted(np.array([[0.0, -np.inf], [0.5, 0.0]]))
    (array([[0. , 0. ],
           [0.5, 0. ]]), array([[  0., -inf],
           [  0.,   0.]]))
    """
    hidden = hidden_by(mask)
    added = np.where(hidden, 0.0, mask)
    if not np.all(np.isfinite(added)):
        return None
    return (added if np.any(added) else None, np.where(hidden, mask, 0.0) if np.any(hidden) else None)


def added_to_scores(values: Array, rank: int) -> Array:
    """What is added to scores of so many axes, without what is the same along a row that is hidden as a whole.

    >>> added_to_scores(np.array([[-100.0, -100.0], [0.0, -100.0]]), 3).tolist()
    [[[0.0, 0.0], [0.0, -100.0]]]
    """
    values = np.asarray(values, np.float64).reshape((1,) * (rank - np.ndim(values)) + np.shape(values))
    top = values.max(-1, keepdims=True)
    return np.where(np.isfinite(top) & (top <= HIDES), values - np.where(np.isfinite(top), top, 0.0), values)


def _along_last_axis(node: Node) -> bool:
    given = node.attrs.get("arguments", {})
    known = node.op == UNKNOWN and node.attrs.get("function") == SOFTMAX and set(given) == {"input", "axis"}
    return known and int(given["axis"]) % len(node.shape) == len(node.shape) - 1


def _under(graph: Graph, node: Node) -> Masked | None:
    """What the masks in front of a softmax are, and what they are put on; None where nothing is hidden."""
    name = node.inputs[0]
    while (reshape := graph[name]).op == "reshape" and _read_once(graph, reshape):
        if graph[reshape.inputs[0]].shape[-1:] != reshape.shape[-1:]:
            break
        name = reshape.inputs[0]
    shape = graph[name].shape
    found: Masked | None = None
    total, scale = np.zeros((1,) * len(shape)), 1.0
    while _read_once(graph, graph[name]):
        step = _step(graph, graph[name])
        if step is None:
            break
        name, term, factor = step
        total, scale = total + term * scale, scale * factor
        if np.any(hidden_by(term * scale)):
            found = Masked(Part(name, shape), scale, total)
    return found


def _step(graph: Graph, node: Node) -> tuple[str, Array, float] | None:
    """What a node of scores reads, what it adds to them, and what they are multiplied with first; None of another."""
    rank, none = len(node.shape), np.zeros((1,) * len(node.shape))
    if node.low is not None or node.high is not None:
        return None
    if node.op == AFFINE and "axis" not in node.attrs and node.attrs["scale"] > 0:
        return node.inputs[0], none, float(node.attrs["scale"])
    if node.op == AFFINE and node.attrs.get("axis") == rank - 1 and np.all(node.attrs["scale"] == 1):
        return node.inputs[0], added_to_scores(np.atleast_1d(node.attrs["offset"]), rank), 1.0
    if node.op == ADD and len(node.inputs) == 2:
        constant, other = sorted(node.inputs, key=lambda name: graph[name].op != CONSTANT)
        value = graph[constant].attrs.get("value") if graph[constant].op == CONSTANT else None
        if value is not None and graph[other].shape == node.shape and _of_every_sample(value, node.shape):
            return other, added_to_scores(value, rank), 1.0
    chosen = choice(node)
    if chosen is not None and chosen.other is None and np.all(hidden_by(chosen.fill)):
        fill = np.where(chosen.keep, 0.0, chosen.fill)
        return node.inputs[chosen.index], fill.reshape((1,) * (rank - fill.ndim) + fill.shape), 1.0
    return None


@dataclass(frozen=True, eq=False)
class Choice:
    """By position, an input or something else.

    index: of the input, among the node's. keep: where it is taken. other: the index of what is taken elsewhere; None
    where that is ``fill``.
    """

    index: int
    keep: Any
    fill: Any
    other: int | None


def choice(node: Node) -> Choice | None:
    """What a described "where" chooses by a constant condition, the same for every sample; None of another node."""
    given = node.attrs.get("arguments", {})
    if node.op != UNKNOWN or node.attrs.get("function") != WHERE or not isinstance(given.get("input"), Operand):
        return None
    keep, fill, other = np.asarray(given["condition"]) != 0, given.get("fill", 0.0), given.get("other")
    if not (_of_every_sample(keep, node.shape) and _of_every_sample(fill, node.shape)):
        return None
    return Choice(given["input"].index, keep, np.asarray(fill, np.float64), None if other is None else other.index)


def _of_every_sample(values: Any, shape: Shape) -> bool:
    """Whether an array says the same of every sample of tensors of a shape."""
    first = len(shape) - np.ndim(values)
    sizes = np.shape(values)
    return first >= 0 and all(
        size == 1 for axis, size in enumerate(sizes) if isinstance(shape[first + axis], Batch) or first + axis == 0
    )


def _read_once(graph: Graph, node: Node) -> bool:
    readers = graph.readers(node.name)
    return len(readers) == 1 and readers[0].inputs.count(node.name) == 1 and node.name not in graph.outputs


def _written(node: Node, found: Masked) -> list[Node]:
    """The softmax of scores, and a reshape where they had another shape."""
    shape = found.scores.shape
    attrs = {"axis": len(shape) - 1, "scale": found.scale, "mask": found.mask}
    if shape == node.shape:
        return [Node(node.name, SOFTMAX, (found.scores.name,), shape, attrs=attrs)]
    inner = Node(f"{node.name}.softmax0", SOFTMAX, (found.scores.name,), shape, attrs=attrs)
    return [inner, Node(node.name, "reshape", (inner.name,), node.shape)]
