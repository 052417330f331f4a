"""The float side of the rounding sweep: every sum exact, so that no number depends on order, batches or threads.

What a layer or an average reads is snapped (rounding.moments.snapping) and multiplied in float64; results are kept as
float32. Functions of one element are NumPy's, in float64; ops that only move or select elements are what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.evaluation import FloatModel
from mpq_plugins.graph.node import CONSTANT, FLOAT, INPUT, Node, Weight
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.weights import matrix
from mpq_plugins.rounding.moments.snapping import ACTIVATION_BITS, SINGLE_BITS, significant_bits, snap, snap_weight
from mpq_plugins.rounding.row_parts import ELEMENTS, row_parts
from mpq_plugins.search.exact_products import multiplied


def adds_or_rounds(node: Node) -> bool:
    """Whether a node adds products, or rounds, so that what it reads is snapped."""
    if node.op in (FLOAT, CONSTANT):
        return False
    op = op_of(node)
    return not op.table and (op.weighted or op.rounds or node.op == INPUT)


def exact_output(model: FloatModel, node: Node, largest: float) -> Callable[[Sequence[Any]], Any]:
    """What gives the output of a node before its own clamp, from what it reads.

    largest: the largest magnitude that it reads on all chunks, where the node adds products, or rounds.
    """
    run = model.runner
    if node.op in (FLOAT, CONSTANT):
        return partial(model.step, node)
    op = op_of(node)
    if op.table:
        return lambda inputs: _looked_up(run, node, inputs[0])
    if not adds_or_rounds(node):
        return lambda inputs: op.value(run, node, *inputs)
    rows = _snapped_rows(node) if op.weighted else None
    return lambda inputs: _summed(model, node, rows, inputs[0], largest)


def _snapped_rows(node: Node) -> Weight:
    """The snapped weight of a layer, in matrix form; of a wide dense one in float32, if that holds it."""
    weight = matrix(node)
    if node.op != "linear" or weight.size <= ELEMENTS or significant_bits(weight.shape[1]) > SINGLE_BITS:
        return snap_weight(weight)
    snapped = np.empty(weight.shape, np.float32)
    for part in row_parts((1, *weight.shape)):
        snapped[part] = snap_weight(weight[part])
    return snapped


def _looked_up(run: Runner, node: Node, x: Any) -> Any:
    """A function of one element, of float64 values."""
    return run.tensor(op_of(node).value(NUMPY_RUNNER, node, run.numpy(x).astype(np.float64)), "float32")


def _summed(model: FloatModel, node: Node, rows: Weight | None, x: Any, largest: float) -> Any:
    """What adds products, or rounds. rows: the snapped weight of a layer, in matrix form."""
    run = model.runner
    snapped = snap(run.numpy(x), largest, ACTIVATION_BITS)
    if rows is None:
        return run.to_precision(op_of(node).value(run, node, run.tensor(snapped)), "float32")
    product = multiplied(node, rows, snapped, model.graph.layout)
    if node.bias is not None:
        product += _along_channels(model, node)  # last, which rounds once
    return run.tensor(product, "float32")


def _along_channels(model: FloatModel, node: Node) -> NDArray[np.float64]:
    """The bias, shaped to broadcast against the output."""
    assert node.weight is not None
    channels_second = op_of(node).images and model.graph.layout == "NCHW"
    return node.biases.reshape((-1, *(1,) * (node.weight.ndim - 2)) if channels_second else (-1,))
