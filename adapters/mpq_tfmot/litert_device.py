"""LiteRT on this machine as a device: writes the operator of a workload as a model of its own and times it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema

from mpq_plugins import plugins
from mpq_plugins.errors import CostError
from mpq_plugins.grid import Grid
from mpq_plugins.latency.clock import seconds_per_call
from mpq_plugins.latency.device import Device, machine_facts
from mpq_plugins.latency.rapl import joules_per_call
from mpq_plugins.latency.workload import Workload
from mpq_plugins.silence import silenced
from mpq_plugins.targets import Target
from mpq_tfmot.arithmetic import XNNPACK
from mpq_tfmot.canonical import CanonicalModel
from mpq_tfmot.canonical_ops import OWN_GRID, Op
from mpq_tfmot.flatbuffer import FlatbufferWriter
from mpq_tfmot.litert import PACKED_BITS, write_litert
from mpq_tfmot.simulation import Simulation
from mpq_tfmot.verification import interpreter

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
    if workload.op == "hardswish":  # by a table, as every function of one element
        return replace(workload.at(None, None), op="lookup")
    if workload.op == "clamp":
        low, high = workload.option("low"), workload.option("high")
        return _clip(workload, int(high is not None) + int(low is not None and workload.option("signed")))
    if workload.op != "clip":
        return workload.at(None, None)
    if workload.option("after") in ("lookup", "hardswish"):
        return None  # the table clips
    few = (workload.activation_bits or CONTAINER_BITS) < CONTAINER_BITS
    if not few and not workload.option("own"):
        return None
    return _clip(workload, workload.option("bounds", 1) if few else 1)


def _clip(workload: Workload, bounds: int) -> Workload | None:
    """So many of MINIMUM and MAXIMUM."""
    shape = workload.output
    return Workload("clip", (shape,), shape, batch=workload.batch, options=(("bounds", bounds),)) if bounds else None


def packs(workload: Workload, kernels: str) -> bool:
    """Whether weights of at most 4 bits are stored two to a byte (litert.py says where that stays exact)."""
    if workload.op == "conv_transpose2d":
        return False
    pointwise = workload.op in ("conv1d", "conv2d") and {*workload.weight[2:], *workload.stride} == {1}
    return kernels != XNNPACK or workload.op == "linear" or pointwise


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
    runner = interpreter(flatbuffer(found, workload, copies), found.runtime.engine)
    rng = np.random.default_rng(0)
    for detail in runner.get_input_details():
        runner.resize_tensor_input(detail["index"], (workload.batch, *detail["shape"][1:]))
    with silenced("stderr"):
        runner.allocate_tensors()
    for detail in runner.get_input_details():
        runner.set_tensor(detail["index"], _random(rng, detail))
    runner.invoke()
    return runner.invoke, copies


def _random(rng: np.random.Generator, detail: dict[str, Any]) -> NDArray[Any]:
    shape = tuple(detail["shape"])
    if detail["dtype"] is np.float32:
        return rng.random(shape, np.float32)
    return rng.integers(-128, 128, shape, np.int8)


def flatbuffer(target: Target, workload: Workload, copies: int = 1) -> bytes:
    """A model of ``copies`` times the operator, from integer tensors to integer tensors."""
    if workload.op in ("input", "dequantize", "float", "clip"):
        return _plain_model(workload, copies)
    shapes = [_shape(workload, shape) for shape in workload.inputs]
    sources = [tuple(f"x{copy}_{index}" for index in range(len(shapes))) for copy in range(copies)]
    first = [Op(name, "input", (), shape) for row in sources for name, shape in zip(row, shapes, strict=True)]
    made = [_op(workload, f"y{copy}", row) for copy, row in enumerate(sources)]
    names = tuple(op.name for op in made)
    grid_of = {op.name: op.name for op in (*first, *made)}
    keeps = workload.op not in OWN_GRID
    grids = {op.name: UNSIGNED for op in first} | dict.fromkeys(names, UNSIGNED if keeps else SIGNED)
    for op in made:
        if op.weighted:
            exponents: Any = 0
            axis = None
            if workload.per_channel:
                axis = op.weight.ndim + op.channel_axis
                exponents = [0] * op.weight.shape[axis]
            grids[op.weight_site] = Grid.power_of_two(workload.weight_bits or CONTAINER_BITS, exponents, axis=axis)
    model = CanonicalModel((*first, *made), names)
    whole = write_litert(Simulation(model, grids, grid_of, target))
    return _core(whole, [op.name for op in first], list(names))


def _op(workload: Workload, name: str, inputs: tuple[str, ...]) -> Op:
    """The canonical op of a workload, with random weights."""
    shape = _shape(workload, workload.output)
    if not workload.weight:
        kind = "upsample" if workload.option("times") else workload.op
        return Op(name, kind, inputs, shape, options=_options(workload))
    weight = np.random.default_rng(len(name)).uniform(-1, 1, workload.weight)
    if workload.op == "linear":
        return Op(name, "linear", inputs, shape, weight.T, np.zeros(workload.channels))
    spatial = tuple(range(2, weight.ndim))
    if workload.op.startswith("depthwise"):
        multiplier = workload.channels // workload.groups
        keras = np.moveaxis(weight[:, 0], 0, -1).reshape(*workload.weight[2:], workload.groups, multiplier)
    else:
        keras = weight.transpose(*spatial, 1, 0)
    options = {"strides": workload.stride, "padding": _padding(workload), "dilation": workload.dilation}
    return Op(name, workload.op, inputs, shape, keras, np.zeros(workload.channels), options=options)


def _options(workload: Workload) -> dict[str, Any]:
    """The options of a canonical op without a weight."""
    given = dict(workload.options)
    if workload.op == "lookup":
        return {"function": lambda x: x}
    if workload.op in ("max_pool", "avg_pool"):
        padded = any(side for sides in given["padding"] for side in sides)
        return {"pool": given["kernel"], "strides": given["stride"], "padding": "same" if padded else "valid"}
    if "steps" in given:
        raise CostError(f"LiteRT has no kernel for {workload} that is known here")
    samples = {"pads": "paddings", "times": "repeats"}
    renamed = {samples[key]: value[1:] for key, value in given.items() if key in samples}
    whole = {"axes": "axes", "keepdims": "keepdims", "axis": "axis", "order": "permutation"}
    return renamed | {whole[key]: value for key, value in given.items() if key in whole}


def _padding(workload: Workload) -> str:
    """Keras' word for the padding; numbers, as torch gives them, are "same" where they are none of "valid"."""
    if isinstance(workload.padding, str):
        return workload.padding
    return "same" if any(workload.padding) else "valid"


def _shape(workload: Workload, shape: tuple[int, ...]) -> tuple[int, ...]:
    channels_first = workload.weight and workload.op != "linear"
    return (*shape[1:], shape[0]) if channels_first else shape


def _plain_model(workload: Workload, copies: int) -> bytes:
    """The ops that stand between floats and codes, and the clip of a grid."""
    writer, shape = FlatbufferWriter(), workload.inputs[0]
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
    return writer.finish([x], outputs, "a workload")


def _core(flat: bytes, inputs: list[str], outputs: list[str]) -> bytes:
    """A model without the quantization in front of its inputs and the dequantization behind its outputs."""
    import flatbuffers

    model = schema.ModelT.InitFromPackedBuf(bytearray(flat), 0)
    graph = model.subgraphs[0]
    index = {tensor.name.decode(): i for i, tensor in enumerate(graph.tensors)}
    ends = (schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE)
    graph.operators = [o for o in graph.operators if model.operatorCodes[o.opcodeIndex].builtinCode not in ends]
    graph.inputs, graph.outputs = [index[name] for name in inputs], [index[name] for name in outputs]
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(flat))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
