"""Einsums of an activation and a constant as layers and products of elements, with the axes brought there by moves.

A letter that both tensors and the result have is one of a batch of matrices, one that only the tensors have is summed
over, and the others are rows and columns. The product is a layer: one of all rows, or in groups where each of a batch
is multiplied with a matrix of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mpq_plugins.graph.constants import AFFINE, MUL
from mpq_plugins.graph.equations import parsed
from mpq_plugins.graph.moving import Moving, Part
from mpq_plugins.graph.node import CONSTANT, Array, Batch, Node, Shape
from mpq_plugins.graph.reducing import Reducing

Factor = Part | Array
"""An activation, or a constant of the model."""


def einsum(made: Reducing, equation: str, a: Factor, b: Factor, bias: Array | None = None) -> list[Node] | None:
    """The nodes of a call of an activation and a constant, in either order; None for an equation without such a form.

    bias: what is added, with its last axes.

    >>> x = Part("x", (Batch(), 6, 8))
    >>> [node.op for node in einsum(Reducing("y", "NHWC"), "bnd,nm->bmd", x, np.ones((6, 4)))]
    ['transpose', 'linear', 'transpose']
    """
    letters = parsed(equation, len(a.shape), len(b.shape))
    if letters is None:
        return None
    first, second, out = letters
    if isinstance(a, Part):
        assert not isinstance(b, Part), f"{made.name}: two activations"
        found = _of_constant(made, (first, second, out), a, np.asarray(b, np.float64), bias)
    else:
        assert isinstance(b, Part), f"{made.name}: two constants"
        found = _of_constant(made, (second, first, out), b, np.asarray(a, np.float64), bias)
    if found is None:
        return None
    return made.done(found) if made.layout == "NCHW" else Moving.done(made, found)


def _kinds(first: str, second: str, out: str) -> tuple[str, str, str, str]:
    """Letters of the batch, of rows, of columns, and those that are summed over, in the order of the result."""
    both = [letter for letter in out if letter in first and letter in second]
    rows = [letter for letter in out if letter not in second]
    columns = [letter for letter in out if letter not in first]
    summed = [letter for letter in first if letter not in out]
    return "".join(both), "".join(rows), "".join(columns), "".join(summed)


def _of_constant(
    made: Reducing, letters: tuple[str, str, str], x: Part, weight: Array, bias: Array | None
) -> Part | None:
    first, second, out = letters
    sizes: dict[str, Any] = dict(zip(second, weight.shape, strict=True)) | dict(zip(first, x.shape, strict=True))
    both, rows, columns, summed = _kinds(first, second, out)
    if not isinstance(x.shape[0], Batch) or first[0] != out[0] or first[0] in second:
        return None
    matrix = weight.transpose([second.index(letter) for letter in both + columns + summed])
    if not summed:
        return _plus(made, _scaled(made, (first, out), x, matrix, both, columns, sizes), bias)
    own, rest = _own_bias(bias, out, both + columns, sizes)
    counts = [_size(sizes, part) for part in (both, columns, summed)]
    groups, outputs, inputs = counts
    shape = tuple(sizes[letter] for letter in rows)
    name = f"{made.name}.dense"
    wide = _as(made, x, first, rows + both + summed, (*shape, groups * inputs))
    if groups == 1:
        kernel = np.ascontiguousarray(matrix.reshape(outputs, inputs))
        made.nodes.append(Node(name, "linear", (wide.name,), (*shape, outputs), kernel, own))
        return _plus(made, _back(made, Part(name, (*shape, outputs)), rows + both + columns, out, sizes), rest)
    flat: Shape = (shape[0], math.prod(shape[1:]), groups * inputs)
    wide = wide if wide.shape == flat else made.reshape(wide, flat)
    wide = made.transpose(wide, (0, 2, 1)) if made.layout == "NCHW" else wide
    attrs = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": groups}
    end: Shape = (flat[0], groups * outputs, flat[1]) if made.layout == "NCHW" else (*flat[:2], groups * outputs)
    kernel = np.ascontiguousarray(matrix.reshape(groups * outputs, inputs, 1))
    made.nodes.append(Node(name, "conv1d", (wide.name,), end, kernel, own, attrs=attrs))
    y = Part(name, end)
    y = made.transpose(y, (0, 2, 1)) if made.layout == "NCHW" else y
    return _plus(made, _back(made, y, rows + both + columns, out, sizes), rest)


def _own_bias(bias: Array | None, out: str, letters: str, sizes: dict[str, Any]) -> tuple[Array | None, Array | None]:
    """The bias of the layer that has outputs for these letters, and what the layer cannot add."""
    if bias is None:
        return None, None
    wide: Array = bias.reshape([1] * (len(out) - bias.ndim) + list(bias.shape))
    if any(size > 1 and letter not in letters for letter, size in zip(out, np.shape(wide), strict=True)):
        return None, bias
    order = [out.index(letter) for letter in letters]
    first = wide.transpose(order + [axis for axis in range(len(out)) if axis not in order])
    first = first.reshape([wide.shape[axis] for axis in order])
    return np.broadcast_to(first, [int(sizes[letter]) for letter in letters]).astype(np.float64).ravel(), None


def _plus(made: Reducing, y: Part, bias: Array | None) -> Part:
    """A sum with a constant."""
    if bias is None:
        return y
    value = np.asarray(bias, np.float32).reshape([1] * (len(y.shape) - bias.ndim) + list(bias.shape))
    constant = Node(f"{made.name}.bias", CONSTANT, (), (Batch(), *value.shape[1:]), attrs={"value": value})
    made.nodes.append(constant)
    return made.add(y, Part(constant.name, constant.shape), y.shape)


def _scaled(
    made: Reducing, letters: tuple[str, str], x: Part, factor: Array, both: str, columns: str, sizes: dict[str, Any]
) -> Part:
    """A product of elements: along the last axis, or with a constant of one sample."""
    first, out = letters
    if len(both) == 1 and not columns and first == out and out.endswith(both):
        return made._add(AFFINE, (x,), x.shape, {"scale": factor, "offset": 0.0, "axis": len(out) - 1})
    order = sorted(both + columns, key=out.index)
    factor = factor.transpose([(both + columns).index(letter) for letter in order])
    value = factor.reshape([int(sizes[letter]) if letter in order else 1 for letter in out])
    name = f"{made.name}.constant"
    constant = Node(name, CONSTANT, (), (Batch(), *value.shape[1:]), attrs={"value": np.asarray(value, np.float32)})
    apart = _ordered(made, x, first, out)
    made.nodes.append(constant)
    return made._add(MUL, (apart, Part(name, constant.shape)), tuple(sizes[letter] for letter in out), {})


def _ordered(made: Reducing, x: Part, own: str, out: str) -> Part:
    """A tensor with the axes of the result, those that it has none of with one element."""
    order = [own.index(letter) for letter in out if letter in own]
    x = x if order == list(range(len(order))) else made.transpose(x, order)
    sizes = iter(x.shape)
    shape = tuple(next(sizes) if letter in own else 1 for letter in out)
    return x if shape == x.shape else made.reshape(x, shape)


def _as(made: Reducing, x: Part, own: str, wanted: str, shape: Shape) -> Part:
    """A tensor with its axes in an order, then in a shape."""
    order = [own.index(letter) for letter in wanted]
    x = x if order == list(range(len(order))) else made.transpose(x, order)
    return x if x.shape == shape else made.reshape(x, shape)


def _back(made: Reducing, y: Part, own: str, out: str, sizes: dict[str, Any]) -> Part:
    """A product in the axes of the result."""
    shape = tuple(sizes[letter] for letter in own)
    y = y if y.shape == shape else made.reshape(y, shape)
    return y if own == out else made.transpose(y, [own.index(letter) for letter in out])


def _size(sizes: dict[str, Any], letters: Sequence[str]) -> int:
    return math.prod(int(sizes[letter]) for letter in letters)
