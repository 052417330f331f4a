"""Functions that readers only describe (attrs: function, arguments), as the records that they are made of.

Matrix products are quantized on every target. Norms and softmaxes are float parts where the target has float arithmetic
and integer arithmetic elsewhere; a softmax that no weight follows stays the model's float end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.einsum import einsum
from mpq_plugins.graph.integer_softmax import hidden_by
from mpq_plugins.graph.moving import Part, size_of
from mpq_plugins.graph.node import UNKNOWN, Array, Batch, Graph, Layout, Node, Operand, Shape
from mpq_plugins.graph.reducing import Reducing
from mpq_plugins.graph.runtimes import runtime_of
from mpq_plugins.targets import Target

MATMUL, NORMALIZE, SOFTMAX = "matmul", "normalize", "softmax"
STAYS_FLOAT = "float"
"""The attr of a norm or softmax that was written as a float part, whatever the model is read for."""


def as_records(graph: Graph, target: Target | None) -> Graph:
    """The graph with every described function that has one as its records; the last node has its name."""
    integers = target is not None and not target.float_arithmetic
    before = _before_weights(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        in_float = node.attrs.get(STAYS_FLOAT, target is not None and not integers)
        made = [as_float_part(node)] if node.op in (NORMALIZE, SOFTMAX) and in_float else None
        if node.op == UNKNOWN and _of_activations(_arguments(node)):
            word = str(node.attrs.get("function", ""))
            parts = [Part(name, graph[name].shape) for name in node.inputs]
            if word in PRODUCTS and (target is None or target.runs(MATMUL)):
                made = PRODUCTS[word](_Writing(node, graph.layout, integers), parts, _arguments(node))
                made = None if made is not None and _too_long(made, graph, target) else made
            elif integers and (word in NORMS or (word == SOFTMAX and node.name in before)):
                made = NORMS.get(word, _softmax)(_Writing(node, graph.layout, True), parts, _arguments(node))
        nodes += [node] if made is None else made
    return replace(graph, nodes=tuple(nodes))


TENSORS = ("input", "other", "key", "value")
"""The arguments that are activations; others are constants."""


def _of_activations(arguments: Mapping[str, Any]) -> bool:
    return all((key in TENSORS) == isinstance(value, Operand) for key, value in arguments.items())


def _arguments(node: Node) -> Mapping[str, Any]:
    return node.attrs.get("arguments", {})  # type: ignore[no-any-return]


def _before_weights(graph: Graph) -> set[str]:
    """What leads to a weight, or to a product of two activations."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if node.weighted or node.attrs.get("function") in PRODUCTS or node.name in found:
            found.update(node.inputs)
    return found


def as_float_part(node: Node) -> Node:
    """A norm or softmax that stays float."""
    was = replace(node, attrs={**node.attrs, STAYS_FLOAT: True})
    attrs = {"what": node.op, "reason": f"no integer kernel for {node.op}", "was": was}
    return Node(node.name, UNKNOWN, node.inputs, node.shape, attrs=attrs)


def _too_long(made: list[Node], graph: Graph, target: Target | None) -> bool:
    """Whether the runtime's sums of products, in float32, could round."""
    longest = None if target is None else runtime_of(target).longest_products
    shapes = {node.name: node.shape for node in (*graph.nodes, *made)}
    inner = [shapes[node.inputs[0]][-1] for node in made if node.op == MATMUL]
    return longest is not None and any(isinstance(size, int) and size > longest for size in inner)


