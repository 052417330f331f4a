"""TensorflowRunner: TensorFlow's part in running a graph (mpq_plugins.graph.runner.Runner)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.node import Layout
from mpq_plugins.graph.runner import Gradients, Precision, Sides, Sizes
from mpq_plugins.search.gradient_products import energy
from mpq_plugins.search.workers import cores
from mpq_tfmot.array_ops.ops import TensorflowOps
from mpq_tfmot.keras import tf
from mpq_tfmot.runner.dilated import convolved

FloatPart = Callable[..., Any]
"""What a float node computes from the tensors that it reads."""


class TensorflowRunner(TensorflowOps):
    """Runs graphs whose activations lie channels last. floats: what each "float" node computes, by its name."""

    layout: Layout = "NHWC"
    nearest = staticmethod(tf.round)
    atan = staticmethod(tf.math.atan)
    erf = staticmethod(tf.math.erf)

    def __init__(self, floats: Mapping[str, FloatPart] | None = None) -> None:
        self.floats = dict(floats or {})
        self._tape: Any = None

    def tensor(self, array: NDArray[Any], precision: Precision | None = None) -> Any:
        with tf.init_scope():  # what is kept of it outlives the tf.function that asks first
            return tf.constant(np.asarray(array, order="C"), None if precision is None else tf.as_dtype(precision))

    def shared(self, array: NDArray[Any]) -> Any:
        return self.tensor(array, "float32")

    def numpy(self, x: Any) -> NDArray[Any]:
        return np.asarray(x)

    def to_precision(self, x: Any, precision: Precision) -> Any:
        return tf.cast(x, precision)

    def precision_of(self, x: Any) -> Precision:
        return "float64" if x.dtype == tf.float64 else "float32"

    def minimum(self, a: Any, b: Any) -> Any:
        return tf.minimum(*_alike(a, b))

    def maximum(self, a: Any, b: Any) -> Any:
        return tf.maximum(*_alike(a, b))

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        return tf.where(condition, *_alike(a, b))

    def gather(self, table: Any, index: Any) -> Any:
        return tf.gather(table, tf.cast(index, tf.int32))

    def convolve(
        self, x: Any, weight: Any, bias: Any, stride: Sizes, padding: Sides, dilation: Sizes, groups: int
    ) -> Any:
        if len(stride) == 1:
            y = self.convolve(
                x[:, None], weight[:, :, None], bias, (1, *stride), ((0, 0), *padding), (1, *dilation), groups
            )
            return tf.squeeze(y, 1)
        x = _padded(x, padding)
        if len(stride) == 3:
            kernel = tf.transpose(weight, (2, 3, 4, 1, 0))
            each = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
            pairs = [tf.nn.conv3d(a, k, (1, *stride, 1), "VALID", dilations=(1, *dilation, 1)) for a, k in each]
            y = tf.concat(pairs, -1)
            return y if bias is None else y + bias
        kernel = tf.transpose(weight, (2, 3, 1, 0))  # [rows, columns, in / groups, out]
        if groups == 1:
            y = convolved(x, kernel, stride, dilation)
        elif groups == x.shape[-1] and stride[0] == stride[1]:
            split = tf.reshape(kernel, (*kernel.shape[:2], groups, -1))
            y = tf.nn.depthwise_conv2d(x, split, (1, *stride, 1), "VALID", dilations=dilation)
        else:
            parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
            y = tf.concat([convolved(a, k, stride, dilation) for a, k in parts], -1)
        return y if bias is None else y + bias

    def deconvolve(
        self, x: Any, weight: Any, bias: Any, stride: Sizes, cropping: Sides, dilation: Sizes, groups: int
    ) -> Any:
        if len(stride) == 1:
            y = self.deconvolve(
                x[:, None], weight[:, :, None], bias, (1, *stride), ((0, 0), *cropping), (1, *dilation), groups
            )
            return tf.squeeze(y, 1)
        # as the convolution of the zero-stuffed input with the flipped kernel
        sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[1:-1], stride, strict=True)]
        for axis, step in enumerate(stride, start=1):
            if step > 1:
                zeros = tf.zeros_like(x)
                stacked = tf.stack([x, *[zeros] * (step - 1)], axis + 1)
                shape = [-1, *x.shape[1:]]
                shape[axis] = x.shape[axis] * step
                x = tf.reshape(stacked, shape)
        inside = (slice(None), *(slice(size) for size in sizes))
        x = x[inside]
        reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        pads = tuple((r - before, r - after) for r, (before, after) in zip(reach, cropping, strict=True))
        return self.convolve(
            x, tf.reverse(weight, range(2, 2 + len(stride))), bias, (1,) * len(stride), pads, dilation, groups
        )

    def matmul(self, x: Any, weight: Any, bias: Any) -> Any:
        y = tf.tensordot(x, weight, [[-1], [1]])
        return y if bias is None else y + bias

    def product(self, a: Any, b: Any) -> Any:
        return tf.matmul(a, b)

    def largest(self, x: Any, axis: int) -> Any:
        return tf.reduce_max(x, axis, True)

    def max_pool(self, x: Any, kernel: Sizes, stride: Sizes, padding: Sides, dilation: Sizes) -> Any:
        if len(kernel) == 1:
            y = self.max_pool(x[:, None], (1, *kernel), (1, *stride), ((0, 0), *padding), (1, *dilation))
            return tf.squeeze(y, 1)
        x = _padded(x, padding, x.dtype.min)
        if set(dilation) == {1}:  # tf.nn.pool takes no stride larger than its window
            return tf.nn.max_pool2d(x, kernel, stride, "VALID")
        return tf.nn.pool(x, kernel, "MAX", stride, "VALID", dilations=dilation)

    def window_sum(self, x: Any, kernel: Sizes, stride: Sizes, padding: Sides) -> Any:
        if len(kernel) == 1:
            return tf.squeeze(self.window_sum(x[:, None], (1, *kernel), (1, *stride), ((0, 0), *padding)), 1)
        ones = tf.ones((x.shape[-1], 1, *kernel), x.dtype)
        return self.convolve(x, ones, None, stride, padding, (1, 1), x.shape[-1])

    def sum_over(self, x: Any, axes: Sizes, keepdims: bool) -> Any:
        return tf.reduce_sum(x, axes, keepdims)

    def pad(self, x: Any, pads: Sides) -> Any:
        return tf.pad(x, pads)

    def transpose(self, x: Any, order: Sizes) -> Any:
        return tf.transpose(x, order)

    def slice(self, x: Any, slices: tuple[slice, ...]) -> Any:
        return x[slices]

    def upsample(self, x: Any, times: Sizes) -> Any:
        for axis, count in enumerate(times):
            x = x if count == 1 else tf.repeat(x, count, axis)
        return x

    def take(self, x: Any, indices: Sequence[int]) -> Any:
        return tf.gather(x, list(indices))

    def float_part(self, name: str, inputs: Sequence[Any]) -> Any:
        return self.floats[name](*inputs)

    @contextmanager
    def _taped(self) -> Iterator[None]:
        with tf.GradientTape(persistent=True) as self._tape:
            yield
        self._tape = None

    def recording(self) -> AbstractContextManager[Any]:
        return self._taped()

    def watched(self, x: Any) -> Any:
        self._tape.watch(x)
        return x

    def differentiable(self, x: Any) -> bool:
        return bool(x.dtype.is_floating)

    @property
    def threads(self) -> int:
        return int(tf.config.threading.get_intra_op_parallelism_threads()) or cores()

    def one_thread(self) -> AbstractContextManager[Any]:
        return nullcontext()  # its pool of threads cannot be changed once it runs, and is shared by all that call it

    @property
    def differentiates_side_by_side(self) -> bool:
        return False  # a tape belongs to the thread that recorded it

    def energy(self, x: Any) -> float:
        return energy(self.numpy(x))

    @contextmanager
    def gradients(self, outputs: Sequence[Any], wanted: Sequence[Any]) -> Iterator[Gradients]:
        def take(directions: Sequence[NDArray[np.float64]], use: Callable[[int, Any], None]) -> None:
            starts = [tf.constant(d, y.dtype) for d, y in zip(directions, outputs, strict=True)]
            with self._tape.stop_recording():
                found = self._tape.gradient(list(outputs), list(wanted), starts)
            for index, gradient in enumerate(found):
                if gradient is not None:
                    use(index, np.asarray(tf.convert_to_tensor(gradient)))

        yield take


def _alike(a: Any, b: Any) -> tuple[Any, Any]:
    """Two tensors of one type, of which one may be given as a number."""
    like = a if tf.is_tensor(a) else b
    return tuple(v if tf.is_tensor(v) else tf.cast(v, like.dtype) for v in (a, b))


def _padded(x: Any, sides: Sides, value: float = 0.0) -> Any:
    """Rows and columns padded, or cut off where a side is negative."""
    if not any(side for pair in sides for side in pair):
        return x
    grown = tuple((max(before, 0), max(after, 0)) for before, after in sides)
    x = tf.pad(x, ((0, 0), *grown, (0, 0)), constant_values=value)
    cuts = [slice(max(-before, 0), n - max(-after, 0)) for (before, after), n in zip(sides, x.shape[1:3], strict=True)]
    return x[:, cuts[0], cuts[1]]
