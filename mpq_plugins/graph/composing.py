"""Functions with constant weights that are several layers: interpolation to any size, and PReLU.

Linear interpolation, bicubic and by areas too, is a weighted sum along each spatial axis. By whole factors it is each
element repeated and then a depthwise convolution, whose weights are exact on grids of few bits where the factors are
powers of two; to other sizes it is one dense layer along each axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.lonely_norms import at_one_position
from mpq_plugins.graph.moving import Part, size_of
from mpq_plugins.graph.node import Array
from mpq_plugins.graph.reducing import Reducing

T = TypeVar("T")
NEAR = 1e-5
"""How far weights that frameworks compute in float32 lie from exact ones."""


class Composing(Reducing):
    """The nodes of one call, as Reducing's."""

    def resized(self, x: Part, weights: Mapping[int, Array]) -> Part:
        """Images or signals at another size. weights: by spatial axis, [out, in]; each row sums to one."""
        if len(x.shape) == 3:
            return self._as_signal(self.resized(self._as_image(x), self._of_image(weights, np.eye(1))))
        factors = {axis: whole_factor(matrix) for axis, matrix in weights.items()}
        if all(factors.values()):
            return self._filtered(x, factors)
        for axis, matrix in weights.items():
            if factors[axis] != 1:
                x = self._dense_along(x, axis, matrix)
        return x

    def repeated(self, x: Part, times: Mapping[int, int]) -> Part:
        """Images or signals with each element so many times. times: by spatial axis."""
        if len(x.shape) == 3:
            return self._as_signal(self.repeated(self._as_image(x), self._of_image(times, 1)))
        each = tuple(times.get(axis, 1) for axis in range(len(x.shape)))
        shape = tuple(n if each[axis] == 1 else size_of(x, axis) * each[axis] for axis, n in enumerate(x.shape))
        return x if shape == x.shape else self._add("upsample", (x,), shape, {"times": each})

    def together(self, x: Part, kernel: Sequence[int], out: Sequence[int], geometry: Mapping[str, Any]) -> Part:
        """Windows put back where they come from, what overlaps added up: a transposed convolution of ones.

        x: [samples, channels * window, places of windows], channels second. out: rows and columns of the result.
        geometry: stride, padding (sides) and dilation of the windows.
        """
        window, wide, places = int(np.prod(kernel)), [], []
        along = (geometry[key] for key in ("stride", "padding", "dilation"))
        for size, k, stride, (before, after), dilation in zip(out, kernel, *along, strict=True):
            reach = dilation * (k - 1) + 1
            places.append((size + before + after - reach) // stride + 1)
            wide.append((before, (places[-1] - 1) * stride + reach - before - size))
        channels = size_of(x, 1) // window
        weight = np.broadcast_to(np.eye(window).reshape(1, window, *kernel), (channels, window, *kernel)).copy()
        attrs = {**geometry, "padding": tuple(wide), "groups": channels}
        images = self.reshape(x, (x.shape[0], size_of(x, 1), *places))
        return self._add("conv_transpose2d", (images,), (x.shape[0], channels, *out), attrs, weight=weight)

    def prelu(self, x: Part, slopes: Array) -> Part:
        """x from zero up, and x times the slope of its channel below.

        slopes: one for each channel, or for each element of the last axis of what is neither image nor signal.
        """
        if np.all(slopes == slopes.flat[0]):
            return self._add("leaky_relu", (x,), x.shape, {"slope": float(slopes.flat[0])})
        axis = 1 if self.layout == "NCHW" else len(x.shape) - 1
        above = self._add("clamp", (x,), x.shape, {}, low=0.0)
        below = self._add("clamp", (x,), x.shape, {}, high=0.0)
        attrs = {"scale": np.asarray(slopes, np.float64).ravel(), "offset": 0.0, "axis": axis}
        return self._add("add", (above, self._add(AFFINE, (below,), x.shape, attrs)), x.shape, {})

    def _as_image(self, x: Part) -> Part:
        """A signal as an image of one row."""
        rows = 2 if self.layout == "NCHW" else 1
        return self.reshape(x, (*x.shape[:rows], 1, *x.shape[rows:]))

    def _as_signal(self, x: Part) -> Part:
        rows = 2 if self.layout == "NCHW" else 1
        return self.reshape(x, (*x.shape[:rows], *x.shape[rows + 1 :]))

    def _of_image(self, along: Mapping[int, T], rows: T) -> dict[int, T]:
        """What is said of the one axis of a signal, as said of an image of one row."""
        (columns,) = along.values()
        first = 2 if self.layout == "NCHW" else 1
        return {first: rows, first + 1: columns}

    def _filtered(self, x: Part, factors: Mapping[int, int]) -> Part:
        """By whole factors: repeated, and averaged along triangles; what lies outside is as the border."""
        grown = {axis: times for axis, times in factors.items() if times > 1}
        if not grown:
            return x
        sizes = {axis: size_of(x, axis) for axis in grown}
        x = self.bordered(x, dict.fromkeys(grown, (1, 1)), "replicate")
        x = self.repeated(x, grown)
        kept = {axis: range(by - by // 2, by * (sizes[axis] + 1) + by // 2) for axis, by in grown.items()}
        x = self.slice(x, kept)
        kernel = np.ones(())
        for by in factors.values():
            kernel = kernel[..., None] * triangle(by)
        channels = size_of(x, 1 if self.layout == "NCHW" else len(x.shape) - 1)
        weight = np.broadcast_to(kernel, (channels, 1, *kernel.shape)).copy()
        out = tuple(n if axis not in grown else grown[axis] * sizes[axis] for axis, n in enumerate(x.shape))
        attrs = {**at_one_position(kernel.ndim), "groups": channels}
        return self._add(f"depthwise_conv{kernel.ndim}d", (x,), out, attrs, weight=weight)

    def _dense_along(self, x: Part, axis: int, matrix: Array) -> Part:
        """The sums of the elements along an axis, weighted by the rows of a matrix."""
        last = len(x.shape) - 1
        order = (*(other for other in range(last + 1) if other != axis), axis)
        x = x if axis == last else self.transpose(x, order)
        x = self._add("linear", (x,), (*x.shape[:-1], len(matrix)), {}, weight=np.asarray(matrix, np.float64))
        back = tuple(order.index(other) for other in range(last + 1))
        return x if axis == last else self.transpose(x, back)


def triangle(factor: int) -> Array:
    """The weights that make linear interpolation of elements repeated so often.

    >>> triangle(2).tolist(), triangle(3).tolist()
    ([0.25, 0.5, 0.25], [0.3333333333333333, 0.3333333333333333, 0.3333333333333333])
    """
    weights = np.full(factor + 1 if factor % 2 == 0 else factor, 1.0 / factor)
    if factor % 2 == 0:
        weights[[0, -1]] /= 2
    return weights


def interpolation(size: int, factor: int) -> Array:
    """The weights of linear interpolation by a whole factor, [out, in], with pixels as squares (half-pixel centers).

    >>> interpolation(2, 2).tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    places = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(size)[None])))


def whole_factor(matrix: Array) -> int:
    """The factor by which weights [out, in] interpolate linearly, half-pixel centers; 0 for other weights."""
    out, size = matrix.shape
    if out % size or not np.allclose(matrix, interpolation(size, out // size), rtol=0, atol=NEAR):
        return 0
    return int(out // size)
