"""Cross-layer equalization of a Keras model; the core says by how much (mpq_plugins.equalization)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins import equalization
from mpq_plugins.equalization import Link
from mpq_tfmot.batches import Batch, as_batches, in_chunks
from mpq_tfmot.canonical import CanonicalModel, canonicalize
from mpq_tfmot.canonical_ops import FLOAT, Op, clamp, combine, multiply
from mpq_tfmot.keras import tf
from mpq_tfmot.rebuilding import rebuild

KEEPS_CHANNELS = ("pad", "max_pool", "avg_pool", "global_avg_pool", "upsample")
LINKED = ("conv1d", "conv2d", "depthwise_conv1d", "depthwise_conv2d", "linear")
CHUNK = 32


def equalize(model: Any, calibration: Iterable[Any] | Any) -> Any:
    """A model of the same function whose weights have evened-out ranges, for targets with one step per tensor.

    calibration: as for ``search``; it says which channels reach the bound of their ReLU6.
    Returns a functional tf_keras model, batch norms folded. Factors are powers of two.
    """
    canonical = canonicalize(model)
    batches = as_batches(calibration, [op.shape for op in canonical.inputs])
    return rebuild(equalized(canonical, batches), "equalized")


def equalized(model: CanonicalModel, batches: list[Batch]) -> CanonicalModel:
    """The canonical model with its linked layers equalized."""
    links = find_links(model)
    ops = {op.name: op for op in model.layers}
    linked = {name for link in links for name in (link.first, link.second)}
    outputs = {name: _ranges(ops[name], output=True) for name in linked}
    inputs = {name: _ranges(ops[name], output=False) for name in linked}
    paired = {name: ops[name].kind.startswith("depthwise") for name in linked}
    # a channel that never fires has a peak of zero, and its bias must not grow past all bounds
    peaks = {name: np.maximum(peak, np.abs(ops[name].bias)) for name, peak in _peaks(model, batches, links).items()}
    exponents = equalization.equalize(links, outputs, inputs, peaks, paired)
    for link in links:
        factor = np.ldexp(1.0, exponents[link.first])
        first = ops[link.first]
        ops[link.first] = replace(first, weight=_scaled(first, 1 / factor, True), bias=first.bias / factor)
        ops[link.second] = replace(ops[link.second], weight=_scaled(ops[link.second], factor, False))
    return replace(model, ops=tuple(ops.get(op.name, op) for op in model.ops))


def find_links(model: CanonicalModel) -> list[Link]:
    """Pairs of layers of which the second alone reads the first, through a ReLU or nothing."""
    readers = model.readers()
    links = []
    for op in model.layers:
        if op.kind not in LINKED or op.low not in (None, 0.0):
            continue
        at = op
        while len(readers[at.name]) == 1 and at.name not in model.outputs:
            at = readers[at.name][0]
            if at.kind not in KEEPS_CHANNELS:
                break
        if at is not op and at.kind in LINKED and len(at.inputs) == 1:
            links.append(Link(op.name, at.name, op.high))
    return links


def _axis(op: Op, output: bool) -> int:
    if op.kind.startswith("depthwise"):
        return op.weight.ndim - 2
    return op.weight.ndim - (1 if output else 2)


def _ranges(op: Op, output: bool) -> NDArray[np.float64]:
    axis = _axis(op, output)
    return np.asarray(np.abs(op.weight).max(axis=tuple(d for d in range(op.weight.ndim) if d != axis)))


def _scaled(op: Op, factor: NDArray[np.float64], output: bool) -> NDArray[np.float64]:
    shape = [1] * op.weight.ndim
    shape[_axis(op, output)] = -1
    return np.asarray(op.weight * factor.reshape(shape))


def _peaks(model: CanonicalModel, batches: list[Batch], links: list[Link]) -> dict[str, NDArray[np.float64]]:
    """The largest magnitude of each channel of the activations between linked layers."""
    wanted = {link.first for link in links}
    readers = model.readers()
    peaks: dict[str, NDArray[np.float64]] = {}
    for chunk in in_chunks(batches, CHUNK):
        values: dict[str, Any] = dict(zip((op.name for op in model.inputs), map(tf.constant, chunk), strict=True))
        left = {name: len(found) for name, found in readers.items()}
        for op in model.ops:
            if op.kind in (FLOAT, "input"):
                continue
            xs = [values[name] for name in op.inputs]
            if op.weighted:
                y = multiply(op, xs[0], tf.cast(op.weight, tf.float32), tf.cast(op.bias, tf.float32))
                y = y if op.low is None else tf.maximum(y, op.low)
                if op.name in wanted:
                    peak = np.asarray(tf.reduce_max(tf.abs(y), list(range(y.shape.rank - 1))), np.float64)
                    peaks[op.name] = np.maximum(peaks[op.name], peak) if op.name in peaks else peak
                values[op.name] = clamp(op, y)
            else:
                values[op.name] = clamp(op, combine(op, xs))
            for name in op.inputs:
                left[name] -= 1
                if not left[name]:
                    del values[name]
    return peaks
