"""Weights and inputs of the networks: from NumPy's generator, never from a framework's."""

from __future__ import annotations

import math

import numpy as np

SAMPLES = 6


def spread(shape, channels):
    """The standard deviation of a weight: that keeps activations at about one."""
    return math.sqrt(2.0 * channels / math.prod(shape))


def weight(rng, shape, channels):
    """A weight of so many output channels; its elements are far from the ties of any power-of-two grid."""
    return (rng.normal(size=shape) * spread(shape, channels)).astype(np.float32)


def bias(rng, shape):
    """A bias."""
    return (rng.normal(size=shape) * 0.2).astype(np.float32)


def norm(rng, channels):
    """Scale, shift, mean and variance of a batch norm."""
    arrays = (
        rng.uniform(0.5, 1.5, channels),
        rng.normal(size=channels) * 0.2,
        rng.normal(size=channels) * 0.2,
        rng.uniform(0.5, 1.5, channels),
    )
    return [array.astype(np.float32) for array in arrays]


def inputs(rng, shape, positive=False):
    """Samples at ties of every coarse grid, just below them, and far past the thresholds."""
    x = np.rint(rng.normal(size=(SAMPLES, *shape)) * 24) / 16
    x[-2] *= 8
    x = x.astype(np.float32)
    x[-1] = np.nextafter(x[-1], np.float32(0))
    return np.abs(x) if positive else x


def calibration(rng, shape, positive=False):
    """Samples to round weights with."""
    x = rng.normal(size=(32, *shape)).astype(np.float32)
    return np.abs(x) if positive else x
