"""Sums and products of an activation with constants, and differences, as the few forms that passes work on.

"affine" (attrs: scale, offset; numbers, or arrays along ``axis``) is what all of ``x + c``, ``x * c``, ``x / c``,
``c - x`` and ``-x`` are; "sub", and sums and products of many, are what readers give, ``written_out`` at once. A
difference is the sum with the negated subtrahend: no runtime needs a kernel of its own for it, and the sign goes into
the layer that computes the subtrahend, if one does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mpq_plugins.graph.node import Array, Batch, Graph, Layout, Node, Shape

AFFINE, SUB, ADD, MUL = "affine", "sub", "add", "mul"
Factor = float | Array
"""A number, or one for each entry of an axis."""


def with_constant(
    word: str, constant: ArrayLike, shape: Shape, out: Shape, layout: Layout, swapped: bool = False
) -> dict[str, Any] | None:
    """The attrs of the "affine" that an activation and a constant make; None where it is none.

    word: "add", "sub", "mul" or "div". shape: of the activation. out: of the result. swapped: the constant comes first.
    The constant may be a number or vary along one axis, with channels last that one; it must be finite, and repeat
    none of the activation.

    >>> with_constant("sub", 2.0, (Batch(), 4), (Batch(), 4), "NCHW", swapped=True)
    {'scale': -1.0, 'offset': 2.0}
    """
    found = _along_one_axis(np.asarray(constant, np.float64), shape)
    if found is None or tuple(shape) != tuple(out) or (word == "div" and swapped):
        return None
    value, axis = found
    if layout == "NHWC" and axis not in (None, len(shape) - 1):
        return None
    scale: Factor = 1.0
    offset: Factor = 0.0
    if word in ("add", "sub"):
        offset = value if word == "add" or swapped else -value
        scale = -1.0 if word == "sub" and swapped else 1.0
    else:
        if word == "div" and not np.all(value):
            return None
        scale = value if word == "mul" else 1.0 / value
    return {"scale": scale, "offset": offset} | ({} if axis is None else {"axis": axis})


def quotient(name: str, source: str, shape: Shape, out: Shape, constant: ArrayLike, layout: Layout) -> list[Node]:
    """The nodes of a constant divided by an activation; none where the constant has no form, as of with_constant.

    >>> [(node.name, node.op) for node in quotient("y", "x", (Batch(), 4), (Batch(), 4), 2.0, "NCHW")]
    [('y__reciprocal', 'reciprocal'), ('y', 'affine')]
    """
    attrs = with_constant(MUL, constant, shape, out, layout)
    if attrs is None:
        return []
    if np.ndim(attrs["scale"]) == 0 and attrs["scale"] == 1:
        return [Node(name, "reciprocal", (source,), out)]
    inverse = Node(f"{name}__reciprocal", "reciprocal", (source,), shape)
    return [inverse, Node(name, AFFINE, (inverse.name,), out, attrs=attrs)]


def _along_one_axis(constant: Array, shape: Shape) -> tuple[Factor, int | None] | None:
    if constant.size == 0 or not np.all(np.isfinite(constant)):
        return None
    if constant.size == 1:
        return float(constant.reshape(())), None
    if constant.ndim > len(shape):
        return None
    first = len(shape) - constant.ndim
    wide = [axis for axis, size in enumerate(constant.shape) if size > 1]
    axis = first + wide[0]
    if len(wide) > 1 or isinstance(shape[axis], Batch) or shape[axis] != constant.size:
        return None
    return constant.ravel().copy(), axis


def chained(*attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The attrs of the "affine" that several behind one another are; along one axis, or none."""
    scale: Factor = 1.0
    offset: Factor = 0.0
    axes = {each["axis"] for each in attrs if "axis" in each}
    assert len(axes) < 2
    for each in attrs:
        scale, offset = scale * each["scale"], offset * each["scale"] + each["offset"]
    return {"scale": scale, "offset": offset} | ({"axis": axes.pop()} if axes else {})


def power(exponent: Any) -> tuple[str, int, dict[str, Any]] | None:
    """The op, how often it reads the activation, and the attrs that its power is; None for one by no number.

    >>> power(3), power(0.5), power(-1.5), power(None)
    (('mul', 3, {}), ('sqrt', 1, {}), ('power', 1, {'exponent': -1.5}), None)
    """
    found = None if exponent is None else np.asarray(exponent, np.float64)
    if found is None or found.size != 1 or not np.isfinite(found):
        return None
    by = float(found.reshape(()))
    if by in (2, 3, 4):
        return MUL, int(by), {}
    word = {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}.get(by)
    return (word, 1, {}) if word else ("power", 1, {"exponent": by})


def written_out(graph: Graph) -> Graph:
    """The graph with each "sub" as a sum with the negated second input, and each sum or product of many as
    ones of two."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op == SUB:
            negated = Node(f"{node.name}__negated", AFFINE, node.inputs[1:], graph[node.inputs[1]].shape, attrs=NEGATED)
            nodes += [negated, replace(node, op=ADD, inputs=(node.inputs[0], negated.name))]
        elif node.op in (ADD, MUL) and len(node.inputs) > 2:
            nodes += _in_twos(graph, node)
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


NEGATED = {"scale": -1.0, "offset": 0.0}


def _in_twos(graph: Graph, node: Node) -> list[Node]:
    """From the first input on, as frameworks do; the last one has the name of the whole."""
    made: list[Node] = []
    before, *others = node.inputs
    for index, name in enumerate(others):
        last = index == len(others) - 1
        own = node.name if last else f"{node.name}__{node.op}{index + 1}"
        shape = node.shape if last else broadcast([graph[other].shape for other in node.inputs[: index + 2]])
        made.append(replace(node, name=own, inputs=(before, name), shape=shape))
        before = own
    return made


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape of a sum or product of tensors of as many axes."""
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*shapes, strict=True))
