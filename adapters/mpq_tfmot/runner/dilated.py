"""Dilated convolutions with gradients on every processor: TensorFlow has them only where it was built with oneDNN and
finds AVX-512 VNNI or the like."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.runner import Sizes
from mpq_tfmot.keras import tf


def convolved(x: Any, kernel: Any, stride: Sizes, dilation: Sizes) -> Any:
    """A convolution of images without padding. kernel: [rows, columns, in, out]."""
    if set(dilation) == {1} or set(stride) != {1}:
        return tf.nn.conv2d(x, kernel, stride, "VALID", dilations=dilation)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(x: Any, kernel: Any) -> Any:
        def back(gradient: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = _by_phases(x, kernel, dilation)
            return tape.gradient(y, [x, kernel], gradient)

        return tf.nn.conv2d(x, kernel, 1, "VALID", dilations=dilation), back

    return run(x, kernel)


def _by_phases(x: Any, kernel: Any, dilation: Sizes) -> Any:
    """The same of every so many rows and columns at a time, which are samples of a convolution without dilation."""
    sides = [(0, -int(size) % rate) for size, rate in zip(x.shape[1:3], dilation, strict=True)]
    y = tf.nn.conv2d(tf.space_to_batch(x, dilation, sides), kernel, 1, "VALID")
    return tf.batch_to_space(y, dilation, sides)
