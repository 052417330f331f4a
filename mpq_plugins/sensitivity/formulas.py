"""What a choice costs in accuracy, as formulas: measured on outputs, or predicted from second moments.

Measured: ``kl_divergence`` of the model's outputs with one site quantized. Predicted: the loss rises
by ``1/2 tr(F dW A dW^T)`` for a change dW of one weight, where A is the (co)variance of the layer's
input and F the second moment of the loss gradient at its output (Kronecker-factored Fisher,
1503.05671). One backward pass gives F for all layers and serves all candidates of each; it needs no labels:
``fisher_directions`` draws output gradients whose second moment is the Fisher matrix of the model's
own softmax.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.rounding.moments.layer_moments import Array, by_group


def kl_divergence(reference: ArrayLike, outputs: ArrayLike, temperature: float = 1.0) -> float:
    """Mean KL(softmax(reference) || softmax(outputs)) in nats, of logits [samples, ..., classes].

    A temperature above 1 lets confident samples count, whose KL is otherwise all but zero.

    >>> kl_divergence([[0.0, 0.0]], [[0.0, 0.0]])
    0.0
    """
    p, q = (_log_softmax(np.asarray(z, dtype=np.float64) / temperature) for z in (reference, outputs))
    return max(0.0, float(np.mean(np.sum(np.exp(p) * (p - q), axis=-1))))


def noise_to_signal(reference: ArrayLike, outputs: ArrayLike) -> float:
    """Energy of the difference over energy of the reference, centred; for outputs that are no logits.

    0 for a reference without energy that is met exactly, infinity for one that is not.
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(outputs, dtype=np.float64)
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        raise NonFiniteValues("outputs hold NaN or infinity; a sensitivity needs finite ones")
    noise, signal = float(np.mean((a - b) ** 2)), float(np.var(a))
    if signal == 0:
        return 0.0 if noise == 0 else float("inf")
    return noise / signal


def fisher_directions(logits: ArrayLike, signs: ArrayLike, temperature: float = 1.0) -> Array:
    """Output gradients v with E[v v^T] = diag(p) - p p^T, p = softmax(logits / temperature).

    ``v = sqrt(p) s - p sum(sqrt(p) s)`` for independent random signs s: back-propagating v gives
    gradients whose second moments are those of the Fisher information, without labels.

    logits, signs (+-1): [samples, ..., classes]; so is the result.
    """
    z, s = np.asarray(logits, dtype=np.float64), np.asarray(signs, dtype=np.float64)
    if z.shape != s.shape:
        raise MPQError(f"signs of shape {s.shape} do not fit logits of shape {z.shape}")
    root = np.exp(_log_softmax(z / temperature) / 2)
    return np.asarray(root * s - root**2 * np.sum(root * s, axis=-1, keepdims=True))


def predicted_loss(quantized: ArrayLike, weight: ArrayLike, curvature: ArrayLike, output_fisher: ArrayLike) -> float:
    """``1/2 tr(F dW A dW^T)``: the rise of the loss for the change dW = quantized - weight of one layer.

    quantized, weight: [out, in]; curvature A: mean over positions, [in, in] or [groups, in, in];
    output_fisher F: second moment of the loss gradient at the layer's output, summed over the positions
    of a sample and averaged over samples, [out, out], or its diagonal, [out].

    Rows of different groups meet different inputs, so only the blocks of F within a group count.
    """
    a, f = np.asarray(curvature, dtype=np.float64), np.asarray(output_fisher, dtype=np.float64)
    a = a[None] if a.ndim == 2 else a
    change = by_group(np.asarray(quantized, dtype=np.float64) - np.asarray(weight), len(a))
    moved = change @ a
    if f.ndim == 1:
        return 0.5 * float(np.einsum("gr,gri,gri->", f.reshape(len(a), -1), moved, change))
    blocks = np.stack([block[:, k] for k, block in enumerate(f.reshape(len(a), change.shape[1], len(a), -1))])
    return 0.5 * float(np.einsum("grs,gri,gsi->", blocks, moved, change))


def _log_softmax(logits: Array) -> Array:
    if not np.all(np.isfinite(logits)):
        raise NonFiniteValues("logits hold NaN or infinity; a sensitivity needs finite ones")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True)))
