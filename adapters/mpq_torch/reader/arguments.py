"""All that a module or function was called with besides tensors, defaults too, as plain values."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

AXIS = {"dim": "axis"}
"""Arguments that go by another name in records and files."""
BESIDES = ("inplace", "_stacklevel")
"""Arguments that say nothing of what is computed."""


def arguments_of(node: fx.Node, module: nn.Module | None) -> Mapping[str, Any] | None:
    """The arguments of a call; None where they are not known or not plain."""
    if module is not None:
        return _of_module(module)
    found = _of_function(node)
    return None if found is None else _settled(found)


def _of_module(module: nn.Module) -> Mapping[str, Any] | None:
    """What torch's own modules say of themselves; None of one with a state, which is no plain value."""
    own = type(module).__module__.startswith("torch.nn.")
    if not own or next(iter(module.state_dict()), None) is not None or next(module.children(), None) is not None:
        return None
    return _settled({name: getattr(module, name) for name in module.__constants__})


def _of_function(node: fx.Node) -> dict[str, Any] | None:
    if callable(node.target):
        try:
            bound = inspect.signature(node.target).bind(*node.args, **node.kwargs)
        except (TypeError, ValueError):  # built-in functions have no signature
            return _of_schema(node.target.__name__, node)
        bound.apply_defaults()
        return dict(bound.arguments)
    return _of_schema(str(node.target), node)


def _of_schema(name: str, node: fx.Node) -> dict[str, Any] | None:
    """By the first overload of torch's operator of that name that takes the arguments."""
    packet = getattr(torch.ops.aten, name, None)
    for overload in packet.overloads() if packet is not None else ():
        declared = getattr(packet, overload)._schema.arguments
        names = [argument.name for argument in declared]
        if len(node.args) > len(names) or not set(node.kwargs) <= set(names) or "out" in names:
            continue
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        if all(argument.name in given or argument.has_default_value() for argument in declared):
            return {a.name: given.get(a.name, a.default_value) for a in declared}
    return None


def _settled(given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = {AXIS.get(k, k): v for k, v in given.items() if not isinstance(v, fx.Node) and k not in BESIDES}
    if found.get("dtype", 0) is None:
        del found["dtype"]  # that of the input
    return found if all(_plain(value) for value in found.values()) else None


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_plain(each) for each in value)
    return value is None or isinstance(value, (bool, int, float, str))
