"""What a model returns: tensors in tuples, lists, dicts, named tuples and dataclasses."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

TOLERANCE = 1e-3


@dataclass(frozen=True)
class Made:
    """A call of a class that holds what the model returns. args, kwargs: which hold leaves."""

    kind: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def structure(value: Any) -> Any:
    """What the output node of a traced graph returns, with Made for calls of classes, and nodes as leaves."""
    if isinstance(value, fx.Node):
        if value.op == "call_function" and isinstance(value.target, type):
            args = tuple(structure(argument) for argument in value.args)
            return Made(value.target, args, {name: structure(argument) for name, argument in value.kwargs.items()})
        return value
    if _is_named_tuple(value):
        return Made(type(value), tuple(structure(part) for part in value), {})
    if isinstance(value, (tuple, list)):
        return type(value)(structure(part) for part in value)
    if isinstance(value, dict):
        return {name: structure(part) for name, part in value.items()}
    return value


def taken_apart(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """What a model returned, with Made for objects of classes. leaf: makes of what is neither what stands for it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = value.items() if isinstance(value, dict) else vars(value).items()
        return Made(type(value), (), {name: taken_apart(part, leaf) for name, part in held})
    if isinstance(value, OrderedDict):
        return Made(OrderedDict, ([(name, taken_apart(part, leaf)) for name, part in value.items()],), {})
    if _is_named_tuple(value):
        return Made(type(value), tuple(taken_apart(part, leaf) for part in value), {})
    if isinstance(value, (tuple, list)):
        return type(value)(taken_apart(part, leaf) for part in value)
    if isinstance(value, dict):
        return {name: taken_apart(part, leaf) for name, part in value.items()}
    return leaf(value)


def mapped(value: Any, change: Callable[[Any], Any], make: Callable[[Made], Any]) -> Any:
    """A structure with its leaves changed. make: makes of a Made, whose leaves are changed already, what it is."""
    if isinstance(value, Made):
        args = tuple(mapped(part, change, make) for part in value.args)
        return make(Made(value.kind, args, {name: mapped(part, change, make) for name, part in value.kwargs.items()}))
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(part, change, make) for part in value)
    if isinstance(value, dict):
        return {name: mapped(part, change, make) for name, part in value.items()}
    return change(value)


def made(call: Made) -> Any:
    """The object itself."""
    return call.kind(*call.args, **call.kwargs)


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors that a model returned, in their order."""
    found: list[Tensor] = []
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            parts: Sequence[Any] = [getattr(leaf, field.name) for field in dataclasses.fields(leaf)]
            found += tensors_of(list(parts))
    return found


def differ(a: Tensor, b: Tensor) -> bool:
    """Whether two outputs of one model differ by more than rounding, as a fraction of the largest finite number."""
    if a.shape != b.shape:
        return True
    if not a.is_floating_point():
        return False
    finite = a.isfinite()
    if not torch.equal(a[~finite].nan_to_num(0), b[~finite].nan_to_num(0)):
        return True
    a, b = a[finite], b[finite]
    return bool(a.numel()) and not float((a - b).abs().max()) <= TOLERANCE * float(a.abs().max())


def _is_named_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")
