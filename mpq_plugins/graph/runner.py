"""Runner: what only a framework can do for a graph, namely compute on its tensors, with gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Ops
from mpq_plugins.graph.node import Layout

Sides = tuple[tuple[int, int], ...]
"""Before and after, for each axis of an image or signal; negative ones cut off."""
Sizes = tuple[int, ...]
"""One number for each axis of an image or signal."""
Tensor = Any
Gradients = Callable[[Sequence[NDArray[np.float64]], Callable[[int, Tensor], None]], None]
"""Of ``sum(output * direction)``, from the directions: the function beside them is given the place of each wanted
tensor that a gradient flows to, and the gradient, as it appears and where it lies."""
Precision = Literal["float32", "float64"]


class Runner(Ops, Protocol):
    """The array functions that ops are written in, for one framework and one layout of activations.

    Images and signals lie as the graph's layout says; weights as Node does, whatever the framework.
    Python's operators work between tensors of one type, and between a tensor and a number.
    """

    layout: Layout

    def tensor(self, array: NDArray[Any], precision: Precision | None = None) -> Tensor:
        """A NumPy array as a tensor that computes on the graph's device; of its own type, or converted."""

    def shared(self, array: NDArray[Any]) -> Tensor:
        """A NumPy array as a float32 tensor that nobody writes to: it may lie in the array's own memory."""

    def numpy(self, x: Tensor) -> NDArray[Any]:
        """A tensor as a NumPy array, detached."""

    def to_precision(self, x: Tensor, precision: Precision) -> Tensor: ...
    def precision_of(self, x: Tensor) -> Precision:
        """ "float64" of a tensor of that type; "float32" of any other."""

    def nearest(self, x: Tensor) -> Tensor:
        """The nearest whole number, half to even, without a gradient of its own making."""

    def atan(self, x: Tensor) -> Tensor: ...
    def erf(self, x: Tensor) -> Tensor: ...
    def gather(self, table: Tensor, index: Tensor) -> Tensor:
        """``table[index]`` of a table of one axis; index: whole numbers as floats."""

    def convolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sizes,
        padding: Sides,
        dilation: Sizes,
        groups: int,
    ) -> Tensor:
        """A convolution of images or signals; weight [out, in / groups, (rows,) columns]."""

    def deconvolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sizes,
        cropping: Sides,
        dilation: Sizes,
        groups: int,
    ) -> Tensor:
        """A transposed convolution, its whole output cropped by so much (negative: padded); weight as of convolve."""

    def matmul(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``x @ weight.T + bias`` on the last axis; weight [out, in]."""

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """``a @ b`` on the last two axes; the others are the same ones of both."""

    def largest(self, x: Tensor, axis: int) -> Tensor:
        """The largest element along an axis, which is kept."""

    def max_pool(self, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sides, dilation: Sizes) -> Tensor:
        """The largest element of each window; what lies outside is left out."""

    def window_sum(self, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sides) -> Tensor:
        """The sum of each window, zeros outside."""

    def sum_over(self, x: Tensor, axes: Sizes, keepdims: bool) -> Tensor: ...
    def pad(self, x: Tensor, pads: Sides) -> Tensor:
        """Zeros around a tensor; pads for every axis, batch included."""

    def transpose(self, x: Tensor, order: Sizes) -> Tensor: ...
    def slice(self, x: Tensor, slices: tuple[slice, ...]) -> Tensor:
        """The elements of a slice of each axis, batch included; steps may be below zero."""

    def upsample(self, x: Tensor, times: Sizes) -> Tensor:
        """Each element so many times along each axis, batch included."""

    def take(self, x: Tensor, indices: Sequence[int]) -> Tensor:
        """The entries of the first axis with these indices, in their order."""

    @property
    def floats(self) -> Mapping[str, Any]:
        """The "float" nodes, by name, that ``float_part`` knows: it goes before what a record says of the op."""

    def float_part(self, name: str, inputs: Sequence[Tensor]) -> Tensor:
        """The output of the "float" node of this name, as the framework's own function of the model computes it."""

    def recording(self) -> AbstractContextManager[Any]:
        """What happens inside can be differentiated; ``gradients`` must be called inside too."""

    def watched(self, x: Tensor) -> Tensor:
        """The tensor, as one that gradients are wanted of."""

    def differentiable(self, x: Tensor) -> bool:
        """Whether a tensor could have gradients: floats, and in torch what comes from a watched tensor."""

    def energy(self, x: Tensor) -> float:
        """The sum of the squares of a tensor's elements, computed where it lies."""

    def gradients(self, outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> AbstractContextManager[Gradients]:
        """What takes gradients of these outputs with respect to each wanted tensor, inside one ``recording()``.

        It may be called several times, and in several threads at once where ``differentiates_side_by_side``.
        """

    @property
    def differentiates_side_by_side(self) -> bool:
        """Whether what ``gradients`` gives may be called in several threads at once."""

    @property
    def threads(self) -> int:
        """Threads that the user lets the framework take; as many pieces of work go side by side."""

    def one_thread(self) -> AbstractContextManager[Any]:
        """Inside, operations of this thread, and of threads that begin here, take one thread each."""
