"""Norms, softmaxes and quotients of activations: integer arithmetic where there are no floats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mpq_plugins.graph.masks import HIDES, choice, parted
from mpq_plugins.graph.moving import Part, size_of
from mpq_plugins.graph.node import Batch, Node
from mpq_plugins.graph.record_writing import Write, Writing, has_samples, is_number


def masked(made: Writing, parts: list[Part], attrs: Mapping[str, Any]) -> list[Node] | None:
    """A softmax with a mask, which is not float yet; None for a mask that holds NaN or infinity."""
    if parted(attrs["mask"]) is None:
        return None
    return made.done(made.softmax(parts[0], int(attrs["axis"]), float(attrs["scale"]), attrs["mask"]))


def where(made: Writing, parts: list[Part]) -> list[Node] | None:
    """Products with zeros and ones, and their sum; None for numbers that would take all codes."""
    found, shape = choice(made.node), made.node.shape
    if found is None or parts[found.index].shape != shape:
        return None
    keep, fill = (
        np.asarray(v, np.float64).reshape((1,) * (len(shape) - v.ndim) + v.shape) for v in (found.keep, found.fill)
    )
    x = made.times(parts[found.index], keep)
    if found.other is not None:
        if parts[found.other].shape != shape:
            return None
        return made.done(made.add(x, made.times(parts[found.other], 1.0 - keep), shape))
    elsewhere = np.where(keep == 1, 0.0, fill)
    if not np.all(np.isfinite(elsewhere)) or np.any(elsewhere <= HIDES):
        return None
    return made.done(made.plus(x, elsewhere) if np.any(elsewhere) else x)


def _quotient(made: Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    """Of two activations on grids: a product with a table's reciprocals."""
    if set(given) != {"input", "other"} or not made.integers:
        return None
    a, b = (parts[given[key].index] for key in ("input", "other"))
    if len(a.shape) != len(b.shape):
        return None
    inverse = made.reciprocal(b)
    return made.done(made.multiplied(a, inverse))


def _unit(made: Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    """An activation over the root of the sum of its squares along an axis."""
    x, axis = parts[given["input"].index], given.get("axis")
    if given.get("power", 2) != 2 or not isinstance(axis, int) or isinstance(x.shape[axis], Batch):
        return None
    count, least = size_of(x, axis), float(given.get("epsilon", 1e-12))
    y = made.normalized(x, (axis,), least**2 / count, centered=False)
    return made.done(made.scaled(y, 1 / math.sqrt(count)))


def _softmax(made: Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    x = parts[given["input"].index]
    axis = given.get("axis")
    if set(given) != {"input", "axis"} or not isinstance(axis, int) or isinstance(x.shape[axis], Batch):
        return None
    return made.done(made.softmax(x, axis % len(x.shape)))


def _layer_norm(made: Writing, parts: list[Part], given: Mapping[str, Any], centered: bool = True) -> list[Node] | None:
    x = parts[given["input"].index]
    rank = len(x.shape)
    first = int(given["axis"]) % rank
    weight, bias = (np.asarray(given.get(key, plain)) for key, plain in (("weight", 1.0), ("bias", 0.0)))
    if first == 0 or has_samples(x.shape[first:]):
        return None
    y = made.normalized(x, tuple(range(first, rank)), given["epsilon"], centered)
    if first == rank - 1 or (is_number(weight) and is_number(bias)):
        return made.done(made.affine(y, weight, bias, rank - 1))
    sizes = tuple(size_of(x, axis) for axis in range(first, rank))
    scale, offset = (np.broadcast_to(each, sizes).reshape((1,) * first + sizes) for each in (weight, bias))
    y = y if np.all(scale == 1) else made.times(y, scale)
    return made.done(made.plus(y, offset) if np.any(offset) else y)


def _rms_norm(made: Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    return _layer_norm(made, parts, given, centered=False)


def _group_norm(made: Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    """The channels of a group and their places are brought to one axis; channels_last: where they are."""
    x = parts[given["input"].index]
    rank, last = len(x.shape), "channels_last" in given
    if last == (made.layout == "NCHW") or rank < 2 or has_samples(x.shape[1:]):
        return None
    axis = rank - 1 if last else 1
    samples, channels = x.shape[0], size_of(x, axis)
    groups = int(given.get("groups", channels))
    places = math.prod(size_of(x, place) for place in range(1, rank)) // channels
    flat = (samples, groups, channels // groups * places)
    if axis == 1 or places == 1:
        y = made.normalized(made.reshape(x, flat), (2,), given["epsilon"])
    else:
        apart = made.reshape(x, (samples, places, groups, channels // groups))
        together = made.transpose(apart, (0, 2, 1, 3))
        y = made.normalized(made.reshape(together, flat), (2,), given["epsilon"])
        y = made.transpose(made.reshape(y, together.shape), (0, 2, 1, 3))
    return made.done(made.affine(made.reshape(y, x.shape), given["weight"], given["bias"], axis))


ROWS: Mapping[str, Write] = {
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _group_norm,
    "normalize": _unit,
    "div": _quotient,
}
"""Functions that are integer arithmetic where there are no floats."""
