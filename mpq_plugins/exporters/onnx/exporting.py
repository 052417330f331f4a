"""Writing a graph on its grids as an ONNX file, for every framework."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from mpq_plugins.errors import ModelError, TargetError
from mpq_plugins.exporters.onnx.graph import Walk
from mpq_plugins.exporters.onnx.opsets import OLDEST_OPSET
from mpq_plugins.exporters.onnx.sizes import Sizes
from mpq_plugins.exporters.onnx.writer import GraphWriter
from mpq_plugins.graph.layout import quantized_in_layout
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.runtimes.onnxruntime import FRAMEWORK as ONNXRUNTIME
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Site
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.stored import whole_file

MOST_BYTES = 2**31 - 1


def check_recipe(recipe: Recipe, target: Target) -> None:
    """Raise TargetError unless the recipe's target runs on onnxruntime and has all of its grids."""
    if target.runtime is None or target.runtime.framework != ONNXRUNTIME:
        runs = f"runs on {target.runtime.framework}" if target.runtime else "has no runtime"
        raise TargetError(
            f"target {target.name!r} {runs}, and may round otherwise than onnxruntime; search for {ONNXRUNTIME}, or "
            f"take the grids over with dataclasses.replace(recipe, target={ONNXRUNTIME!r})"
        )
    for entry in (*recipe.weights, *recipe.activations):
        axis = entry.grid.axis if entry.kind == "weight" else None
        target.check(Site(entry.site, entry.kind, entry.op, entry.shape, channel_axis=axis), entry.grid)


def export(
    quantized: QuantizedGraph,
    path: str | PathLike[str] | None = None,
    *,
    opset: int = OLDEST_OPSET,
    pack: bool = True,
    symmetric: bool = False,
    batch: int | None = None,
) -> bytes:
    """A graph on its grids as ONNX: QuantizeLinear, integers in between, DequantizeLinear; returns its bytes.

    Inputs and outputs are float32, and lie as the graph's do. path: where to write the file; None writes none.
    opset: 21 or later; int2 weights from 25 on, which onnxruntime reads up to 26. pack: store weights of 4 bits and
        fewer two (int2: four) to a byte. symmetric: see containers.activation_container. batch: its size, where it is
        fixed; None leaves it open.

    Raises ModelError for an opset that is too old or too new, for more than one dynamic dimension and for a path that
    cannot be written, UnsupportedOp for an op or argument without a form in ONNX, GridError for a number that ONNX's
    types do not hold, and PluginError where onnx is not installed.
    """
    writer = GraphWriter(opset, pack, symmetric)
    channels_first, found = quantized_in_layout(quantized, "NCHW", keep_ends=True, absorb=False)
    orders = {name: order.axes for name, order in found.items() if order.axes != tuple(range(len(order.axes)))}
    ends: Sequence[str] = Walk(writer, channels_first, Sizes(batch), orders).write()
    proto = writer.model(ends, {"mpq_target": quantized.target.name})
    if proto.ByteSize() > MOST_BYTES:
        raise ModelError(f"the ONNX model has {proto.ByteSize():,} bytes, and one file holds {MOST_BYTES:,}")
    content: bytes = proto.SerializeToString()
    if path is not None:
        whole_file.write(path, content, "ONNX model", ModelError)
    return content
