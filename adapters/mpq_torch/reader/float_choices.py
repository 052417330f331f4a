"""torch's functions that order elements, or take and put them by their places, as functions of the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_plugins.graph.node import Batch
from mpq_torch.reader.call import Call, numbers

Found = tuple[str, dict[str, Any]] | None


def _axis(call: Call, place: int, default: int = -1) -> int:
    """The axis that a function of one tensor is given."""
    return int(call.argument(place, "dim", default)) % len(call.in_shape)


def _length(call: Call, axis: int) -> int | None:
    """How many elements lie along an axis; None where samples do."""
    size = call.in_shape[axis]
    return None if isinstance(size, Batch) else size


def topk(call: Call) -> Found:
    count = call.argument(1, "k")
    largest = bool(call.argument(3, "largest", True))
    if not isinstance(count, int):
        return None
    return "topk", {"input": call.tensor(), "axis": _axis(call, 2), "count": count, "largest": largest}


def _sorted(word: str) -> Callable[[Call], Found]:
    """All elements along an axis, which are those of the largest, or smallest, as many as there are."""

    def found(call: Call) -> Found:
        axis = _axis(call, 1)
        count, largest = _length(call, axis), bool(call.argument(2, "descending", False))
        return (
            None
            if count is None
            else (word, {"input": call.tensor(), "axis": axis, "count": count, "largest": largest})
        )

    return found


def _kth(call: Call) -> Found:
    axis, keeps = _axis(call, 2), bool(call.argument(3, "keepdim", False))
    return "kth", {"input": call.tensor(), "axis": axis, "count": call.argument(1, "k"), "keepdims": keeps}


def _median(call: Call) -> Found:
    """Of an even number of elements torch takes the smaller of the two."""
    if call.argument(1, "dim") is None:
        return None
    axis, keeps = _axis(call, 1), bool(call.argument(2, "keepdim", False))
    count = _length(call, axis)
    if count is None:
        return None
    return "kth", {"input": call.tensor(), "axis": axis, "count": (count + 1) // 2, "keepdims": keeps}


def _extreme(largest: bool) -> Callable[[Call], Found]:
    """The largest, or smallest, along one axis, and where it is."""

    def found(call: Call) -> Found:
        axis = call.argument(1, "dim")
        if not isinstance(axis, int):
            return None
        keeps = bool(call.argument(2, "keepdim", False))
        given = {"axis": axis % len(call.in_shape), "largest": largest, "keepdims": keeps}
        return "extreme", {"input": call.tensor(), **given}

    return found


def _one_hot(call: Call) -> Found:
    classes = call.argument(1, "num_classes", -1)
    return ("one_hot", {"input": call.tensor(), "count": classes}) if isinstance(classes, int) and classes > 0 else None


def _bucketized(boundaries: int, values: int) -> Callable[[Call], Found]:
    """How many of the boundaries lie below a value, or at it: right. boundaries, values: places of the arguments."""

    def found(call: Call) -> Found:
        names = {boundaries: "boundaries" if values == 0 else "sorted_sequence", values: "input"}
        held = call.constant(call.argument(boundaries, names[boundaries]))
        right = bool(call.node.kwargs.get("right", False)) or call.node.kwargs.get("side") == "right"
        if np.ndim(held) != 1:
            return None
        return "bucketize", {"input": call.argument(values, names[values]), "bounds": held, "right": right}

    return found


def _by_places(word: str, *names: str) -> Callable[[Call], Found]:
    """A function of tensors and places that the model computes, along an axis of each sample.

    One of a constant, of which every sample has the same, is not described.
    """

    def found(call: Call) -> Found:
        axis = _axis(call, 1)
        read = {name: call.argument(place, name) for place, name in enumerate(names, 2)}
        tensors = [call.argument(0, "input"), *read.values()]
        if axis == 0 or not all(isinstance(x, fx.Node) and call.held(x) is None for x in tensors):
            return None
        return word, {"input": tensors[0], "axis": axis, **{{"src": "source"}.get(n, n): x for n, x in read.items()}}

    return found


def _triangle(upper: bool) -> Callable[[Call], Found]:
    """A matrix of which one side of a diagonal is zero: a choice by a constant condition."""

    def found(call: Call) -> Found:
        rows, columns = call.in_shape[-2:]
        diagonal = call.argument(1, "diagonal", 0)
        if isinstance(rows, Batch) or isinstance(columns, Batch) or not isinstance(diagonal, int):
            return None
        ones = np.ones((rows, columns), bool)
        kept = np.triu(ones, diagonal) if upper else np.tril(ones, diagonal)
        return "where", {"input": call.tensor(), "condition": kept, "fill": 0.0}

    return found


def _pooled(call: Call) -> Found:
    """A max pooling and the place in its image of each element that it took."""
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    defaults = (None, None, 0, 1, False, call.module is None)
    given = {
        n: call.given(place, n, default) for place, (n, default) in enumerate(zip(names, defaults, strict=True), 1)
    }
    sides = [size for size in call.in_shape[2:] if not isinstance(size, Batch)]
    if not given.pop("return_indices") or len(sides) != len(call.in_shape) - 2:
        return None
    given["stride"] = given["stride"] or given["kernel_size"]
    ceil_mode, kernel = bool(given.pop("ceil_mode")), given.pop("kernel_size")
    sizes = {name: numbers(size, len(sides)) for name, size in {"kernel": kernel, **given}.items()}
    return "max_pool_places", {"input": call.tensor(), **sizes, "ceil_mode": ceil_mode, "image": int(np.prod(sides))}


def _unpooled(call: Call) -> Found:
    """The elements at their places in a larger image of zeros."""
    if not call.shape or any(isinstance(size, Batch) for size in call.shape[1:]):
        return None
    return "unpool", {"input": call.tensor(), "index": call.argument(1, "indices"), "sizes": call.shape[1:]}


SPECIAL: dict[Any, Callable[[Call], Found]] = {
    **dict.fromkeys([torch.topk, "topk"], topk),
    **dict.fromkeys([torch.sort, "sort"], _sorted("topk")),
    **dict.fromkeys([torch.argsort, "argsort"], _sorted("argsort")),
    **dict.fromkeys([torch.kthvalue, "kthvalue"], _kth),
    **dict.fromkeys([torch.median, "median"], _median),
    **dict.fromkeys([torch.max, "max"], _extreme(True)),
    **dict.fromkeys([torch.min, "min"], _extreme(False)),
    **dict.fromkeys([F.one_hot], _one_hot),
    torch.bucketize: _bucketized(1, 0),
    torch.searchsorted: _bucketized(0, 1),
    **dict.fromkeys([torch.gather, "gather", torch.ops.aten.gather.default], _by_places("gather", "index")),
    **dict.fromkeys([torch.scatter, "scatter", torch.ops.aten.scatter.src], _by_places("scatter", "index", "src")),
    **dict.fromkeys([torch.tril, "tril"], _triangle(upper=False)),
    **dict.fromkeys([torch.triu, "triu"], _triangle(upper=True)),
    **dict.fromkeys([nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d], _pooled),
    **dict.fromkeys([F.max_pool1d_with_indices, F.max_pool2d_with_indices, F.max_pool3d_with_indices], _pooled),
    **dict.fromkeys([nn.MaxUnpool1d, nn.MaxUnpool2d, nn.MaxUnpool3d], _unpooled),
    **dict.fromkeys([F.max_unpool1d, F.max_unpool2d, F.max_unpool3d], _unpooled),
}