class _Writing(Reducing):
    """The nodes of one function. integers: whether norms and softmaxes are computed on grids."""

    def __init__(self, node: Node, layout: Layout, integers: bool) -> None:
        super().__init__(node.name, layout)
        self.node, self.integers = node, integers

    def product(self, a: Part, b: Part) -> Part:
        """Matrix products."""
        return self._add(MATMUL, (a, b), (*a.shape[:-1], b.shape[-1]), {})

    def normalized(self, x: Part, axes: tuple[int, ...], epsilon: float, centered: bool = True) -> Part:
        """Zero mean and unit variance."""
        return self._add(NORMALIZE, (x,), x.shape, {"axes": axes, "epsilon": float(epsilon), "centered": centered})

    def softmax(self, x: Part, axis: int, scale: float = 1.0, mask: Any = None) -> Part:
        """A softmax on grids, or a float part."""
        found = self._add(
            SOFTMAX, (x,), x.shape, {"axis": axis, "scale": scale} | ({} if mask is None else {"mask": mask})
        )
        if not self.integers:
            self.nodes[-1] = as_float_part(self.nodes[-1])
        return found

    def affine(self, x: Part, weight: Any, bias: Any, axis: int) -> Part:
        """weight * x + bias, numbers or along an axis; x where that is the same."""
        scale, offset = _factor(np.asarray(weight)), _factor(np.asarray(bias))
        if isinstance(scale, float) and scale == 1 and not np.any(offset):
            return x
        along = {} if isinstance(scale, float) and isinstance(offset, float) else {"axis": axis}
        return self._add(AFFINE, (x,), x.shape, {"scale": scale, "offset": offset, **along})

    def turned(self, x: Part) -> Part:
        """The last two axes swapped."""
        rank = len(x.shape)
        return self.transpose(x, (*range(rank - 2), rank - 1, rank - 2))


Write = Callable[[_Writing, list[Part], Mapping[str, Any]], list[Node] | None]
"""The nodes of a function of some tensors and arguments; None where it has no such form."""


def _matmul(made: _Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    if set(given) - {"input", "other", "turn_input", "turn_other"} or len(given.keys() & {"input", "other"}) < 2:
        return None
    a, b = (parts[given[key].index] for key in ("input", "other"))
    a = made.transpose(a, given["turn_input"]) if given.get("turn_input") else a
    b = made.transpose(b, given["turn_other"]) if given.get("turn_other") else b
    if len(a.shape) < 3 or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2] or not _inner(a, b):
        return None
    return made.done(made.product(a, b))


