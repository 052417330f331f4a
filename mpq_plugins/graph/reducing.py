"""Means, sums, maxima and minima over any axes, and of several activations: a few kernels that every runtime has.

A mean is one over the length of signals, a maximum a pooling of them, with the axes brought there by moves, which are
exact. A sum is its mean times the number of elements, a minimum the negated maximum of what is negated; negations and
factors go into the layers beside them, where there are some. Both readers build them here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from mpq_plugins.graph.constants import AFFINE, NEGATED
from mpq_plugins.graph.moving import Moving, Part, size_of
from mpq_plugins.graph.node import Layout, Node, Shape
from mpq_plugins.graph.ops import op_of


class Reducing(Moving):
    """The nodes of one call, as Moving's. layout: of the graph. Axes include the batch, which is never among them."""

    def __init__(self, name: str, layout: Layout) -> None:
        super().__init__(name)
        self.layout = layout

    def done(self, part: Part) -> list[Node]:
        """The nodes, as Moving's. What has a grid of its own is never the last one: a module of torch that is converted
        would lose those whose names begin with its own."""
        own = len(self.nodes) > 1 and any(n.name == part.name and op_of(n).grid == "own" for n in self.nodes)
        return super().done(self.reshape(part, part.shape) if own else part)

    def mean(self, x: Part, axes: Collection[int], keepdims: bool) -> Part:
        """The mean over axes, on the grid of the input."""
        shape = _reduced(x.shape, axes, keepdims)
        if _count(x, axes) == 1:
            return self.reshape(x, shape)
        if set(axes) == set(self._spatial(x.shape)):
            return self._add("global_avg_pool", (x,), shape, {"axes": tuple(sorted(axes)), "keepdims": keepdims})
        signals = self._as_signals(x, axes)
        along = self._length(signals.shape)
        shorter = _reduced(signals.shape, (along,), False)
        found = self._add("global_avg_pool", (signals,), shorter, {"axes": (along,), "keepdims": False})
        return found if shorter == shape else self.reshape(found, shape)

    def averaged(self, x: Part, kernel: Sequence[int]) -> Part:
        """The mean of each window of images or signals, channels second, that the windows divide."""
        first = len(x.shape) - len(kernel)
        sizes = [size_of(x, first + index) // side for index, side in enumerate(kernel)]
        out = (*x.shape[:first], *sizes)
        rows = (size_of(x, 1) * sizes[0], kernel[0])  # with the channels, so that there are four axes at most
        x = self.reshape(x, (x.shape[0], *rows, *(n for pair in zip(sizes[1:], kernel[1:], strict=True) for n in pair)))
        if len(kernel) == 2:
            x = self.transpose(x, (0, 1, 3, 2, 4))
        means = self.mean(x, range(len(x.shape) - len(kernel), len(x.shape)), False)
        return means if means.shape == out else self.reshape(means, out)

    def total(self, x: Part, axes: Collection[int], keepdims: bool) -> Part:
        """The sum over axes."""
        return self.scaled(self.mean(x, axes, keepdims), float(_count(x, axes)))

    def variance(self, x: Part, axes: Collection[int], keepdims: bool, correction: float = 0.0) -> Part:
        """The mean square of the distance from the mean over axes; correction: taken off the number of elements."""
        mean = self.mean(x, axes, True)
        apart = self._add("add", (x, self.negated(mean)), x.shape, {})
        found = self.mean(self.squared(apart), axes, keepdims)
        count = _count(x, axes)
        return found if not correction else self.scaled(found, count / (count - correction))

    def deviation(self, x: Part, axes: Collection[int], keepdims: bool, correction: float = 0.0) -> Part:
        """The root of the variance."""
        return self.root(self.variance(x, axes, keepdims, correction))

    def norm(self, x: Part, axes: Collection[int], keepdims: bool) -> Part:
        """The root of the sum of the squares over axes."""
        return self.root(self.total(self.squared(x), axes, keepdims))

    def squared(self, x: Part) -> Part:
        """Each element times itself."""
        return self._add("mul", (x, x), x.shape, {})

    def root(self, x: Part) -> Part:
        """The square root of each element."""
        return self._add("sqrt", (x,), x.shape, {})

    def largest(self, x: Part, axes: Collection[int], keepdims: bool) -> Part:
        """The largest element over axes."""
        shape = _reduced(x.shape, axes, keepdims)
        if _count(x, axes) == 1:
            return self.reshape(x, shape)
        spatial = self._spatial(x.shape)
        whole = set(axes) == set(spatial)
        seen = x if whole else self._as_signals(x, axes)
        along = spatial if whole else (self._length(seen.shape),)
        kernel = tuple(size_of(seen, axis) for axis in along)
        pooled = _reduced(seen.shape, along, True)
        found = self._add("max_pool", (seen,), pooled, _windows(kernel))
        return found if pooled == shape else self.reshape(found, shape)

    def smallest(self, x: Part, axes: Collection[int], keepdims: bool) -> Part:
        """The smallest element over axes."""
        return self.negated(self.largest(self.negated(x), axes, keepdims))

    def larger(self, parts: Sequence[Part]) -> Part:
        """The largest of the elements in the same places of several tensors of as many axes; sizes of one repeated."""
        shape = tuple(next((n for n in sizes if n != 1), 1) for sizes in zip(*(p.shape for p in parts), strict=True))
        whole = [self.repeat(part, _times(part.shape, shape)) for part in parts]
        axis = len(shape) if self.layout == "NCHW" else 1
        return self.largest(self.stack(whole, axis), (axis,), False)

    def smaller(self, parts: Sequence[Part]) -> Part:
        """The smallest of them."""
        return self.negated(self.larger([self.negated(part) for part in parts]))

    def scaled(self, x: Part, scale: float) -> Part:
        """The tensor times a number."""
        return self._add(AFFINE, (x,), x.shape, {**NEGATED, "scale": scale})

    def negated(self, x: Part) -> Part:
        """The tensor with the other sign."""
        return self.scaled(x, -1.0)

    def _spatial(self, shape: Shape) -> tuple[int, ...]:
        """The axes of rows and columns, or of the length; none of what is neither an image nor a signal."""
        rank = len(shape)
        if rank not in (3, 4):
            return ()
        return tuple(range(2, rank) if self.layout == "NCHW" else range(1, rank - 1))

    def _length(self, shape: Shape) -> int:
        return 2 if self.layout == "NCHW" else 1

    def _as_signals(self, x: Part, axes: Collection[int]) -> Part:
        """The tensor as signals along the axes, what is kept as their channels."""
        kept = [axis for axis in range(1, len(x.shape)) if axis not in axes]
        channels, length = math.prod(size_of(x, axis) for axis in kept), _count(x, axes)
        first = self.layout == "NCHW"
        order = (0, *kept, *sorted(axes)) if first else (0, *sorted(axes), *kept)
        moved = x if order == tuple(range(len(order))) else self.transpose(x, order)
        shape = (x.shape[0], channels, length) if first else (x.shape[0], length, channels)
        return moved if moved.shape == shape else self.reshape(moved, shape)


def _windows(kernel: tuple[int, ...]) -> dict[str, object]:
    """The attrs of a pooling whose one window is the whole input."""
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    sides = ((0, 0),) * len(kernel)
    return {"kernel": kernel, "stride": kernel, "padding": sides, "overhang": zeros, "dilation": ones}


def _reduced(shape: Shape, axes: Collection[int], keepdims: bool) -> Shape:
    kept = (1 if axis in axes else size for axis, size in enumerate(shape) if keepdims or axis not in axes)
    return tuple(kept)


def _times(shape: Shape, wanted: Shape) -> dict[int, int]:
    """How often each axis is repeated."""
    found: dict[int, int] = {}
    for axis, (size, all_of_it) in enumerate(zip(shape, wanted, strict=True)):
        if size != all_of_it:
            assert size == 1, "only sizes of one are repeated"
            assert isinstance(all_of_it, int), "samples of a batch stay as they are"
            found[axis] = all_of_it
    return found


def _count(x: Part, axes: Collection[int]) -> int:
    return math.prod(size_of(x, axis) for axis in axes)
