"""The nodes that a described function becomes, built up from a few kernels that every runtime has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.graph.constants import ADD, AFFINE, MUL, broadcast, with_constant
from mpq_plugins.graph.masks import SOFTMAX, parted
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import CONSTANT, Array, Batch, Layout, Node, Shape, undescribed
from mpq_plugins.graph.reducing import Reducing

MATMUL, NORMALIZE = "matmul", "normalize"
STAYS_FLOAT = "float"
"""The attr of a norm or softmax that was written as a float part, whatever the model is read for."""


def as_float_part(node: Node, reason: str = "") -> Node:
    """A norm, softmax or product that stays float. reason: why; by default, there is no kernel."""
    was = replace(node, attrs={**node.attrs, STAYS_FLOAT: True})
    return undescribed(was, reason or f"no integer kernel for {node.op}")


class Writing(Reducing):
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

    def masked_softmax(self, x: Part, mask: Part, attrs: Mapping[str, Any]) -> Part:
        """A softmax under a mask that the model computes, as a float part. attrs: of its record."""
        found = self._add(SOFTMAX, (x, mask), x.shape, attrs)
        self.nodes[-1] = as_float_part(self.nodes[-1])
        return found

    def softmax(self, x: Part, axis: int, scale: float = 1.0, mask: Any = None) -> Part:
        """A softmax on grids, where a mask only hides and what it adds is added first; or a float part."""
        if mask is not None and self.integers:
            added, mask = parted(mask) or (None, mask)
            x = x if added is None else self.plus(x, added / scale)
        found = self._add(
            SOFTMAX, (x,), x.shape, {"axis": axis, "scale": scale} | ({} if mask is None else {"mask": mask})
        )
        if not self.integers:
            self.nodes[-1] = as_float_part(self.nodes[-1])
        return found

    def affine(self, x: Part, weight: Any, bias: Any, axis: int) -> Part:
        """weight * x + bias, numbers or along an axis; x where that is the same."""
        scale, offset = factor(np.asarray(weight)), factor(np.asarray(bias))
        if isinstance(scale, float) and scale == 1 and not np.any(offset):
            return x
        along = {} if isinstance(scale, float) and isinstance(offset, float) else {"axis": axis}
        return self._add(AFFINE, (x,), x.shape, {"scale": scale, "offset": offset, **along})

    def plus(self, x: Part, values: Array) -> Part:
        """x and a constant of as many axes, the same for every sample."""
        attrs = with_constant(ADD, values, x.shape, x.shape, self.layout)
        if attrs is not None:
            return self._add(AFFINE, (x,), x.shape, attrs)
        return self._add(ADD, (x, self.constant(values)), x.shape, {})

    def times(self, x: Part, values: Array) -> Part:
        """x times a constant of as many axes, the same for every sample."""
        attrs = with_constant(MUL, values, x.shape, x.shape, self.layout)
        if attrs is not None:
            return self._add(AFFINE, (x,), x.shape, attrs)
        return self._add(MUL, (x, self.constant(values)), x.shape, {})

    def constant(self, values: Array) -> Part:
        """A constant of one sample, with a grid of its own."""
        return self._add(CONSTANT, (), (Batch(), *values.shape[1:]), {"value": np.asarray(values, np.float32)})

    def reordered(self, x: Part, order: Sequence[int], shape: Shape) -> Part:
        """The axes in another order, and joined or taken apart."""
        x = x if list(order) == sorted(order) else self.transpose(x, order)
        return x if x.shape == shape else self.reshape(x, shape)

    def reciprocal(self, x: Part) -> Part:
        """One over each element."""
        return self._add("reciprocal", (x,), x.shape, {})

    def multiplied(self, a: Part, b: Part) -> Part:
        """The product of tensors of as many axes, whose sizes of one are repeated."""
        return self._add(MUL, (a, b), broadcast((a.shape, b.shape)), {})

    def turned(self, x: Part) -> Part:
        """The last two axes swapped."""
        rank = len(x.shape)
        return self.transpose(x, (*range(rank - 2), rank - 1, rank - 2))


Write = Callable[[Writing, list[Part], Mapping[str, Any]], list[Node] | None]
"""The nodes of a function of some tensors and arguments; None where it has no such form."""


def has_samples(shape: Shape) -> bool:
    """Whether one of the axes is of samples."""
    return any(isinstance(size, Batch) for size in shape)


def factor(value: Any) -> float | Array:
    """A number, or one for each entry of an axis."""
    return float(value.flat[0]) if is_number(value) else np.asarray(value, np.float64).ravel()


def is_number(value: Any) -> bool:
    """Whether all of an array is one number."""
    return bool(np.all(value == value.flat[0]))
