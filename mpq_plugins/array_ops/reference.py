"""The NumPy reference of the array functions that trainable methods use, and the gradients of their quantizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import DELTA, STRAIGHT_THROUGH, Array, Ops
from mpq_plugins.array_ops.surrogates import gradient_factor


@dataclass(frozen=True)
class Gradients:
    """Gradients of ``fake_quantize``, each of the shape of its argument."""

    x: NDArray[np.float64]
    step: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class NumpyOps:
    """The reference, float64 unless the arrays are of another type. It has no gradients of its own."""

    exp: Any = staticmethod(np.exp)
    log: Any = staticmethod(np.log)
    log2: Any = staticmethod(np.log2)
    atanh: Any = staticmethod(np.arctanh)
    exp2: Any = staticmethod(np.exp2)
    sqrt: Any = staticmethod(np.sqrt)
    abs: Any = staticmethod(np.abs)
    sign: Any = staticmethod(np.sign)
    sin: Any = staticmethod(np.sin)
    tanh: Any = staticmethod(np.tanh)
    floor: Any = staticmethod(np.floor)
    ceil: Any = staticmethod(np.ceil)
    where: Any = staticmethod(np.where)
    minimum: Any = staticmethod(np.minimum)
    maximum: Any = staticmethod(np.maximum)
    sum: Any = staticmethod(np.sum)
    mean: Any = staticmethod(np.mean)
    max: Any = staticmethod(np.max)
    stack: Any = staticmethod(np.stack)
    concat: Any = staticmethod(np.concatenate)
    reshape: Any = staticmethod(np.reshape)
    move_axis: Any = staticmethod(np.moveaxis)
    bit_and: Any = staticmethod(np.bitwise_and)
    bit_xor: Any = staticmethod(np.bitwise_xor)
    shift_right: Any = staticmethod(np.right_shift)

    def __init__(self, seed: int = 0) -> None:
        self._generator = np.random.default_rng(seed)

    def array(self, values: Any, like: Array) -> Array:
        return np.asarray(values, dtype=np.asarray(like).dtype)

    def integers(self, values: Any, like: Array) -> Array:
        return np.asarray(values, dtype=np.int64)

    def sigmoid(self, x: Array) -> Array:
        return 0.5 * (1.0 + np.tanh(0.5 * x))

    def relu(self, x: Array) -> Array:
        return np.maximum(x, 0.0)

    def softmax(self, x: Array, axis: int = -1) -> Array:
        shifted = np.exp(x - np.max(x, axis=axis, keepdims=True))
        return shifted / np.sum(shifted, axis=axis, keepdims=True)

    def argmax(self, x: Array, axis: int = -1) -> Array:
        return np.argmax(x, axis=axis)

    def gather(self, x: Array, index: Array) -> Array:
        return np.asarray(x)[index]

    def repeat(self, x: Array, counts: Array, total: int) -> Array:
        return np.repeat(x, counts, axis=0)

    def segment_sum(self, x: Array, counts: Array) -> Array:
        x = np.asarray(x)
        parts = np.split(x, np.cumsum(counts)[:-1])
        return np.stack([part.sum(axis=0, dtype=np.float64) for part in parts]).astype(x.dtype)

    def count_alike(self, x: Array, size: int) -> Array:
        places = np.asarray(x).astype(np.int64)
        return np.bincount(places, minlength=size)[places].astype(np.asarray(x).dtype)

    def float32(self, x: Array) -> Array:
        return np.asarray(x).astype(np.float32)

    def one_hot(self, index: Array, size: int, like: Array) -> Array:
        return np.eye(size, dtype=np.asarray(like).dtype)[np.asarray(index)]

    def stop_gradient(self, x: Array) -> Array:
        return x

    def cast(self, condition: Array, like: Array) -> Array:
        return np.asarray(condition).astype(np.asarray(like).dtype)

    def uniform_like(self, x: Array) -> Array:
        return self._generator.random(np.shape(x)).astype(np.asarray(x).dtype)

    def normal_like(self, x: Array) -> Array:
        return self._generator.standard_normal(np.shape(x)).astype(np.asarray(x).dtype)

    def round(self, x: Array, rounding: str = STRAIGHT_THROUGH, delta: float = DELTA) -> Array:
        return np.rint(x)

    def limit_gradient(self, x: Array, bound: Array) -> Array:
        return x

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
        if clip_first:
            return step * np.rint(np.clip(x / step, low, high))
        return step * np.clip(np.rint(x / step), low, high)


NUMPY: Ops = NumpyOps()
"""The NumPy reference."""


def fake_quantize_gradients(
    x: Array,
    step: Array,
    low: Array,
    high: Array,
    upstream: Array,
    rounding: str = STRAIGHT_THROUGH,
    delta: float = DELTA,
    strict: bool = False,
    clip_first: bool = False,
) -> Gradients:
    """Gradients of ``sum(upstream * fake_quantize(x, step, low, high))``, in closed form.

    With u = x / step, r = round(u), f the surrogate's factor, over the elements that each argument serves:

        dx    = g * f                        inside;  0 outside
        dstep = g * (r - u * f)              inside;  g * high above,  g * low below
        dhigh = g * step                     above
        dlow  = g * step                     below

    inside: low <= r <= high (A Closer Look, 2210.03671, section 2); strict: low < r < high (HMQ's
    released code, 2007.09952, where the outermost codes count as clipped); clip_first: low <= u <= high (FDQMP's
    code, 2206.07741), where dhigh and dlow have the factor too, that of the limit, and dstep its rounded code.

    >>> float(fake_quantize_gradients(np.array([0.25, 5.0]), 1.0, -2, 1, np.ones(2)).step)
    0.75
    """
    x, step, low, high, g = (np.asarray(a, dtype=np.float64) for a in (x, step, low, high, upstream))
    u = x / step
    if clip_first:
        above, below = u > high, u < low
        u = np.clip(u, low, high)
        r = ends = np.rint(u)
    else:
        r = np.rint(u)
        above, below = (r >= high, r <= low) if strict else (r > high, r < low)
        ends = above * high + below * low
    inside = ~(above | below)
    factor = gradient_factor(NUMPY, rounding, u - r, g, delta)
    dstep = np.where(inside, g * (r - u * factor), g * ends)
    g_end = g * factor if clip_first else g
    return Gradients(
        x=np.where(inside, g * factor, 0.0),
        step=summed_to(dstep, step.shape),
        low=summed_to(g_end * step * below, low.shape),
        high=summed_to(g_end * step * above, high.shape),
    )


def summed_to(values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The sum over the axes along which an array of ``shape`` was broadcast.

    >>> summed_to(np.ones((2, 3)), (1, 3)).tolist(), summed_to(np.ones((2, 3)), ()).tolist()
    ([[2.0, 2.0, 2.0]], 6.0)
    """
    lead = values.ndim - len(shape)
    values = values.sum(axis=tuple(range(lead)))
    kept = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return np.asarray(values.sum(axis=kept, keepdims=True))
