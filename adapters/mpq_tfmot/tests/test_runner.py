"""TensorFlow's part in running a graph beside loops over elements; channels lie last, weights as in the core."""

from __future__ import annotations

import numpy as np
import pytest

from mpq_tfmot.keras import tf
from mpq_tfmot.runner.tensorflow_runner import TensorflowRunner

RUN = TensorflowRunner()
RANDOM = np.random.default_rng(0)


def whole(*shape: int) -> np.ndarray:
    """Small whole numbers, whose sums are exact."""
    return RANDOM.integers(-4, 5, shape).astype(np.float64)


def padded(x: np.ndarray, sides) -> np.ndarray:
    """Rows and columns of zeros, or cut off where a side is negative."""
    grown = np.pad(x, ((0, 0), *(tuple(max(side, 0) for side in pair) for pair in sides), (0, 0)))
    cuts = [slice(max(-a, 0), size - max(-b, 0)) for (a, b), size in zip(sides, grown.shape[1:3], strict=True)]
    return grown[:, cuts[0], cuts[1]]


def convolved(x, weight, stride, sides, dilation, groups):
    """A convolution of [n, rows, columns, in] with [out, in / groups, rows, columns], element by element."""
    x = padded(x, sides)
    outputs, inputs, height, width = weight.shape
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, (height, width), strict=True)]
    size = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:3], reach, stride, strict=True)]
    y = np.zeros((len(x), *size, outputs))
    for row, column, out in np.ndindex(*size, outputs):
        first = out // (outputs // groups) * inputs
        for i, j in np.ndindex(height, width):
            seen = x[:, row * stride[0] + i * dilation[0], column * stride[1] + j * dilation[1], first : first + inputs]
            y[:, row, column, out] += seen @ weight[out, :, i, j]
    return y


@pytest.mark.parametrize(
    ("stride", "sides", "dilation", "groups", "outputs"),
    [
        ((1, 1), ((1, 1), (0, 2)), (1, 1), 1, 3),
        ((2, 1), ((0, 0), (1, 0)), (1, 1), 4, 8),
        ((2, 2), ((1, 0), (0, 1)), (1, 1), 2, 6),
        ((1, 1), ((-1, 0), (0, -2)), (1, 2), 1, 2),
    ],
    ids=["padded", "depthwise of uneven strides, two outputs each", "in groups", "cropped and dilated"],
)
def test_a_convolution_is_the_sum_over_its_windows(stride, sides, dilation, groups, outputs):
    x, weight, bias = whole(2, 7, 8, 4), whole(outputs, 4 // groups, 3, 2), whole(outputs)
    found = RUN.convolve(tf.constant(x), tf.constant(weight), tf.constant(bias), stride, sides, dilation, groups)
    np.testing.assert_array_equal(found, convolved(x, weight, stride, sides, dilation, groups) + bias)


def test_a_transposed_convolution_scatters_what_a_convolution_gathers():
    x, weight = whole(2, 3, 4, 2), whole(5, 2, 3, 2)
    full = np.zeros((2, 7, 8, 5))
    for row, column, i, j in np.ndindex(3, 4, 3, 2):
        full[:, 2 * row + i, 2 * column + j] += x[:, row, column] @ weight[:, :, i, j].T
    found = RUN.deconvolve(tf.constant(x), tf.constant(weight), None, (2, 2), ((1, 0), (0, 1)), (1, 1), 1)
    np.testing.assert_array_equal(found, full[:, 1:, :7])


def test_the_largest_of_a_window_ignores_padding():
    x = -1.0 - np.abs(whole(1, 4, 4, 2))
    found = RUN.max_pool(tf.constant(x), (2, 2), (2, 2), ((1, 1), (1, 1)), (1, 1))
    assert found.shape == (1, 3, 3, 2)
    np.testing.assert_array_equal(found[0, 0, 0], x[0, 0, 0])
    np.testing.assert_array_equal(found[0, 1, 1], x[0, 1:3, 1:3].max((0, 1)))


def test_the_sum_of_a_window_counts_padding_as_zero():
    x = whole(1, 4, 4, 2)
    found = RUN.window_sum(tf.constant(x), (3, 3), (2, 2), ((1, 1), (1, 1)))
    np.testing.assert_array_equal(found[0, 0, 0], x[0, :2, :2].sum((0, 1)))


def test_gradients_are_given_for_what_was_watched_and_leave_out_what_has_none():
    x, apart = tf.constant([1.0, 2.0]), tf.constant([5.0, 5.0])
    seen = {}
    with RUN.recording():
        RUN.watched(x), RUN.watched(apart)
        y = 3.0 * x * x
        with RUN.gradients([y], [x, apart]) as take:
            take([np.array([1.0, 2.0])], lambda index, g: seen.update({index: g.tolist()}))
    assert seen == {0: [6.0, 24.0]}


def test_a_dilated_convolution_has_the_gradients_of_its_kernel_with_zeros_between():
    x, kernel = tf.constant(whole(2, 7, 9, 3)), tf.constant(whole(3, 2, 3, 4))
    wide = np.zeros((5, 4, 3, 4))
    wide[::2, ::3] = kernel.numpy()
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = RUN.convolve(x, tf.transpose(kernel, (3, 2, 0, 1)), None, (1, 1), ((0, 0), (0, 0)), (2, 3), 1)
    direction = tf.constant(whole(*y.shape))
    found = tape.gradient(y, [x, kernel], direction)
    with tf.GradientTape() as tape:
        tape.watch([x, wanted := tf.constant(wide)])
        plain = tf.nn.conv2d(x, wanted, 1, "VALID")
    np.testing.assert_array_equal(y, plain)
    of_x, of_wide = tape.gradient(plain, [x, wanted], direction)
    np.testing.assert_array_equal(found[0], of_x)
    np.testing.assert_array_equal(found[1], of_wide[::2, ::3])
