"""Ops: the few array functions that a trainable method may use.

A method is written once, over these functions and Python's operators (+ - * / ** < <= > >= on arrays),
and never sees torch or TensorFlow. mpq_torch.array_ops and mpq_tfmot.array_ops implement them with gradients, and
array_ops.reference does in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

STRAIGHT_THROUGH = "straight_through"
"""The rounding whose gradient is one."""
DELTA = 5e-3
"""Strength of a surrogate; the paper's."""
Array = Any
"""An array of the framework at hand: numpy.ndarray, torch.Tensor or tf.Tensor."""


class Elementwise(Protocol):
    """The functions of one element that rounding gradients are made of."""

    def atanh(self, x: Array) -> Array: ...
    def abs(self, x: Array) -> Array: ...
    def sign(self, x: Array) -> Array: ...
    def sin(self, x: Array) -> Array: ...
    def tanh(self, x: Array) -> Array: ...
    def uniform_like(self, x: Array) -> Array:
        """Uniform draws from [0, 1), of x's shape; no gradient."""

    def normal_like(self, x: Array) -> Array:
        """Standard normal draws, of x's shape; no gradient."""


class Ops(Elementwise, Protocol):
    """Array functions with gradients. ``axis`` None means all axes; arrays are floats unless said."""

    def array(self, values: Any, like: Array) -> Array:
        """A constant with the element type (and device) of ``like``."""

    def integers(self, values: Any, like: Array) -> Array:
        """Constant whole numbers of 64 bits, on the device of ``like``."""

    def exp(self, x: Array) -> Array: ...
    def log(self, x: Array) -> Array: ...
    def log2(self, x: Array) -> Array: ...
    def exp2(self, x: Array) -> Array:
        """``2 ** x``; exact where x is a whole number."""

    def sqrt(self, x: Array) -> Array: ...
    def sigmoid(self, x: Array) -> Array: ...
    def relu(self, x: Array) -> Array: ...
    def floor(self, x: Array) -> Array:
        """No gradient."""

    def minimum(self, a: Array, b: Array) -> Array: ...
    def maximum(self, a: Array, b: Array) -> Array: ...
    def where(self, condition: Array, a: Array, b: Array) -> Array: ...
    def softmax(self, x: Array, axis: int = -1) -> Array: ...
    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None) -> Array: ...
    def mean(self, x: Array, axis: int | tuple[int, ...] | None = None) -> Array: ...
    def max(self, x: Array, axis: int | tuple[int, ...] | None = None) -> Array: ...
    def argmax(self, x: Array, axis: int = -1) -> Array:
        """Index of the first largest element: integers."""

    def one_hot(self, index: Array, size: int, like: Array) -> Array:
        """``[..., size]``, floats of ``like``'s type."""

    def stack(self, parts: Sequence[Array], axis: int = 0) -> Array: ...
    def concat(self, parts: Sequence[Array], axis: int = 0) -> Array:
        """Tensors one behind the other along an axis."""

    def gather(self, x: Array, index: Array) -> Array:
        """Rows of x, ``[len(index), ...]``; index: whole numbers of an integer type."""

    def repeat(self, x: Array, counts: Array, total: int) -> Array:
        """Each row of x as often as ``counts`` says, ``[total, ...]``; total: the sum of the counts."""

    def segment_sum(self, x: Array, counts: Array) -> Array:
        """The inverse of ``repeat``: sums of as many successive rows as ``counts`` says, ``[len(counts), ...]``.

        Added in float64, so that the order of the rows has no say, and returned in x's type.
        """

    def count_alike(self, x: Array, size: int) -> Array:
        """For each of the whole numbers 0 .. size - 1 in x, [elements], how many of them are the same; of x's type."""

    def reshape(self, x: Array, shape: Sequence[int]) -> Array: ...
    def move_axis(self, x: Array, axis: int, to: int) -> Array: ...
    def stop_gradient(self, x: Array) -> Array: ...
    def cast(self, condition: Array, like: Array) -> Array:
        """Booleans or integers as floats of ``like``'s type."""

    def bit_and(self, a: Array, b: int) -> Array:
        """Of 64-bit integers, as the two that follow."""

    def bit_xor(self, a: Array, b: Array) -> Array: ...
    def shift_right(self, a: Array, by: int) -> Array: ...
    def float32(self, x: Array) -> Array:
        """Integers as float32."""

    def round(self, x: Array, rounding: str = STRAIGHT_THROUGH, delta: float = DELTA) -> Array:
        """Half to even; backward as surrogates.gradient_factor says."""

    def ceil(self, x: Array) -> Array:
        """Straight-through gradient."""

    def limit_gradient(self, x: Array, bound: Array) -> Array:
        """x itself; its gradient is clipped to -bound .. bound, element by element."""

    def fake_quantize(
        self,
        x: Array,
        step: Array,
        low: Array,
        high: Array,
        rounding: str = STRAIGHT_THROUGH,
        delta: float = DELTA,
        strict: bool = False,
        clip_first: bool = False,
    ) -> Array:
        """``step * clip(round(x / step), low, high)``, the one primitive of all methods.

        step, low, high: numbers, or arrays that broadcast against x; low and high need not be whole.
        strict: whether the codes low and high themselves count as clipped. clip_first: ``step * round(clip(x / step,
        low, high))`` instead, on the grid where low and high are not whole too. Gradients, all of them, as
        ``fake_quantize_gradients`` gives them.
        """
