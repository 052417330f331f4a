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

from mpq_plugins.bias_correction import corrected_bias, quantize_layer, snap_bias
from mpq_plugins.calibration.layer_sums import LayerSums
from mpq_plugins.calibration.order import sweep_order
from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.moments import LayerMoments
from mpq_plugins.progress import track
from mpq_tfmot.batches import Batch, in_chunks
from mpq_tfmot.canonical import CanonicalModel
from mpq_tfmot.canonical_ops import FLOAT, Op, clamp
from mpq_tfmot.exact_float import exact_outputs
from mpq_tfmot.keras import tf
from mpq_tfmot.layer_matrix import columns, output_columns, thinned, weight_from_matrix, weight_matrix
from mpq_tfmot.simulation import Simulation

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
    chunks = in_chunks(batches)
    exact: Values = {}
    quantized: Values = {}
    readers = {name: len(found) for name, found in model.readers().items()}
    inputs = {op.name: index for index, op in enumerate(model.inputs)}
    solved: dict[str, Op] = {}
    for op in track(_ordered(model), "rounding layer by layer", progress):
        if op.kind == FLOAT:
            continue
        if op.kind == "input":
            exact[op.name] = exact_outputs(op, [[tf.constant(chunk[inputs[op.name]])] for chunk in chunks])
            quantized[op.name] = [simulation.step(op, [x]) for x in exact[op.name]]
            continue
        outputs = exact_outputs(op, list(zip(*(exact[name] for name in op.inputs), strict=True)))
        on_grid = op
        if op.weighted:
            grid = simulation.grids[simulation.grid_of[op.inputs[0]]]
            moments = _moments(op, model, outputs, exact, quantized, grid)
            on_grid = solved[op.name] = _solve(op, moments, simulation, nearest)
        exact[op.name] = [clamp(op, output) for output in outputs]
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


def _moments(
    op: Op, model: CanonicalModel, outputs: list[Any], exact: Values, quantized: Values, grid: Grid
) -> LayerMoments:
    """Moments of the layer's quantized input and of the output that it should give there.

    outputs: of the float layer before its clamp. grid: of its input.
    """
    partner = _residual_partner(op, model, quantized)
    wished = [output.numpy().astype(np.float64) for output in outputs]
    for index, value in enumerate(wished):
        if partner is not None:
            value += exact[partner][index].numpy().astype(np.float64) - quantized[partner][index].numpy()
        if not np.all(np.isfinite(value)):
            raise NonFiniteValues(
                f"site {op.name!r} is NaN or infinite on the calibration data; look for it in the weights before it"
            )
    sums = LayerSums(grid, wished, sum(value.size for value in wished) // op.shape[-1])
    total, first = sum(len(value) for value in wished), 0
    for x, y in zip(quantized[op.inputs[0]], wished, strict=True):
        for rows, thinning in thinned(op, first, len(y), total):
            sums.update(columns(op, x.numpy()[rows], thinning), output_columns(op, y[rows], thinning))
        first += len(y)
    return sums.moments()


def _ordered(model: CanonicalModel) -> list[Op]:
    """The ops in the order of the sweep."""
    adds = {op.name: _add_of(op, model.readers()[op.name]) for op in model.layers}
    last = {name for name, add in adds.items() if add is not None and add.inputs[-1] == name}
    by_name = {op.name: op for op in model.ops}
    order = sweep_order({op.name: op.inputs for op in model.ops}, {op.name for op in model.layers}, last)
    return [by_name[name] for name in order]


def _residual_partner(op: Op, model: CanonicalModel, quantized: Values) -> str | None:
    """The other operand of the add that alone reads this layer, if it is known by now."""
    add = _add_of(op, model.readers()[op.name])
    other = next((name for name in add.inputs if name != op.name), None) if add is not None else None
    return other if other in quantized else None


def _add_of(op: Op, readers: list[Op]) -> Op | None:
    """The add that alone reads an op as it is, without a clamp."""
    if op.low is not None or op.high is not None or len(readers) != 1:
        return None
    return readers[0] if readers[0].kind == "add" else None
