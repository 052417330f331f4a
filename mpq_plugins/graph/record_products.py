"""Matrix products of two activations, however they are written, and the attention that they make: as records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mpq_plugins.graph.equations import parsed
from mpq_plugins.graph.masks import added_to_scores, parted
from mpq_plugins.graph.moving import Part, size_of
from mpq_plugins.graph.node import Batch, Node, Operand, Shape
from mpq_plugins.graph.record_writing import MATMUL, Write, Writing, has_samples


def _matmul(made: Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    if set(given) - {"input", "other", "turn_input", "turn_other"} or len(given.keys() & {"input", "other"}) < 2:
        return None
    a, b = (parts[given[key].index] for key in ("input", "other"))
    a = made.transpose(a, given["turn_input"]) if given.get("turn_input") else a
    b = made.transpose(b, given["turn_other"]) if given.get("turn_other") else b
    alike = _alike(made, a, b)
    if alike is None or len(alike[0].shape) < 3 or alike[0].shape[-1] != alike[1].shape[-2] or not _inner(*alike):
        return None
    return made.done(made.product(*alike))


def _alike(made: Writing, a: Part, b: Part) -> tuple[Part, Part] | None:
    """Two tensors with the same axes before the last two: those of one element in one of them are repeated.

    None where the samples of one have no counterpart.
    """
    rank = max(len(a.shape), len(b.shape))
    wide = [(1,) * (rank - len(part.shape)) + part.shape for part in (a, b)]
    for one, other in zip(*(shape[:-2] for shape in wide), strict=True):
        if one != other and (Batch in (type(one), type(other)) or 1 not in (one, other)):
            return None
    found = []
    for part, own, others in zip((a, b), wide, reversed(wide), strict=True):
        part = part if own == part.shape else made.reshape(part, own)
        axes = range(rank - 2)
        found.append(made.repeat(part, {axis: _size(others, axis) for axis in axes if own[axis] == 1 != others[axis]}))
    return found[0], found[1]


def _size(shape: Shape, axis: int) -> int:
    return size_of(Part("", shape), axis)


def _einsum(made: Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    """Of two activations, as matrix products: the axes of both, then what each has alone, and what is summed over."""
    if set(given) != {"equation", "input", "other"}:
        return None
    a, b = (parts[given[key].index] for key in ("input", "other"))
    letters = parsed(str(given["equation"]), len(a.shape), len(b.shape))
    if letters is None:
        return None
    of_a, of_b, out = letters
    sizes = {**dict(zip(of_a, a.shape, strict=True)), **dict(zip(of_b, b.shape, strict=True))}
    both = [x for x in out if x in of_a and x in of_b]
    alone = [[x for x in out if x in own and x not in both] for own in (of_a, of_b)]
    summed = [x for x in of_a if x in of_b and x not in out]
    samples = [x for x in sizes if isinstance(sizes[x], Batch)]
    whole = all(a.shape[of_a.index(x)] == b.shape[of_b.index(x)] for x in (*both, *summed))
    if not whole or len(samples) != 1 or samples[0] not in both:
        return None
    both = [*samples, *(x for x in both if x not in samples)]
    head = (sizes[samples[0]], *_joined(sizes, both[1:]))
    rows, inner, columns = (_number(sizes, each) for each in (alone[0], summed, alone[1]))
    left = made.reordered(a, [of_a.index(x) for x in (*both, *alone[0], *summed)], (*head, rows, inner))
    right = made.reordered(b, [of_b.index(x) for x in (*both, *summed, *alone[1])], (*head, inner, columns))
    found = made.product(left, right)
    order = [*both, *alone[0], *alone[1]]
    found = made.reshape(found, tuple(sizes[x] for x in order))
    return made.done(made.reordered(found, [order.index(x) for x in out], tuple(sizes[x] for x in out)))


def _number(sizes: Mapping[str, int | Batch], letters: Sequence[str]) -> int:
    return math.prod(size for x in letters if not isinstance(size := sizes[x], Batch))


def _joined(sizes: Mapping[str, int | Batch], letters: Sequence[str]) -> tuple[int, ...]:
    return (_number(sizes, letters),) if letters else ()


def _inner(*parts: Part) -> bool:
    """Whether the last two axes have nothing of the batch."""
    return not any(has_samples(part.shape[-2:]) for part in parts)


def _attention(made: Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    q, k, v = (parts[given[key].index] for key in ("input", "key", "value"))
    if given.get("shared"):
        if not len(q.shape) == len(k.shape) == len(v.shape) > 3:
            return None
        k, v = (_for_heads_of(made, x, size_of(q, len(q.shape) - 3)) for x in (k, v))
    y = _attended(made, (q, k, v), given, _mask(parts, given))
    return None if y is None else made.done(y)


def _for_heads_of(made: Writing, x: Part, count: int) -> Part:
    """Keys or values of a few heads, each for as many of the queries' heads as there are, one behind another."""
    axis = len(x.shape) - 3
    heads = size_of(x, axis)
    return x if heads == count else made.repeat_each(x, axis, count // heads)


def _heads_attention(made: Writing, parts: list[Part], given: Mapping[str, Any]) -> list[Node] | None:
    heads, first = int(given["heads"]), bool(given["batch_first"])
    split = []
    for key in ("input", "key", "value"):
        x = parts[given[key].index]
        if len(x.shape) != 3 or isinstance(x.shape[2], Batch):
            return None
        apart = made.reshape(x, (*x.shape[:2], heads, size_of(x, 2) // heads))
        split.append(made.transpose(apart, (0, 2, 1, 3) if first else (1, 2, 0, 3)))
    q, k, v = split
    y = _attended(made, (q, k, v), given, _mask(parts, given))
    if y is None:
        return None
    y = made.transpose(y, (0, 2, 1, 3) if first else (2, 0, 1, 3))
    return made.done(made.reshape(y, (*y.shape[:2], heads * size_of(y, 3))))


def _mask(parts: list[Part], given: Mapping[str, Any]) -> Any:
    """The mask of an attention: a Part of one that the model computes, an array, or None."""
    mask = given.get("mask")
    return parts[mask.index] if isinstance(mask, Operand) else mask


def _attended(made: Writing, parts: tuple[Part, Part, Part], given: Mapping[str, Any], mask: Any) -> Part | None:
    """softmax(scale * q k^T + mask) v; in integers without a mask that the model computes."""
    q, k, v = parts
    scale = float(given["scale"])
    if not _inner(q, k, v) or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        return None
    alike = _alike(made, q, made.turned(k))
    if alike is None:
        return None
    products = made.product(*alike)
    axis = len(products.shape) - 1
    if isinstance(mask, Part):
        if made.integers or len(mask.shape) > len(products.shape):
            return None
        attrs = {"axis": axis, "scale": scale, **{key: given[key] for key in ("shows", "hides") if key in given}}
        shares = made.masked_softmax(products, mask, attrs)
    else:
        if mask is not None:
            mask = added_to_scores(mask, len(products.shape))
            if mask.shape[0] != 1 or (made.integers and parted(mask) is None):
                return None
        shares = made.softmax(products, axis, scale, mask)
    alike = _alike(made, shares, v)
    return None if alike is None else made.product(*alike)


PRODUCTS: Mapping[str, Write] = {
    MATMUL: _matmul,
    "einsum": _einsum,
    "attention": _attention,
    "heads_attention": _heads_attention,
}
