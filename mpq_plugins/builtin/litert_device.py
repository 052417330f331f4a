"""LiteRT on this machine as a device: writes the operator of a workload as a model of its own and times it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from mpq_plugins import plugins
from mpq_plugins.errors import CostError
from mpq_plugins.exporters.litert import packing
from mpq_plugins.exporters.litert.flatbuffer import FlatbufferWriter, as_bytes, unpacked
from mpq_plugins.exporters.litert.packing import PACKED_BITS
from mpq_plugins.exporters.litert.requirements import schema
from mpq_plugins.exporters.litert.running import on_random
from mpq_plugins.exporters.litert.writer import write_litert
from mpq_plugins.graph.node import ARGUMENT, INPUT, INPUT_SUFFIX, Batch, Graph, Node
from mpq_plugins.graph.ops import all_ops, op_of
from mpq_plugins.graph.placing import put_on_grids
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.weights import from_framework
from mpq_plugins.graph.windows import same_padding
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.device import Device, machine_facts
from mpq_plugins.hardware.target import LOOKUP, Target
from mpq_plugins.hardware.workload import Shape, Workload
from mpq_plugins.latency.clock import seconds_per_call
from mpq_plugins.latency.rapl import joules_per_call

CONTAINER_BITS = 8
MOST_COPIES = 8
COPIED_ELEMENTS = 2**16
"""An operator stands in its model so often that its outputs have this many elements, 1 to MOST_COPIES times, with
inputs and weights of its own each time; so that calling the interpreter hardly counts, and that the operator
does not find its inputs in the nearest cache. The time is divided by their number."""
KEPT = 1024
UNSIGNED, SIGNED = Grid.power_of_two(8, 0, signed=False), Grid.power_of_two(8, 3)


def describe(target: Target) -> Device:
    """This machine with LiteRT's interpreter, one thread, and the kernels of the target."""
    assert target.runtime is not None
    kernels = target.runtime.engine
    try:
        release = version("ai-edge-litert")
    except PackageNotFoundError:
        release = "none"
    facts = {**machine_facts(), "kernels": kernels, "ai-edge-litert": release, "threads": "1"}
    return Device(target.name, facts, lambda w: as_run(w, kernels), lambda w: joules(target, w))


def as_run(workload: Workload, kernels: str) -> Workload | None:
    """What the kernels make of bits: a byte for each code, or half of one for weights where they are packed."""
    if workload.weight:
        few = (workload.weight_bits or CONTAINER_BITS) <= PACKED_BITS and packs(workload, kernels)
        return workload.at(PACKED_BITS if few else CONTAINER_BITS, CONTAINER_BITS)
    if workload.op == "relu":
        return None  # part of the op before it, or of its grid
    if _is_function(workload.op):
        return replace(workload.at(None, None), op=LOOKUP)
    if workload.op == "clamp":
        low, high = workload.option("low"), workload.option("high")
        return _clip(workload, int(high is not None) + int(low is not None and workload.option("signed")))
    if workload.op != "clip":
        return workload.at(None, None)
    if _is_function(workload.option("after")):
        return None  # the table clips
    few = (workload.activation_bits or CONTAINER_BITS) < CONTAINER_BITS
    if not few and not workload.option("own"):
        return None
    return _clip(workload, workload.option("bounds", 1) if few else 1)


def _is_function(word: str) -> bool:
    """Whether a word is that of a function of one element, all of which run as tables."""
    record = all_ops().get(word)
    return word == LOOKUP or (record is not None and record.table)


def _clip(workload: Workload, bounds: int) -> Workload | None:
    """So many of MINIMUM and MAXIMUM."""
    shape = workload.output
    return Workload("clip", (shape,), shape, batch=workload.batch, options=(("bounds", bounds),)) if bounds else None


def packs(workload: Workload, kernels: str) -> bool:
    """Whether weights of at most 4 bits are stored two to a byte, where no bias is too large for it."""
    node = _node(workload, "y", ("x",))
    return packing.packs(node, kernels)


