"""One sweep through the model that puts every layer on its grids, each knowing the error made before it.

The float model and its simulation run side by side, op by op, on the calibration data; at each layer
the moments of both give the core what it needs to round weight and bias. Memory holds only the
activations that are still needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.bias_correction import corrected_bias, quantize_layer, snap_bias
from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.moments import LayerMoments
from mpq_plugins.progress import track
from mpq_tfmot.batches import Batch, in_chunks
from mpq_tfmot.canonical import CanonicalModel
from mpq_tfmot.canonical_ops import FLOAT, Op, compute, multiply
from mpq_tfmot.keras import tf
from mpq_tfmot.layer_matrix import Thinning, columns, output_columns, weight_from_matrix, weight_matrix
from mpq_tfmot.simulation import Simulation

MAX_COLUMNS = 2**16
CHUNK = 64

Values = dict[str, list[Any]]


def compensate(
    model: CanonicalModel,
    simulation: Simulation,
    batches: Sequence[Batch],
    progress: bool | None = None,
    nearest: bool = False,
) -> CanonicalModel:
    """The model with every weight rounded with compensation, and every bias corrected.

    model: the float model. simulation: of the same model, for the arithmetic and the grids.
    nearest: round weights to nearest instead, and correct the biases alone.
    Raises NonFiniteValues, naming the site, where an activation is NaN or infinite.
    """
    chunks = in_chunks(batches, CHUNK)
    exact: Values = {}
    quantized: Values = {}
    readers = {name: len(found) for name, found in model.readers().items()}
    inputs = {op.name: index for index, op in enumerate(model.inputs)}
    solved: dict[str, Op] = {}
    for op in track(list(model.ops), "rounding layer by layer", progress):
        if op.kind == FLOAT:
            continue
        if op.kind == "input":
            exact[op.name] = [tf.constant(chunk[inputs[op.name]]) for chunk in chunks]
            quantized[op.name] = [simulation.step(op, [x]) for x in exact[op.name]]
            continue
        on_grid = op
        if op.weighted:
            moments = _moments(op, model, exact, quantized)
            on_grid = solved[op.name] = _solve(op, moments, simulation, nearest)
        exact[op.name] = [compute(op, list(xs)) for xs in zip(*(exact[name] for name in op.inputs), strict=True)]
        quantized[op.name] = [
            simulation.step(on_grid, list(xs)) for xs in zip(*(quantized[name] for name in op.inputs), strict=True)
        ]
        for name in op.inputs:
            readers[name] -= 1
            if not readers[name]:
                del exact[name], quantized[name]
    return replace(model, ops=tuple(solved.get(op.name, op) for op in model.ops))


def _solve(op: Op, moments: LayerMoments, simulation: Simulation, nearest: bool) -> Op:
    """The op with weight and bias on their grids, by the core."""
    matrix = weight_matrix(op)
    grid = simulation.grids[op.weight_site]
    by_row = grid if grid.axis is None else replace(grid, axis=0)
    step = simulation.grids[simulation.grid_of[op.inputs[0]]].steps[0]
    # as Keras holds them, so that what lies on a free step's grid but for float32 rounding is known to lie there
    rows, old_bias = (a.astype(np.float32) for a in (matrix.reshape(-1, matrix.shape[-1]), op.bias))
    if nearest:
        weight = by_row.project(rows)
        bias = snap_bias(corrected_bias(weight, moments), step, by_row, op.weight_site)
    else:
        weight, bias = quantize_layer(rows, old_bias, moments, by_row, step, name=op.weight_site)
    return replace(op, weight=weight_from_matrix(op, weight), bias=bias)


def _moments(op: Op, model: CanonicalModel, exact: Values, quantized: Values) -> LayerMoments:
    """Moments of the layer's quantized input and of the output that it should give there."""
    source, partner = op.inputs[0], _residual_partner(op, model, quantized)
    totals: list[NDArray[Any]] = []
    samples = sum(len(x) for x in exact[source])
    count = 0
    for index, (x_exact, x_grid) in enumerate(zip(exact[source], quantized[source], strict=True)):
        wished = multiply(op, x_exact, tf.cast(op.weight, tf.float32), tf.cast(op.bias, tf.float32)).numpy()
        if partner is not None:
            wished = wished + (exact[partner][index] - quantized[partner][index]).numpy()
        if not np.all(np.isfinite(wished)):
            raise NonFiniteValues(
                f"site {op.name!r} is NaN or infinite on the calibration data; look for it in the weights before it"
            )
        thinning = Thinning.to_at_most(MAX_COLUMNS, op, samples, index)
        # in float64: a covariance is a small difference of large moments where the mean is large
        x = columns(op, x_grid.numpy(), thinning).astype(np.float64)
        y = output_columns(op, wished, thinning).astype(np.float64)
        transposed = x.transpose(0, 2, 1)
        cross = y.reshape(len(x), -1, y.shape[1]) @ transposed
        parts = (x @ transposed, x.sum(axis=2), cross.reshape(-1, cross.shape[-1]), y.sum(axis=1))
        totals = [t + p for t, p in zip(totals, parts, strict=True)] if totals else list(parts)
        count += x.shape[2]
    return LayerMoments(*(total / count for total in totals))


def _residual_partner(op: Op, model: CanonicalModel, quantized: Values) -> str | None:
    """The other operand of the add that alone reads this layer, if it is known by now."""
    readers = model.readers()[op.name]
    if op.low is not None or op.high is not None or len(readers) != 1 or readers[0].kind != "add":
        return None
    other = next((name for name in readers[0].inputs if name != op.name), None)
    return other if other in quantized else None
