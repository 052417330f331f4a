"""Averages and maxima over windows of several sizes, as poolings of windows of one size.

What adaptive poolings to sizes that do not divide have, and averages that do not count their padding. Along each axis
the windows are runs of one size and one stride, but for a few at the border; each pair of runs is one pooling of a part
of the image, and the parts are put together again. Both readers build them here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpq_plugins.graph.composing import Composing
from mpq_plugins.graph.lonely_norms import at_one_position
from mpq_plugins.graph.moving import Part, size_of
from mpq_plugins.graph.node import Array, Shape

Window = tuple[int, int]
"""First element, and the one behind the last."""
Exact = Callable[[tuple[int, ...]], bool]
"""Whether the runtimes average windows of these sides by one rule."""
MOST = 25
"""So many poolings of parts at most; beyond, an average is one dense layer along each axis."""


@dataclass(frozen=True)
class Run:
    """Neighbouring windows of one size, one stride apart."""

    first: int
    size: int
    stride: int
    count: int

    @property
    def elements(self) -> range:
        """All that the windows see."""
        return range(self.first, self.first + (self.count - 1) * self.stride + self.size)


def runs(windows: Sequence[Window]) -> list[Run]:
    """The windows along an axis, as few runs.

    >>> [(run.first, run.size, run.stride, run.count) for run in runs([(0, 2), (0, 3), (1, 4), (2, 5), (3, 5)])]
    [(0, 2, 1, 1), (0, 3, 1, 3), (3, 2, 1, 1)]
    """
    found: list[Run] = []
    for start, stop in windows:
        last = found[-1] if found else None
        if last is not None and stop - start == last.size:
            step = start - (last.first + (last.count - 1) * last.stride)
            if step > 0 and (last.count == 1 or step == last.stride):
                found[-1] = Run(last.first, last.size, step, last.count + 1)
                continue
        found.append(Run(start, stop - start, 1, 1))
    return found


def adaptive(size: int, out: int) -> list[Window]:
    """The windows of adaptive pooling along one axis, as torch has them.

    >>> adaptive(5, 3)
    [(0, 2), (1, 4), (3, 5)]
    """
    return [(index * size // out, -(-(index + 1) * size // out)) for index in range(out)]


def clipped(size: int, kernel: int, stride: int, before: int, out: int) -> list[Window]:
    """The windows of a padded pooling along one axis without what lies in the padding.

    >>> clipped(4, 3, 1, 1, 4)
    [(0, 2), (0, 3), (1, 4), (2, 4)]
    """
    starts = [index * stride - before for index in range(out)]
    return [(max(start, 0), min(start + kernel, size)) for start in starts]


class Pooling(Composing):
    """The nodes of one call, as Composing's. Spatial axes only, channels and batch stay as they are."""

    def averages(self, x: Part, along: Mapping[int, Sequence[Window]], exact: Exact) -> Part:
        """The mean of every window. along: the windows of each spatial axis, all of them, in their order."""
        parts = {axis: runs(windows) for axis, windows in along.items()}
        if np.prod([len(each) for each in parts.values()]) > MOST:
            return self.resized(x, {axis: shares(size_of(x, axis), windows) for axis, windows in along.items()})
        return self._together(x, parts, lambda seen, chosen: self._average(seen, chosen, exact))

    def largest_of(self, x: Part, along: Mapping[int, Sequence[Window]]) -> Part:
        """The largest element of every window."""
        for axis, windows in along.items():
            x = self._together(x, {axis: runs(windows)}, self._largest)
        return x

    def averaged_by_layer(self, x: Part, kernel: Sequence[int], stride: Sequence[int]) -> Part:
        """The mean of each window as a layer with a weight for each channel, without padding."""
        channel = 1 if self.layout == "NCHW" else len(x.shape) - 1
        channels = size_of(x, channel)
        weight = np.full((channels, 1, *kernel), 1.0 / np.prod(kernel))
        attrs = {**at_one_position(len(kernel)), "stride": tuple(stride), "groups": channels}
        shape = self._pooled_shape(x, dict(zip(self._spatial(x.shape), zip(kernel, stride, strict=True), strict=True)))
        return self._add(f"depthwise_conv{len(kernel)}d", (x,), shape, attrs, weight=weight)

    def _together(
        self, x: Part, parts: Mapping[int, Sequence[Run]], pooled: Callable[[Part, Mapping[int, Run]], Part]
    ) -> Part:
        """Each part pooled by itself, one behind another along every axis."""

        def along(axes: Sequence[int], chosen: Mapping[int, Run]) -> Part:
            if not axes:
                return pooled(self.slice(x, {axis: run.elements for axis, run in chosen.items()}), chosen)
            axis, *rest = axes
            return self.concat([along(rest, {**chosen, axis: run}) for run in parts[axis]], axis)

        return along(tuple(parts), {})

    def _average(self, x: Part, chosen: Mapping[int, Run], exact: Exact) -> Part:
        if all(run.count == 1 for run in chosen.values()):
            return self.mean(x, tuple(chosen), True)
        kernel, stride = (tuple(getattr(run, word) for run in chosen.values()) for word in ("size", "stride"))
        if set(kernel) == {1}:
            return self.slice(x, {axis: range(0, size_of(x, axis), run.stride) for axis, run in chosen.items()})
        if not exact(kernel):
            return self.averaged_by_layer(x, kernel, stride)
        shape = self._pooled_shape(x, {axis: (run.size, run.stride) for axis, run in chosen.items()})
        sides = ((0, 0),) * len(kernel)
        attrs = {"kernel": kernel, "stride": stride, "padding": sides, "overhang": (0,) * len(kernel)}
        return self._add("avg_pool", (x,), shape, {**attrs, "counts_padding": True})

    def _largest(self, x: Part, chosen: Mapping[int, Run]) -> Part:
        ((axis, run),) = chosen.items()
        if run.size == 1:
            return self.slice(x, {axis: range(0, size_of(x, axis), run.stride)})
        each = {other: (run.size, run.stride) if other == axis else (1, 1) for other in self._spatial(x.shape)}
        kernel, stride = (tuple(pair[index] for pair in each.values()) for index in (0, 1))
        attrs = {
            **{"kernel": kernel, "stride": stride, "padding": ((0, 0),) * len(kernel)},
            **{"overhang": (0,) * len(kernel), "dilation": (1,) * len(kernel)},
        }
        return self._add("max_pool", (x,), self._pooled_shape(x, each), attrs)

    @staticmethod
    def _pooled_shape(x: Part, windows: Mapping[int, tuple[int, int]]) -> Shape:
        """windows: kernel and stride by axis."""
        sizes = list(x.shape)
        for axis, (kernel, stride) in windows.items():
            sizes[axis] = (size_of(x, axis) - kernel) // stride + 1
        return tuple(sizes)


def shares(size: int, windows: Sequence[Window]) -> Array:
    """The weight of each element of an axis in the mean of each window, [out, in].

    >>> shares(3, [(0, 2), (1, 3)]).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    found = np.zeros((len(windows), size))
    for row, (start, stop) in zip(found, windows, strict=True):
        row[start:stop] = 1.0 / (stop - start)
    return found
