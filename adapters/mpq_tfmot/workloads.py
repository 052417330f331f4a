"""The workloads of a Keras model: what each site makes a device do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpq_plugins.latency.model_latency import ModelWork
from mpq_plugins.latency.workload import Workload
from mpq_tfmot.canonical import CanonicalModel, last_integer_ops
from mpq_tfmot.canonical_ops import ALIASES, FLOAT, Op
from mpq_tfmot.model_sites import ModelSites

PLAIN = ("pool", "strides", "padding", "axes", "keepdims", "axis", "paddings", "permutation", "repeats")
"""Options of ops that are plain values, and that ``litert_device`` makes the op of again."""
Shape = tuple[int, ...]


def model_work(model: CanonicalModel, sites: ModelSites, per_channel: bool, batch: int = 1) -> ModelWork:
    """The workloads of one call with ``batch`` samples.

    Ops with a weight have torch's layout, channels first, as all workloads do; others have Keras' shapes.
    Float ops behind the last weight count: a softmax, and the dequantization in front of it.
    """
    weights: dict[str, tuple[Workload, ...]] = {}
    activations: dict[str, tuple[Workload, ...]] = {}

    def add(site: str, *found: Workload) -> None:
        activations[site] = (*activations.get(site, ()), *found)

    for op in model.ops:
        if op.kind == FLOAT:
            continue
        site = sites.grid_of[op.name]
        signed = sites.inventory[site].signed
        shapes = tuple(model[name].shape for name in op.inputs)
        if op.weighted:
            weights[op.weight_site] = (_layer(op, shapes[0], per_channel, batch),)
        elif op.kind not in ALIASES:
            add(site, Workload(op.kind, shapes or (op.shape,), op.shape, batch=batch, options=_plain(op.options)))
        elif op.kind == "reshape":
            add(site, Workload("reshape", shapes, op.shape, batch=batch, options=_plain(op.options)))
        if op.weighted or op.kind in ("input", "add") or (op.kind == "relu" and op.high is not None):
            add(site, _clip(op, signed, batch))
    return ModelWork(weights, activations, tuple(_floats(model, batch)))


def _clip(op: Op, signed: bool, batch: int) -> Workload:
    """The MINIMUM and MAXIMUM that keep codes in the grid; at 8 bits only where the op has a bound of its own."""
    options = (("bounds", 2 if signed else 1), ("own", op.high is not None))
    return Workload("clip", (op.shape,), op.shape, batch=batch, options=options)


def _layer(op: Op, shape: Shape, per_channel: bool, batch: int) -> Workload:
    if op.kind == "linear":
        inputs, outputs = op.weight.shape
        return Workload("linear", (shape,), op.shape, (outputs, inputs), per_channel=per_channel, batch=batch)
    weight = op.weight.shape
    kernel, (a, b) = tuple(weight[:-2]), weight[-2:]
    depthwise, ones = op.kind.startswith("depthwise"), (1,) * len(kernel)
    return Workload(
        op.kind,
        (channels_first(shape),),
        channels_first(op.shape),
        (a * b, 1, *kernel) if depthwise else (b, a, *kernel),
        stride=tuple(op.options.get("strides", ones)),
        padding=str(op.options.get("padding", "valid")),
        dilation=tuple(op.options.get("dilation", ones)),
        groups=a if depthwise else 1,
        per_channel=per_channel,
        batch=batch,
    )


def channels_first(shape: Shape) -> Shape:
    """A shape of Keras as torch has it; ``channels_last`` takes it back."""
    return (shape[-1], *shape[:-1])


def channels_last(shape: Shape) -> Shape:
    """A shape of torch as Keras has it."""
    return (*shape[1:], shape[0])


def _floats(model: CanonicalModel, batch: int) -> list[Workload]:
    found = []
    for name in last_integer_ops(model):
        shape = model[name].shape
        found.append(Workload("dequantize", (shape,), shape, batch=batch))
    for op in model.ops:
        if op.kind == FLOAT:
            what = str(op.options.get("what"))
            found.append(Workload("float", (op.shape,), op.shape, batch=batch, options=(("what", what),)))
    return found


def _plain(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, _frozen(options[name])) for name in PLAIN if name in options)


def _frozen(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(v) for v in value)
    return value if isinstance(value, (str, bool)) else int(value)
