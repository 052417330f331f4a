"""Functions of TensorFlow, by symbol, that are several others: what they are in those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpq_tfmot.keras import tf
from mpq_tfmot.reader import opened_images

MOST_FACTORS = 16
"""Of so many elements a product is read, as products of pairs."""


def _crelu(features: Any, name: Any = None, axis: int = -1) -> Any:
    return tf.nn.relu(tf.concat([features, -features], axis))


def _norm(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None, name: Any = None, keep_dims: Any = None
) -> Any:
    if axis is None or (ord == 2 and np.size(axis) > 1):
        raise NotImplementedError  # over the samples, too; and the largest singular value
    keepdims = bool(keepdims or keep_dims)
    if ord in ("euclidean", "fro", 2):
        return tf.sqrt(tf.reduce_sum(tensor * tensor, axis, keepdims=keepdims))
    if np.size(axis) > 1 or ord not in (1, np.inf):
        raise NotImplementedError
    return (tf.reduce_sum if ord == 1 else tf.reduce_max)(tf.abs(tensor), axis, keepdims=keepdims)


def _clipped(t: Any, clip_norm: Any, axes: Any = None, name: Any = None) -> Any:
    return t * (float(clip_norm) / tf.maximum(_norm(t, axis=axes, keepdims=True), float(clip_norm)))


def _bounded(t: Any, clip_value_min: Any, clip_value_max: Any, name: Any = None) -> Any:
    low, high = (
        tf.constant(bound, t.dtype) if isinstance(bound, (list, tuple)) else bound
        for bound in (clip_value_min, clip_value_max)
    )
    return tf.minimum(tf.maximum(t, low), high)


def _log_sum(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None) -> Any:
    largest = tf.reduce_max(input_tensor, axis, keepdims=True)
    sums = tf.math.log(tf.reduce_sum(tf.exp(input_tensor - largest), axis, keepdims=True)) + largest
    return sums if keepdims else tf.squeeze(sums, axis)


def _product(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None) -> Any:
    found, rank = input_tensor, len(input_tensor.shape)
    axes = sorted({int(each) % rank for each in np.atleast_1d(axis)}, reverse=True)
    if 0 in axes or np.prod([found.shape[each] for each in axes]) > MOST_FACTORS:
        raise NotImplementedError
    for each in axes:
        parts = tf.split(found, found.shape[each], each)
        while len(parts) > 1:  # halves, so that few products lie behind one another
            parts = [a * b for a, b in zip(parts[::2], parts[1::2], strict=False)] + parts[len(parts) // 2 * 2 :]
        (found,) = parts
    return found if keepdims else tf.squeeze(found, axes)


def _any(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None) -> Any:
    return tf.reduce_max(tf.cast(input_tensor, tf.float32), axis, keepdims=keepdims) > 0.5


def _all(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: Any = None) -> Any:
    return tf.reduce_min(tf.cast(input_tensor, tf.float32), axis, keepdims=keepdims) > 0.5


def _einsum(equation: str, *tensors: Any, **options: Any) -> Any:
    """An einsum of one tensor is a sum over the letters that the result lacks, and a transposition."""
    (x,) = tensors
    before, _, after = equation.replace(" ", "").partition("->")
    if not after or len(set(before)) < len(before) or not before.isalpha():
        raise NotImplementedError
    left = [letter for letter in before if letter in after]
    gone = [axis for axis, letter in enumerate(before) if letter not in after]
    summed = tf.reduce_sum(x, gone) if gone else x
    return tf.transpose(summed, [left.index(letter) for letter in after])


def _pooled(
    input: Any,
    window_shape: Any,
    pooling_type: str,
    strides: Any = None,
    padding: str = "VALID",
    data_format: Any = None,
    dilations: Any = None,
    name: Any = None,
    dilation_rate: Any = None,
) -> Any:
    if len(input.shape) != 4 or any(np.any(np.array(rate) != 1) for rate in (dilations, dilation_rate) if rate):
        raise NotImplementedError
    pool = tf.nn.max_pool2d if pooling_type == "MAX" else tf.nn.avg_pool2d
    return pool(input, window_shape, strides or 1, padding, data_format or "NHWC")


def _band(input: Any, num_lower: Any, num_upper: Any, name: Any = None) -> Any:
    rows, columns = map(int, input.shape[-2:])
    kept = np.ones((1,) * (len(input.shape) - 2) + (rows, columns), np.float32)
    return input * tf.constant(tf.linalg.band_part(kept, num_lower, num_upper))


def _diagonal(input: Any, *more: Any, **options: Any) -> Any:
    rows, columns = map(int, input.shape[-2:])
    others = [int(size) for size in input.shape[1:-2]]
    return tf.gather(
        tf.reshape(input, [-1, *others, rows * columns]),
        range(0, (columns + 1) * min(rows, columns), columns + 1),
        axis=-1,
    )


def _cross(a: Any, b: Any, name: Any = None) -> Any:
    def turned(x: Any, by: int) -> Any:
        return tf.roll(x, -by, -1)

    return turned(a, 1) * turned(b, 2) - turned(a, 2) * turned(b, 1)


def _pool(pool: Any) -> Callable[..., Any]:
    def of_signal(
        input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NWC", name: Any = None
    ) -> Any:
        kernel, stride = (int(np.ravel(sizes)[len(np.ravel(sizes)) // 2]) for sizes in (ksize, strides))
        if data_format != "NWC":
            raise NotImplementedError
        return tf.squeeze(pool(tf.expand_dims(input, 1), (1, kernel), (1, stride), padding), 1)

    return of_signal


def _separable(
    input: Any,
    depthwise_filter: Any,
    pointwise_filter: Any,
    strides: Any,
    padding: Any,
    rate: Any = None,
    name: Any = None,
    data_format: Any = None,
    dilations: Any = None,
) -> Any:
    rates = rate if dilations is None else dilations
    middle = tf.nn.depthwise_conv2d(input, depthwise_filter, strides, padding, data_format, rates)
    return tf.nn.conv2d(middle, pointwise_filter, 1, "VALID")


def _turned(a: Any, name: Any = None, conjugate: bool = False) -> Any:
    rank = len(a.shape)
    if rank < 3:
        raise NotImplementedError
    return tf.transpose(a, [*range(rank - 2), rank - 1, rank - 2])


def _dropout(x: Any, rate: Any, *more: Any, **others: Any) -> Any:
    if rate:
        raise NotImplementedError
    return tf.identity(x)


OPENED: Mapping[str, Callable[..., Any]] = {
    **opened_images.OPENED,
    "clip_by_norm": _clipped,
    "clip_by_value": _bounded,
    "einsum": _einsum,
    "linalg.band_part": _band,
    "linalg.cross": _cross,
    "linalg.diag_part": _diagonal,
    "linalg.trace": lambda x, name=None: tf.reduce_sum(_diagonal(x), -1),
    "linalg.matrix_transpose": _turned,
    "math.divide_no_nan": lambda x, y, name=None: x * tf.math.reciprocal_no_nan(y),
    "math.reduce_all": _all,
    "math.reduce_any": _any,
    "math.reduce_euclidean_norm": lambda input_tensor, axis=None, keepdims=False, name=None: _norm(
        input_tensor, axis=axis, keepdims=keepdims
    ),
    "math.reduce_logsumexp": _log_sum,
    "math.reduce_prod": _product,
    "math.xdivy": lambda x, y, name=None: x * tf.math.reciprocal_no_nan(y),
    "math.xlogy": lambda x, y, name=None: x * tf.math.log(y),
    "nn.avg_pool1d": _pool(tf.nn.avg_pool2d),
    "nn.max_pool1d": _pool(tf.nn.max_pool2d),
    "nn.crelu": _crelu,
    "nn.dropout": _dropout,
    "nn.silu": lambda features, beta=1.0: features * tf.sigmoid(features * float(beta)),
    "nn.pool": _pooled,
    "nn.separable_conv2d": _separable,
    "norm": _norm,
}
