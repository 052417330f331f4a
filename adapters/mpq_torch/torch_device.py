"""torch's int8 kernels on this machine as a device: builds the operator of a workload and times it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import CostError
from mpq_plugins.grid import Grid
from mpq_plugins.latency.clock import seconds_per_call
from mpq_plugins.latency.device import Device, machine_facts
from mpq_plugins.latency.rapl import joules_per_call
from mpq_plugins.latency.workload import Workload
from mpq_plugins.recipe import Recipe
from mpq_plugins.targets import Target
from mpq_torch.canonical_ops import Clamp, Concat, Pad, SameGrid, Subsample
from mpq_torch.engine import quantized_engine
from mpq_torch.grid_observers import CONTAINER_BITS

STEP, ZERO_POINT = 2.0**-5, 0
KEPT = 4096
"""Operators that are kept ready; the least recently used goes first."""


def describe(target: Target) -> Device:
    """This machine with an engine of torch. Every bit-width sits in a byte, so all run alike."""
    assert target.runtime is not None
    facts = {
        **machine_facts(),
        "engine": target.runtime.engine,
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
    }
    return Device(target.name, facts, as_run, lambda workload: joules(target, workload))


def as_run(workload: Workload) -> Workload | None:
    """What the kernels make of bits: nothing, but for the clip that an activation of few bits needs."""
    if workload.weight:
        return workload.at(CONTAINER_BITS, CONTAINER_BITS)
    if workload.op == "clip" and (workload.activation_bits or CONTAINER_BITS) >= CONTAINER_BITS:
        return None
    return workload.at(None, None)


def seconds(target: Target, workload: Workload) -> float:
    """One sample of the seconds of a call. Raises CostError for an op that has no integer kernel here."""
    assert target.runtime is not None
    with quantized_engine(target.runtime.engine), torch.no_grad():
        return seconds_per_call(prepared(target.name, target.runtime.engine, workload))


def joules(target: Target, workload: Workload) -> float | None:
    """Joules of a call by the processor's counters; None where they cannot be read."""
    assert target.runtime is not None
    with quantized_engine(target.runtime.engine), torch.no_grad():
        return joules_per_call(prepared(target.name, target.runtime.engine, workload))


@lru_cache(maxsize=KEPT)
def prepared(target: str, engine: str, workload: Workload) -> Callable[[], Any]:
    """A call of the operator on tensors of random codes, everything costly done before."""
    with quantized_engine(engine), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the deprecation of its quantized tensors
        generator = torch.Generator().manual_seed(0)
        tensors = [_codes((workload.batch, *shape), generator) for shape in workload.inputs]
        if workload.op == "input":
            values = tensors[0].dequantize().contiguous()
            return lambda: torch.quantize_per_tensor(values, STEP, ZERO_POINT, torch.quint8)
        if workload.op == "dequantize":
            return tensors[0].dequantize
        operator = _layer(target, workload) if workload.weight else _without_weight(workload)
        with torch.no_grad():
            operator(*tensors)
        return lambda: operator(*tensors)


def _codes(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.rand(shape, generator=generator) * (255 * STEP)
    if len(shape) == 4:  # integer convolutions write images with their channels last
        values = values.contiguous(memory_format=torch.channels_last)
    return torch.quantize_per_tensor(values, STEP, ZERO_POINT, torch.quint8)


def _without_weight(workload: Workload) -> Callable[..., Any]:
    op, option = workload.op, workload.option
    if op == "add":
        return lambda a, b: torch.ops.quantized.add(a, b, 2 * STEP, ZERO_POINT)
    if op == "clip":
        return Clamp(0.0, 127 * STEP, option("images", False))
    if op == "hardswish":
        return lambda x: torch.ops.quantized.hardswish(x, STEP, ZERO_POINT)
    if op == "relu":
        return torch.relu
    if op == "concat":
        return Concat(option("dim", 1))
    if option("module") == "pad":
        return Pad(option("pads"))
    if option("module") == "subsample":
        return Subsample(option("strides"))
    if option("function"):
        same = SameGrid(option("function"), op)
        args, kwargs = option("args", ()), dict(option("kwargs", ()))
        return lambda x: same(x, *args, **kwargs)
    if op == "clamp":
        return Clamp(option("low"), option("high"), option("images", False))
    if op == "max_pool":
        kind = nn.MaxPool1d if len(workload.output) == 2 else nn.MaxPool2d
        return kind(**{name: value for name, value in workload.options if name != "module"})
    raise CostError(f"torch has no integer kernel for {workload}; leave it out of the table, or keep it in float")


def _layer(target: str, workload: Workload) -> Callable[..., Any]:
    """The layer as fx.quantize converts it, without the quantization in front of it and behind it."""
    from mpq_torch import fx as adapter

    model = nn.Sequential(_float_layer(workload)).eval()
    example = torch.rand(workload.batch, *workload.inputs[0])
    inventory = adapter.inventory(model, example)
    grids = {}
    for site in inventory:
        bits, axis = CONTAINER_BITS, None
        exponents: Any = 0
        if site.kind == "weight" and workload.per_channel:
            axis, exponents = site.channel_axis, [0] * int(site.channels or 0)
        signed = site.kind == "weight" or site.op != "input"
        grids[site.name] = Grid.power_of_two(bits, exponents, signed, axis=axis)
    recipe = Recipe.from_inventory(inventory, grids, target, "latency")
    return _core(adapter.quantize(model, recipe, example))


def _float_layer(workload: Workload) -> nn.Module:
    if workload.op == "linear":
        return nn.Linear(workload.weight[1], workload.weight[0])
    dims = len(workload.weight) - 2
    kinds = {
        (False, 1): nn.Conv1d,
        (False, 2): nn.Conv2d,
        (True, 1): nn.ConvTranspose1d,
        (True, 2): nn.ConvTranspose2d,
    }
    if (workload.transposed, dims) not in kinds or "conv" not in workload.op:
        raise CostError(f"torch has no integer kernel for {workload}")
    geometry = {name: getattr(workload, name) for name in ("stride", "padding", "dilation") if getattr(workload, name)}
    if workload.transposed:
        geometry["output_padding"] = workload.option("output_padding", 0)
    inputs = workload.inputs[0][0]
    kernel = workload.weight[2:]
    return kinds[workload.transposed, dims](inputs, workload.channels, kernel, groups=workload.groups, **geometry)


def _core(converted: fx.GraphModule) -> fx.GraphModule:
    """A converted graph from its first integer tensor to its last."""
    graph = fx.Graph()
    values: dict[fx.Node, Any] = {}
    for node in converted.graph.nodes:
        if node.target is torch.quantize_per_tensor:
            values[node] = graph.placeholder("codes")
        elif node.target == "dequantize":
            graph.output(values[node.args[0]])
            break
        elif node.op not in ("placeholder", "output") and all(source in values for source in node.all_input_nodes):
            values[node] = graph.node_copy(node, lambda n: values[n])
    core = fx.GraphModule(converted, graph)
    core.graph.eliminate_dead_code()
    core.recompile()
    return core
