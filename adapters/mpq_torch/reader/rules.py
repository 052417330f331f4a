"""Which rule makes the node of a call: by the class of its module, or by its function or method."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from mpq_plugins.registry import once_known
from mpq_torch.modules.written import FloatPart, SameGrid
from mpq_torch.reader import (
    arithmetic,
    elementwise,
    layers,
    moving,
    pooling,
    products,
    reducing,
    resizing,
    shuffling,
    slicing,
)
from mpq_torch.reader.call import Call, Made, Rule, function_name
from mpq_torch.reader.shapes import Observed


@once_known
def modules() -> dict[Any, Rule]:
    """By class of module."""
    records = {kind: rule for kind, rule in elementwise.of_records().items() if isinstance(kind, type)}
    return {
        **layers.MODULES,
        **arithmetic.MODULES,
        **elementwise.MODULES,
        **records,
        **pooling.MODULES,
        **reducing.MODULES,
        **moving.MODULES,
        **products.MODULES,
        **resizing.MODULES,
        **shuffling.MODULES,
        **slicing.MODULES,
        SameGrid: _same_grid,
    }


@once_known
def functions() -> dict[Any, Rule]:
    """By function, or name of a method."""
    return {
        **layers.FUNCTIONS,
        **elementwise.FUNCTIONS,
        **elementwise.of_records(),
        **arithmetic.FUNCTIONS,
        **arithmetic.of_records(),
        **pooling.FUNCTIONS,
        **products.FUNCTIONS,
        **reducing.FUNCTIONS,
        **moving.FUNCTIONS,
        **resizing.FUNCTIONS,
        **shuffling.FUNCTIONS,
        **slicing.FUNCTIONS,
    }


def _same_grid(call: Call) -> Made:
    """An op of a model that was constrained, by the function that it holds."""
    module: Any = call.module
    rooms = {"functional": F, "torch": torch}
    room, name = module.function.split(".")
    target = name if room == "Tensor" else getattr(rooms[room], name)
    return functions()[target](Call(call.node, call.name, None, call.names, call.observed, call.attribute))


def made_of(call: Call) -> Made:
    """What a call is in nodes."""
    if isinstance(call.module, FloatPart):
        return _inside(call, call.module)
    if call.module is not None:
        for kind, rule in modules().items():
            if isinstance(call.module, kind):
                return rule(call)
        return call.unknown(f"no integer kernel for {type(call.module).__name__}")
    found = functions().get(call.node.target) or elementwise.BY_NAME.get(function_name(call.node))
    return found(call) if found else call.unknown(f"no integer kernel for {function_name(call.node)}")


def inner_call(call: Call, sizing: bool = False) -> tuple[Call, dict[fx.Node, fx.Node]] | None:
    """The call of a function that was written as a module of its own, and what its arguments are outside.

    None where the call is of no such module, or of one that computes sizes too, unless ``sizing``.
    """
    if not isinstance(call.module, FloatPart):
        return None
    graph: Any = call.module.call
    *before, inner, _ = graph.graph.nodes
    inputs = [node for node in before if node.op == "placeholder"]
    if len(inputs) < len(before) and not sizing:
        return None
    outer = dict(zip(inputs, call.node.args, strict=True))
    names = {node: call.names[source] for node, source in outer.items()}
    shapes = {node: call.observed.shapes[source] for node, source in outer.items() if source in call.observed.shapes}
    if call.node in call.observed.shapes:
        shapes[inner] = call.observed.shapes[call.node]
    constants = {node: held for node, source in outer.items() if (held := call.held(source)) is not None}
    seen = {**outer, inner: call.node}
    whole, truths = (
        frozenset(n for n, at in seen.items() if at in g) for g in (call.observed.whole, call.observed.truths)
    )
    macs = {inner: call.observed.macs.get(call.node, 0)}
    observed = Observed(shapes, {}, constants, macs=macs, whole=whole, truths=truths)
    return Call(inner, call.name, None, names, observed, call.attribute), outer


def _inside(call: Call, part: FloatPart) -> Made:
    """The node of a call that was written as a module of its own; one that computes sizes can only be kept float."""
    found = inner_call(call)
    if found is None:
        graph: Any = part.call
        *_, last, _ = graph.graph.nodes
        return call.unknown(f"no integer kernel for {function_name(last)}")
    inner, outer = found
    made = made_of(inner)
    return outer[made] if isinstance(made, fx.Node) else made
