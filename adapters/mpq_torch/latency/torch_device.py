"""torch's int8 kernels on this machine as a device: builds the operator of a workload and times it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mpq_plugins import plugins
from mpq_plugins.errors import CostError
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.device import Device, machine_facts
from mpq_plugins.hardware.target import Target
from mpq_plugins.hardware.workload import Workload
from mpq_plugins.latency.clock import seconds_per_call
from mpq_plugins.latency.rapl import joules_per_call
from mpq_plugins.recipe.recipe import Recipe
from mpq_torch.modules.written import Clamp, Concat, Pad
from mpq_torch.runner.slicing import Slice
from mpq_torch.torch_ao.engine import quantized_engine
from mpq_torch.torch_ao.grid_observers import CONTAINER_BITS

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
    """What the kernels make of it: bits change nothing but the clip that an activation of few bits needs."""
    if workload.weight:
        return workload.at(CONTAINER_BITS, CONTAINER_BITS)
    if workload.op == "float":
        return None  # torch's float ops are no part of what a search can change
    few = (workload.activation_bits or CONTAINER_BITS) < CONTAINER_BITS
    if workload.op == "clip" and not few and not workload.option("own"):
        return None
    plain = workload.at(None, None)
    if workload.op in ("clip", "clamp"):
        bounds = [(name, workload.option(name)) for name in ("low", "high") if workload.op == "clamp"]
        return replace(plain, options=(("images", len(workload.output) == 3), *bounds))
    if workload.op == "concat":
        return replace(plain, options=(("dim", workload.option("axis")),))
    return plain


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
    makers: dict[str, Callable[[], Callable[..., Any]]] = {
        "add": lambda: lambda a, b: torch.ops.quantized.add(a, b, 2 * STEP, ZERO_POINT),
        "mul": lambda: lambda a, b: torch.ops.quantized.mul(a, b, 2 * STEP, ZERO_POINT),
        "clip": lambda: Clamp(0.0, 127 * STEP, option("images", False)),
        "clamp": lambda: Clamp(option("low"), option("high"), option("images", False)),
        "hardswish": lambda: lambda x: torch.ops.quantized.hardswish(x, STEP, ZERO_POINT),
        "relu": lambda: torch.relu,
        "sigmoid": lambda: torch.sigmoid,
        "hardsigmoid": lambda: torch.nn.functional.hardsigmoid,
        "concat": lambda: Concat(option("dim", 1)),
        "max_pool": lambda: _max_pool(workload),
        "avg_pool": lambda: _average_pool(workload),
        "global_avg_pool": lambda: _mean(workload),
        "pad": lambda: Pad(tuple(side for sides in reversed(option("pads")) for side in sides)),
        "reshape": lambda: _moved(workload),
    }
    if op not in makers:
        raise CostError(f"torch has no integer kernel for {workload}; leave it out of the table, or keep it in float")
    return makers[op]()


def _windows(workload: Workload) -> dict[str, Any]:
    """kernel_size, stride, padding and ceil_mode of a pooling; torch pads both sides alike."""
    option = workload.option
    padding = tuple(before for before, _ in option("padding"))
    ceil_mode = any(option("overhang", ()))
    return {"kernel_size": option("kernel"), "stride": option("stride"), "padding": padding, "ceil_mode": ceil_mode}


def _max_pool(workload: Workload) -> Callable[..., Any]:
    kind = nn.MaxPool1d if len(workload.output) == 2 else nn.MaxPool2d
    return kind(dilation=workload.option("dilation"), **_windows(workload))


def _average_pool(workload: Workload) -> Callable[..., Any]:
    pool = F.avg_pool1d if len(workload.output) == 2 else F.avg_pool2d
    return partial(pool, **_windows(workload))


def _mean(workload: Workload) -> Callable[..., Any]:
    axes, keepdims = workload.option("axes"), workload.option("keepdims")
    if keepdims and axes == (2, 3):
        return lambda x: F.adaptive_avg_pool2d(x, 1)
    return lambda x: torch.mean(x, axes, keepdims)


def _moved(workload: Workload) -> Callable[..., Any]:
    """The ops that a target calls reshape."""
    option = workload.option
    if option("steps"):
        return Slice(tuple(map(slice, option("starts"), option("stops"), option("steps"))), (-1, *workload.output))
    if option("times"):
        scale = tuple(float(times) for times in option("times")[2:])
        return lambda x: F.interpolate(x, scale_factor=scale, mode="nearest")
    if option("order"):
        return lambda x: x.permute(option("order"))
    return lambda x: x.reshape(len(x), *workload.output)


def _layer(target: str, workload: Workload) -> Callable[..., Any]:
    """The layer as fx.quantize converts it, without the quantization in front of it and behind it."""
    from mpq_torch.convert import quantize
    from mpq_torch.reader.inventory import inventory as inventory_of

    model = nn.Sequential(_float_layer(workload)).eval()
    example = torch.rand(workload.batch, *workload.inputs[0])
    inventory, hardware = inventory_of(model, example), plugins.target(target)
    grids = {}
    for site in inventory:
        bits, axis = CONTAINER_BITS, None
        exponents: Any = 0
        if site.kind == "weight":  # the most that this processor's kernels hold, which takes them no longer
            bits = max(candidate.bits for candidate in hardware.weight_candidates(site.op))
        if site.kind == "weight" and workload.per_channel:
            axis, exponents = site.channel_axis, [0] * int(site.channels or 0)
        signed = site.kind == "weight" or site.op != "input"
        grids[site.name] = Grid.power_of_two(bits, exponents, signed, axis=axis)
    recipe = Recipe.from_inventory(inventory, grids, target, "latency")
    return _core(quantize(model, recipe, example))


def _float_layer(workload: Workload) -> nn.Module:
    if workload.op == "linear":
        return nn.Linear(workload.weight[1], workload.weight[0])
    dims = len(workload.weight) - 2
    kinds: Mapping[tuple[bool, int], Callable[..., nn.Module]] = {
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