def _einsum(made: _Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    if not {"equation", "input", "other"} <= given.keys():
        return None
    return einsum(made, given["equation"], *(parts[given[key].index] for key in ("input", "other")))


def _inner(*parts: Part) -> bool:
    """Whether the last two axes have nothing of the batch."""
    return not any(_batches(part.shape[-2:]) for part in parts)


def _attention(made: _Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    q, k, v = (parts[given[key].index] for key in ("input", "key", "value"))
    y = _attended(made, (q, k, v), float(given["scale"]), given.get("mask"))
    return None if y is None else made.done(y)


def _heads_attention(made: _Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    heads, first = int(given["heads"]), bool(given["batch_first"])
    split = []
    for key in ("input", "key", "value"):
        x = parts[given[key].index]
        if len(x.shape) != 3 or isinstance(x.shape[2], Batch):
            return None
        apart = made.reshape(x, (*x.shape[:2], heads, size_of(x, 2) // heads))
        split.append(made.transpose(apart, (0, 2, 1, 3) if first else (1, 2, 0, 3)))
    q, k, v = split
    y = _attended(made, (q, k, v), float(given["scale"]), given.get("mask"))
    if y is None:
        return None
    y = made.transpose(y, (0, 2, 1, 3) if first else (2, 0, 1, 3))
    return made.done(made.reshape(y, (*y.shape[:2], heads * size_of(y, 3))))


def _attended(made: _Writing, parts: tuple[Part, Part, Part], scale: float, mask: Any) -> Part | None:
    """softmax(scale * q k^T + mask) v; in integers with a mask that hides."""
    q, k, v = parts
    mask = None if mask is None else _of_last_axes(np.asarray(mask, np.float64))
    if (
        (mask is not None and made.integers and not (mask.ndim < len(q.shape) and hides(mask)))
        or q.shape[:-2] != k.shape[:-2]
        or k.shape[:-1] != v.shape[:-1]
        or not _inner(q, k, v)
    ):
        return None
    products = made.product(q, made.turned(k))
    return made.product(made.softmax(products, len(products.shape) - 1, scale, mask), v)


def _of_last_axes(mask: Array) -> Array:
    """A mask without axes of one in front."""
    while mask.ndim > 2 and len(mask) == 1:
        mask = mask[0]
    return mask


def hides(mask: Array) -> bool:
    """Whether a mask that is added along the last axis hides elements, and no more."""
    return hidden_by(mask, -1) is not None


def _softmax(made: _Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    x = parts[given["input"].index]
    axis = given.get("axis")
    if set(given) != {"input", "axis"} or not isinstance(axis, int) or isinstance(x.shape[axis], Batch):
        return None
    return made.done(made.softmax(x, axis % len(x.shape)))


def _layer_norm(
    made: _Writing, parts: list[Part], given: Mapping[str, Any], centered: bool = True
) -> list[Node] | None:
    x = parts[given["input"].index]
    rank = len(x.shape)
    first = int(given["axis"]) % rank
    weight, bias = (np.asarray(given.get(key, plain)) for key, plain in (("weight", 1.0), ("bias", 0.0)))
    if first == 0 or (first < rank - 1 and not (_is_number(weight) and _is_number(bias))) or _batches(x.shape[first:]):
        return None
    y = made.normalized(x, tuple(range(first, rank)), given["epsilon"], centered)
    return made.done(made.affine(y, weight, bias, rank - 1))


def _rms_norm(made: _Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    return _layer_norm(made, parts, given, centered=False)


def _group_norm(made: _Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    """The channels of a group and their places are brought to one axis; channels_last: where they are."""
    x = parts[given["input"].index]
    rank = len(x.shape)
    last = "channels_last" in given
    axis = rank - 1 if last else 1
    if last == (made.layout == "NCHW") or rank < 2 or _batches(x.shape[1:]):
        return None
    groups = int(given.get("groups", size_of(x, axis)))
    samples, channels = x.shape[0], size_of(x, axis)
    places = math.prod(size_of(x, axis) for axis in range(1, rank)) // channels
    if axis == 1 or places == 1:
        y = made.normalized(made.reshape(x, (samples, groups, channels // groups * places)), (2,), given["epsilon"])
    else:
        apart = made.reshape(x, (samples, places, groups, channels // groups))
        together = made.transpose(apart, (0, 2, 1, 3))
        flat = made.reshape(together, (samples, groups, channels // groups * places))
        y = made.reshape(made.normalized(flat, (2,), given["epsilon"]), together.shape)
        y = made.transpose(y, (0, 2, 1, 3))
    y = made.reshape(y, x.shape)
    return made.done(made.affine(y, given["weight"], given["bias"], axis))


def _unit_norm(made: _Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    """By the root of the sum of the squares along an axis, which is that of their mean but for a factor.

    epsilon: the least root.
    """
    x, axis = parts[given["input"].index], given["axis"]
    if int(given.get("power", 2)) != 2 or not isinstance(axis, int) or isinstance(x.shape[axis], Batch):
        return None
    count = size_of(x, axis)
    least = float(given.get("epsilon", 1e-12)) ** 2 / count
    y = made.normalized(x, (axis % len(x.shape),), least, centered=False)
    return made.done(made.affine(y, 1 / math.sqrt(count), 0.0, axis))


def _factor(value: Any) -> float | Array:
    """A number, or one for each entry of an axis."""
    return float(value.flat[0]) if _is_number(value) else np.asarray(value, np.float64).ravel()


def _is_number(value: Any) -> bool:
    return bool(np.all(value == value.flat[0]))


def _batches(shape: Shape) -> bool:
    return any(isinstance(size, Batch) for size in shape)


PRODUCTS: Mapping[str, Write] = {
    MATMUL: _matmul,
    "einsum": _einsum,
    "attention": _attention,
    "heads_attention": _heads_attention,
}
NORMS: Mapping[str, Write] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _group_norm,
    "normalize": _unit_norm,
}
