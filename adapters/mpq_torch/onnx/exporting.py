"""Writing a recipe's model as an ONNX file."""

from __future__ import annotations

from os import PathLike
from typing import Any

from torch import nn

from mpq_plugins import plugins
from mpq_plugins.errors import ModelError, NothingQuantized, TargetError
from mpq_plugins.hardware.onnxruntime import ONNXRUNTIME
from mpq_plugins.inventory import Site
from mpq_plugins.onnx_graph.opsets import OLDEST_OPSET
from mpq_plugins.onnx_graph.writer import GraphWriter
from mpq_plugins.recipe import Recipe
from mpq_plugins.stored import whole_file
from mpq_torch.batches import as_batch, model_inputs
from mpq_torch.canonical_simulation import simulate
from mpq_torch.onnx.graph import Walk, integer_ends
from mpq_torch.onnx.shapes import shapes_of

MOST_BYTES = 2**31 - 1


def export(
    model: nn.Module,
    recipe: Recipe,
    example_inputs: Any,
    path: str | PathLike[str] | None = None,
    *,
    opset: int = OLDEST_OPSET,
    pack: bool = True,
    symmetric: bool = False,
    dynamic_batch: bool = True,
) -> bytes:
    """The model of a recipe as ONNX: QuantizeLinear, integers in between, DequantizeLinear; returns its bytes.

    model: what ``fx.constrain`` returned, or any model that the recipe fits, whose weights and biases
        are then rounded to nearest. Inputs and outputs are float32.
    example_inputs: a tensor, or a tuple of the model's arguments, for the shapes.
    path: where to write the file; None writes none.
    opset: 21 or later; int2 weights from 25 on, which onnxruntime reads up to 26.
    pack: store weights of 4 bits and fewer two (int2: four) to a byte.
    symmetric: store signed activations in int8 with zero point 0, which compilers for accelerators ask
        for, instead of uint8. onnxruntime then computes in float32 where its integer kernels want one
        type; the numbers are the same.
    dynamic_batch: leave the first dimension open; False fixes it at that of the example.

    Below 8 bits, a Clip of the integers follows each QuantizeLinear. onnxruntime's integer kernels (all but those of
    transposed convolutions) are exact whatever the sums; without its graph optimizations it computes in float32,
    which is exact while no sum of products passes 2**24 steps of the accumulator.

    Raises TargetError for a recipe of another target, RecipeMismatch for one of another model, ModelError for an
    opset that is too old, for more than one dynamic dimension and for a path that cannot be written, UnsupportedOp
    for an op without a form in ONNX, and PluginError where onnx is not installed.
    """
    writer = GraphWriter(opset, pack, symmetric)
    _check_target(recipe)
    graph = simulate(model, recipe)
    example = as_batch(example_inputs, model_inputs(graph))
    if len(example) < model_inputs(graph):
        raise ModelError(f"the model takes {model_inputs(graph)} inputs, and the example has {len(example)}")
    walk = Walk(writer, graph, shapes_of(graph, example, dynamic_batch))
    walk.write()
    ends = integer_ends(graph)
    if not ends:
        raise NothingQuantized("no tensor of the model is on a grid; see the recipe's float ops")
    proto = writer.model([writer.float_of(walk.values[node]) for node in ends], {"mpq_target": recipe.target})
    if proto.ByteSize() > MOST_BYTES:
        raise ModelError(f"the ONNX model has {proto.ByteSize():,} bytes, and one file holds {MOST_BYTES:,}")
    content: bytes = proto.SerializeToString()
    if path is not None:
        whole_file.write(path, content, "ONNX model", ModelError)
    return content


def _check_target(recipe: Recipe) -> None:
    target = plugins.target(recipe.target)
    if target.runtime is None or target.runtime.framework != ONNXRUNTIME:
        runs = f"runs on {target.runtime.framework}" if target.runtime else "has no runtime"
        raise TargetError(
            f"target {target.name!r} {runs}, and may round otherwise than onnxruntime; search for {ONNXRUNTIME}, or "
            f"take the grids over with dataclasses.replace(recipe, target={ONNXRUNTIME!r})"
        )
    for entry in (*recipe.weights, *recipe.activations):
        axis = entry.grid.axis if entry.kind == "weight" else None
        target.check(Site(entry.site, entry.kind, entry.op, entry.shape, channel_axis=axis), entry.grid)
