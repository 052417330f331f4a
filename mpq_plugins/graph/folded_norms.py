"""Batch norms folded into the layer before them, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import MPQError


def fold_batch_norm(
    weight: ArrayLike,
    bias: ArrayLike | None,
    gamma: ArrayLike,
    beta: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    epsilon: float,
    axis: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and bias of the one layer that does what the layer and the batch norm after it do.

    ``W gamma / sqrt(variance + epsilon)`` along the output channels (``axis`` of the weight), and
    ``(b - mean) gamma / sqrt(variance + epsilon) + beta``. In float64: folding in float32 and rounding
    afterwards moves weights that lie near the middle between two codes.

    gamma, beta, mean, variance: [channels]. Raises MPQError unless the variance is positive with epsilon.

    >>> fold_batch_norm([[2.0]], [1.0], gamma=[3.0], beta=[0.5], mean=[4.0], variance=[3.0], epsilon=1.0)
    (array([[3.]]), array([-4.]))
    """
    w, spread = np.asarray(weight), np.asarray(variance, dtype=np.float64) + epsilon
    if not np.all(spread > 0):
        raise MPQError(f"a batch norm of variance + epsilon {spread.min():.3g} cannot be folded")
    scale = np.asarray(gamma, dtype=np.float64) / np.sqrt(spread)
    shape = [1] * w.ndim
    shape[axis] = w.shape[axis]
    old = np.zeros_like(scale) if bias is None else np.asarray(bias, dtype=np.float64)
    # not widened by itself: a wide weight is most of the memory
    folded = np.multiply(w, scale.reshape(shape), dtype=np.float64)
    return folded, (old - np.asarray(mean)) * scale + np.asarray(beta)


def norm_attrs(
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    gamma: NDArray[np.float64] | None,
    beta: NDArray[np.float64] | None,
    epsilon: float,
    axis: int,
) -> dict[str, Any]:
    """The attrs of a batch norm along an axis; without gamma it scales by one, without beta it adds nothing."""
    return {
        "gamma": np.ones(len(mean)) if gamma is None else gamma,
        "beta": np.zeros(len(mean)) if beta is None else beta,
        "mean": mean,
        "variance": variance,
        "epsilon": float(epsilon),
        "axis": axis,
    }
