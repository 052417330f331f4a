"""A graph on its grids as a LiteRT flatbuffer in which every quantized op is an integer op.

The flatbuffer is written from the grids themselves: nothing can stay float unseen, and every tensor carries the name
of its site. Grids of less than 8 bits sit in int8 at their own (coarse) step, with MINIMUM and MAXIMUM where they end
before int8 does; unsigned ones have zero point -128, which clips at zero for free.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.exporters.litert.emission import FLOAT_SUFFIX, FULL, Emission
from mpq_plugins.exporters.litert.float_ops import emit_float
from mpq_plugins.exporters.litert.integer_ops import emit
from mpq_plugins.graph.limits import check_limits
from mpq_plugins.graph.lookups import reads_whole_numbers, table_of_rows
from mpq_plugins.graph.node import ARGUMENT, CONSTANT, FLOAT, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.quantized import QuantizedGraph

METADATA = "mpq_plugins"
"""The name of the entry of a file's metadata that says what the file was made from, in JSON."""


def write_litert(
    quantized: QuantizedGraph,
    pack: bool = True,
    output_names: Sequence[str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> bytes:
    """The flatbuffer that computes what a simulation of the graph, channels last, computes.

    pack: store weights of 4 bits and fewer two to a byte, where the runtime runs that exactly.
    output_names: in the file's signature; by default the names of the nodes. facts: kept in the file's metadata.
    Raises UnsupportedOp, with all names, where LiteRT lacks an op, and GridError for steps that lie too far apart for
    the runtime.
    """
    assert quantized.graph.layout == "NHWC", "LiteRT's images have their channels last"
    check_limits(quantized)
    emission = Emission(quantized, pack)
    graph = quantized.graph
    refused: list[UnsupportedOp] = []
    for node in graph.nodes:
        try:
            emission.tensors[node.name] = _written(emission, node)
        except UnsupportedOp as error:
            refused.append(error)
            emission.tensors[node.name] = emission.writer.variable(f"{node.name}/refused", node.shape, "float32")
    if refused:
        names = [name for error in refused for name in error.names]
        reasons = {name: str(error) for error in refused for name in error.names}
        raise UnsupportedOp("; ".join(str(error) for error in refused), names, reasons)
    inputs = [(node.name, emission.tensors[node.name]) for node in graph.arguments]
    return emission.writer.finish(
        inputs,
        _outputs(emission, _unique(output_names or graph.outputs)),
        f"mpq-plugins, target {quantized.target.name}",
        (METADATA, json.dumps({"target": quantized.target.name, **(facts or {})})),
    )


def _written(emission: Emission, node: Node) -> int:
    graph = emission.quantized.graph
    if node.op == ARGUMENT:
        kind = "int32" if reads_whole_numbers(graph, node.name) else "float32"
        return emission.writer.variable(f"{node.name}{FLOAT_SUFFIX}", node.shape, kind)
    if node.op == CONSTANT:
        value = np.asarray(node.attrs["value"], np.float32)
        return emission.writer.constant(f"{node.name}{FLOAT_SUFFIX}", value, "float32")
    if node.op == FLOAT and table_of_rows(graph, node) is not None:
        return emission.tensors[node.inputs[0]]  # whose rows are looked up as codes
    if node.op == FLOAT:
        return emit_float(emission, node)
    grid = emission.quantized.grid(node)
    inputs = [emission.tensors[name] for name in node.inputs]
    if (op_of(node).grid == "alias" and node.op == "clamp") or not emission.clips(node, grid):
        return emit(emission, node, inputs, grid, node.site)
    whole = emit(emission, node, inputs, grid, f"{node.site}{FULL}")
    return emission.clipped(node, grid, whole, node.site)


def _outputs(emission: Emission, names: Sequence[str]) -> list[tuple[str, int]]:
    """The results as float32, each a tensor of its own."""
    found: list[tuple[str, int]] = []
    for name, output in zip(names, emission.quantized.graph.outputs, strict=True):
        tensor = emission.as_float(output)
        if tensor in (other for _, other in found) and emission.quantized.graph[output].op != FLOAT:
            tensor = emission.fresh_float(output, f"{name}{FLOAT_SUFFIX}{len(found)}")
        found.append((name, tensor))
    return found


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number = sum(other == name or other.startswith(f"{name}_") for other in found)
        found.append(f"{name}_{number}" if name in found else name)
    return found