def seconds(target: Target, workload: Workload) -> float:
    """One sample of the seconds of a call. Raises CostError for an op that is not known here."""
    call, copies = _prepared(target.name, workload)
    return seconds_per_call(call) / copies


def joules(target: Target, workload: Workload) -> float | None:
    """Joules of a call by the processor's counters; None where they cannot be read."""
    call, copies = _prepared(target.name, workload)
    found = joules_per_call(call)
    return None if found is None else found / copies


@lru_cache(maxsize=KEPT)
def _prepared(target: str, workload: Workload) -> tuple[Callable[[], Any], int]:
    found = plugins.target(target)
    assert found.runtime is not None
    elements = max(1, int(np.prod(workload.output)))
    copies = int(np.clip(COPIED_ELEMENTS // elements, 1, MOST_COPIES))
    runner = on_random(flatbuffer(found, workload, copies), found.runtime.engine, workload.batch)
    runner.invoke()
    return runner.invoke, copies


def flatbuffer(target: Target, workload: Workload, copies: int = 1) -> bytes:
    """A model of ``copies`` times the operator, from integer tensors to integer tensors."""
    if workload.op in ("input", "dequantize", "float", "clip"):
        return _plain_model(workload, copies)
    shapes = [_shape(workload, shape) for shape in workload.inputs]
    nodes: list[Node] = []
    made: list[Node] = []
    for copy in range(copies):
        sources = [f"x{copy}_{index}" for index in range(len(shapes))]
        for name, shape in zip(sources, shapes, strict=True):
            index = len([node for node in nodes if node.op == ARGUMENT])
            nodes.append(Node(name, ARGUMENT, (), (Batch(), *shape), attrs={"index": index}))
            nodes.append(Node(name + INPUT_SUFFIX, INPUT, (name,), (Batch(), *shape)))
        made.append(_node(workload, f"y{copy}", tuple(name + INPUT_SUFFIX for name in sources)))
    graph = Graph((*nodes, *made), tuple(node.name for node in made), "NHWC")
    kept = op_of(made[0]).grid != "own"
    grids = {node.site: UNSIGNED for node in nodes} | {node.name: UNSIGNED if kept else SIGNED for node in made}
    for node in made:
        if node.weight is not None:
            exponents = [0] * len(node.weight) if workload.per_channel else 0
            axis = 0 if workload.per_channel else None
            grids[node.weight_site] = Grid.power_of_two(workload.weight_bits or CONTAINER_BITS, exponents, axis=axis)
    grid_of = {node.name: node.site for node in graph.nodes if node.op != ARGUMENT}
    whole = write_litert(QuantizedGraph(put_on_grids(graph, grid_of, grids), grids, grid_of, target))
    return _core(whole, [node.name for node in nodes if node.op == ARGUMENT], [node.name for node in made])


def _node(workload: Workload, name: str, inputs: tuple[str, ...]) -> Node:
    """The node of a workload, with random weights."""
    sample = _shape(workload, workload.output)
    shape: tuple[int | Batch, ...] = (Batch(), *sample)
    if not workload.weight:
        attrs = dict(workload.options)
        if "steps" in attrs:
            raise CostError(f"LiteRT has no kernel for {workload} that is known here")
        words = {"order": "transpose", "times": "upsample"}
        op = next((word for key, word in words.items() if key in attrs), workload.op)
        return Node(name, "sigmoid" if op == LOOKUP else op, inputs, shape, attrs=attrs)
    weight = np.random.default_rng(len(name)).uniform(-1, 1, workload.weight)
    if workload.op == "linear":
        return Node(name, "linear", inputs, shape, weight, np.zeros(workload.channels))
    weight = from_framework(workload.op, "NCHW", weight, workload.groups)
    sizes = _shape(workload, workload.inputs[0])[:-1]
    attrs = {"stride": workload.stride, "dilation": workload.dilation, "groups": workload.groups}
    attrs["padding"] = _sides(workload, sizes, sample[:-1])
    return Node(name, workload.op, inputs, shape, weight, np.zeros(workload.channels), attrs=attrs)


def _sides(workload: Workload, sizes: Shape, outside: Shape) -> Any:
    """Both sides of each axis: the workload's padding is "same", one number an axis, or both sides of each."""
    kernel, padding = workload.weight[2:], workload.padding
    each = list(zip(sizes, kernel, workload.stride, workload.dilation, outside, strict=True))
    if workload.op.startswith("conv_transpose"):
        wholes = [(n - 1) * s + d * (k - 1) + 1 - out for n, k, s, d, out in each]
        if isinstance(padding, str):
            return tuple((max(whole, 0) // 2, whole - max(whole, 0) // 2) for whole in wholes)
        return tuple((first, whole - first) for first, whole in zip(padding, wholes, strict=True))
    if isinstance(padding, str):
        return tuple(same_padding(n, k, s, d) if padding == "same" else (0, 0) for n, k, s, d, _ in each)
    return tuple(side if isinstance(side, tuple) else (side, side) for side in padding)


def _shape(workload: Workload, shape: tuple[int, ...]) -> tuple[int, ...]:
    channels_first = workload.weight and workload.op != "linear"
    return (*shape[1:], shape[0]) if channels_first else shape


def _plain_model(workload: Workload, copies: int) -> bytes:
    """The ops that stand between floats and codes, and the clip of a grid."""
    writer = FlatbufferWriter()
    shape: tuple[int | Batch, ...] = (Batch(), *workload.inputs[0])
    known = {"softmax": ("SOFTMAX", {"beta": 1.0}), "sigmoid": ("LOGISTIC", {})}
    floats = workload.op in ("input", "float")
    x = writer.variable("x", shape, "float32" if floats else "int8", None if floats else UNSIGNED)
    outputs = []
    for index in range(copies):
        name = f"y{index}"
        if workload.op == "input":
            outputs.append(writer.op("QUANTIZE", [x], writer.variable(name, shape, "int8", UNSIGNED)))
        elif workload.op == "dequantize":
            outputs.append(writer.op("DEQUANTIZE", [x], writer.variable(name, shape, "float32")))
        elif workload.op == "float":
            what = str(workload.option("what")).lower()
            if what not in known:
                raise CostError(f"LiteRT has no kernel for {workload} that is known here")
            code, options = known[what]
            outputs.append(writer.op(code, [x], writer.variable(name, shape, "float32"), **options))
        else:
            tensor = x
            for code, bound in (("MINIMUM", 100), ("MAXIMUM", -100))[: workload.option("bounds", 1)]:
                constant = writer.constant(
                    f"{name}/{code}/bound", np.array(bound), "int8", UNSIGNED.steps, -128 if not UNSIGNED.signed else 0
                )
                tensor = writer.op(code, [tensor, constant], writer.variable(f"{name}/{code}", shape, "int8", UNSIGNED))
            outputs.append(tensor)
    named = [(f"y{index}", output) for index, output in enumerate(outputs)]
    return writer.finish([("x", x)], named, "a workload")


def _core(flat: bytes, inputs: list[str], outputs: list[str]) -> bytes:
    """A model without the quantization in front of its inputs and the dequantization behind its outputs."""
    model = unpacked(flat)
    graph = model.subgraphs[0]
    index = {tensor.name.decode(): i for i, tensor in enumerate(graph.tensors)}
    operators = schema().BuiltinOperator
    ends = (operators.QUANTIZE, operators.DEQUANTIZE)
    graph.operators = [o for o in graph.operators if model.operatorCodes[o.opcodeIndex].builtinCode not in ends]
    graph.inputs, graph.outputs = [index[name] for name in inputs], [index[name] for name in outputs]
    model.signatureDefs = []
    return as_bytes(model)
