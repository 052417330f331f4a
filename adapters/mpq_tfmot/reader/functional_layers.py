"""TensorFlow's functions of an activation and a constant kernel: convolutions, products, and einsums that are one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.runner import Sides
from mpq_plugins.graph.weights import from_framework
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.call import Call
from mpq_tfmot.reader.einsum import einsum
from mpq_tfmot.reader.record import is_symbol
from mpq_tfmot.reader.weighted import sides_of

_LETTERS = "abdefghjklmn"
Given = Mapping[str, Any]
"""The arguments of a call by TensorFlow's names."""


def functional_layer(call: Call) -> list[Node]:
    """The nodes of a call of a function with a constant kernel; none for another."""
    rule = RULES.get(str(call.layer.symbol).removeprefix("compat.v1."))
    if rule is None or (len(call.inputs) != 1 and "transpose" not in str(call.layer.symbol)):
        return []  # (sizes that are computed are tensors too)
    given = inspect.signature(call.layer.function).bind(*call.node.call_args, **call.node.call_kwargs)
    given.apply_defaults()
    return rule(call, given.arguments)


def constant(value: Any) -> Any | None:
    """A tensor, variable or array of the model as float64; None for a symbol, and for what is no array of numbers."""
    if value is None or is_symbol(value) or isinstance(value, (str, bytes)):
        return None
    if isinstance(value, tf.Variable) or tf.is_tensor(value) or isinstance(value, np.ndarray):
        return np.asarray(value, np.float64)
    return None


def _convolution(op: str, kernel: str, transposed: bool = False) -> Callable[[Call, Given], list[Node]]:
    """A convolution of images. kernel: what the function calls it."""

    def rule(call: Call, given: Given) -> list[Node]:
        found = (constant(given.get(name)) for name in (kernel, "filters", "filter"))
        own = next((kernel for kernel in found if kernel is not None), None)
        layout = given.get("data_format")
        if own is None or layout not in (None, "NDHWC", "NHWC", "NWC") or len(call.in_shapes[0]) != own.ndim - 1:
            return []
        dims = own.ndim - 2
        stride, dilation = (_sizes(given.get(word), dims) for word in ("strides", "dilations"))
        kinds: Any = given.get("padding")
        sizes, inside = own.shape[:dims], call.in_shapes[0][:-1]
        if transposed and (set(dilation) != {1} or not isinstance(kinds, str)):
            return []
        each = tuple(zip(inside, sizes, stride, dilation, strict=True))
        padding = sides_of(op, kinds.lower(), each, call.shape[:-1]) if isinstance(kinds, str) else _sides(kinds, dims)
        if padding is None:
            return []
        smaller = any(sum(cut) > 2 * (k // 2) for cut, k in zip(padding, sizes, strict=True))
        if transposed and kinds.upper() == "SAME" and smaller:
            return []  # Keras has no layer whose output is smaller
        groups = own.shape[-2] if op.startswith("depthwise") else 1
        if op.startswith("conv") and not transposed:
            groups = call.in_shapes[0][-1] // own.shape[-2]
        attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        weight = from_framework(op, "NHWC", own, groups)
        return [Node(call.name, op, call.inputs[:1], call.whole(), weight, attrs=attrs)]

    return rule


def _sizes(value: Any, dims: int) -> tuple[int, ...]:
    """One number for each direction, of a number, of one for each, or of one for each axis."""
    listed = [1] if value is None else [int(size) for size in np.atleast_1d(np.asarray(value))]
    if len(listed) == dims + 2:
        return tuple(listed[1:-1])
    return tuple(listed * (dims // len(listed)))


def _sides(pairs: Any, dims: int) -> Sides | None:
    """Both sides of every direction, of pairs for every axis; None of others."""
    found = [(int(before), int(after)) for before, after in np.asarray(pairs)]
    return tuple(found[1:-1]) if len(found) == dims + 2 else None


def _matmul(call: Call, given: Given) -> list[Node]:
    """A product with a constant: a matrix from the right, or from either side by the einsum that it is."""
    left, own = constant(given["a"]), constant(given["b"])
    turned_left, turned_right = given.get("transpose_a"), given.get("transpose_b")
    if own is not None and own.ndim == 2 and not turned_left and call.in_shapes[0]:
        weight = own if turned_right else own.T
        return [Node(call.name, "linear", call.inputs, call.whole(), np.ascontiguousarray(weight))]
    rank = len(call.in_shapes[0]) + 1
    factor = left if own is None else own
    if factor is None or factor.ndim < 2 or rank < 3:
        return []
    while factor.ndim > 2 and len(factor) == 1:
        factor = factor[0]
    if factor.ndim > rank - 1:
        return []
    before = _LETTERS[: rank - 2]
    terms = {"x": before, "own": before[len(before) - factor.ndim + 2 :]}
    first, second = ("own", "x") if own is None else ("x", "own")
    rows, columns = ("ri", "ir")[bool(turned_left)], ("ic", "ci")[bool(turned_right)]
    factors = (factor, call.parts[0]) if own is None else (call.parts[0], factor)
    return einsum(call, f"{terms[first]}{rows},{terms[second]}{columns}->{before}rc", factors)


def _tensordot(call: Call, given: Given) -> list[Node]:
    """Of an activation and a constant, as the einsum that it is."""
    own, rank = constant(given["b"]), len(call.in_shapes[0]) + 1
    if own is None:
        return []
    axes = given["axes"]
    pairs: Iterable[Any] = (range(rank - axes, rank), range(axes)) if isinstance(axes, int) else map(np.ravel, axes)
    left, right = ([int(axis) % size for axis in each] for each, size in zip(pairs, (rank, own.ndim), strict=True))
    first, second = _LETTERS[:rank], list(_LETTERS[rank:][: own.ndim])
    for axis, other in zip(left, right, strict=True):
        second[other] = first[axis]
    gone = {first[axis] for axis in left}
    out = "".join(letter for letter in (*first, *second) if letter not in gone)
    return einsum(call, f"{first},{''.join(second)}->{out}", (call.parts[0], own))


def _einsum(call: Call, given: Given) -> list[Node]:
    """tf.einsum of an activation and a constant kernel, in either order."""
    equation, *operands = call.node.call_args
    constants = [constant(operand) for operand in operands]
    if len(operands) != 2 or sum(own is None for own in constants) != 1:
        return []
    a, b = (call.parts[0] if own is None else own for own in constants)
    return einsum(call, str(equation), (a, b))


RULES: Mapping[str, Callable[[Call, Given], list[Node]]] = {
    "nn.conv1d": _convolution("conv1d", "filters"),
    "nn.conv2d": _convolution("conv2d", "filters"),
    "nn.conv3d": _convolution("conv3d", "filters"),
    "nn.convolution": _convolution("conv2d", "filters"),
    "nn.depthwise_conv2d": _convolution("depthwise_conv2d", "filter"),
    "nn.conv2d_transpose": _convolution("conv_transpose2d", "filters", transposed=True),
    "linalg.matmul": _matmul,
    "tensordot": _tensordot,
    "einsum": _einsum,
}
"""By TensorFlow's symbol."""
