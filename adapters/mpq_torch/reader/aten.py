"""Calls of ATen in the words of torch's functions and methods, which the rules of the reader know."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch._ops import OpOverload

from mpq_torch.reader import float_functions
from mpq_torch.reader.rules import functions

_END = 2**63 - 1


@dataclass(frozen=True)
class Spelled:
    """A call as torch.fx would have it: op "call_function" or "call_method", and what it calls with what."""

    op: str
    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def aten_name(target: Any) -> str:
    """The name of an ATen op without namespace, overload and the mark of writing in place; "" for anything else."""
    if not isinstance(target, OpOverload) or target.namespace != "aten":
        return ""
    return str(target.overloadpacket.__name__).removesuffix("_")


def writes(target: Any) -> str:
    """The name of the argument that an op writes into, "" where it writes into none."""
    arguments = target._schema.arguments if isinstance(target, OpOverload) else ()
    return next((a.name for a in arguments if a.alias_info is not None and a.alias_info.is_write), "")


def makes_view(target: Any) -> bool:
    """Whether what an op returns lies in the memory of what it reads."""
    if not isinstance(target, OpOverload):
        return target is operator.getitem
    return any(r.alias_info is not None for r in target._schema.returns) and not writes(target)


def named_arguments(target: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a call gives, by their names in the schema."""
    return dict(zip((a.name for a in target._schema.arguments), args, strict=False)) | dict(kwargs)


def spelled(target: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Spelled:
    """A call of an ATen op in the words that there is a rule for; the op itself where there is none."""
    name = aten_name(target)
    if name in _SPECIAL:
        return _SPECIAL[name](named_arguments(target, args, kwargs))
    for function in (getattr(torch, name, None), getattr(F, name, None)):
        if function is not None and _is_known(function):
            return Spelled("call_function", function, args, kwargs)
    if name in functions():
        plain = {key: value for key, value in kwargs.items() if key != "layout"}  # no method takes one
        return Spelled("call_method", name, args, plain)
    if writes(target) and name:
        found = getattr(getattr(torch.ops.aten, name, None), target._overloadname, None)
        return Spelled("call_function", target if found is None else found, args, kwargs)
    return Spelled("call_function", target, args, kwargs)


def _is_known(function: Any) -> bool:
    return function in functions() or function in float_functions.FUNCTIONS or function in float_functions.SPECIAL


def cut_of(given: Mapping[str, Any]) -> slice:
    """The slice that aten::slice takes along its axis."""
    start, end, step = given.get("start"), given.get("end"), given.get("step", 1)
    return slice(None if start == 0 else start, None if end == _END else end, None if step == 1 else step)


def _function(function: Callable[..., Any], *names: str) -> Callable[[Mapping[str, Any]], Spelled]:
    """A function of the same arguments in another order, the last ones left out where they are not given."""

    def made(given: Mapping[str, Any]) -> Spelled:
        args = [given.get(name) for name in names]
        return Spelled("call_function", function, tuple(args), {})

    return made


def _slice(given: Mapping[str, Any]) -> Spelled:
    index = (*[slice(None)] * given.get("dim", 0), cut_of(given))
    return Spelled("call_function", operator.getitem, (given["self"], index), {})


def _resized(mode: str) -> Callable[[Mapping[str, Any]], Spelled]:
    def made(given: Mapping[str, Any]) -> Spelled:
        options = {
            "size": given.get("output_size"),
            "scale_factor": given.get("scale_factors"),
            "mode": mode,
            "align_corners": given.get("align_corners"),
        }
        args = (given.get("input", given.get("self")),)
        return Spelled("call_function", F.interpolate, args, {k: v for k, v in options.items() if v is not None})

    return made


def _method(name: str, *names: str) -> Callable[[Mapping[str, Any]], Spelled]:
    return lambda given: Spelled("call_method", name, tuple(given[n] for n in names if n in given), {})


_SPECIAL: dict[str, Callable[[Mapping[str, Any]], Spelled]] = {
    "batch_norm": _function(
        F.batch_norm, "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"
    ),
    "layer_norm": _function(F.layer_norm, "input", "normalized_shape", "weight", "bias", "eps"),
    "feature_dropout": _function(F.dropout2d, "input", "p", "train"),
    "embedding": _function(F.embedding, "indices", "weight"),
    "slice": _slice,
    "view": _method("reshape", "self", "size"),  # what runs in float may lie in another order in memory
    "_unsafe_view": _method("reshape", "self", "size"),
    "sym_size": _method("size", "self", "dim"),
    "upsample_nearest1d": _resized("nearest"),
    "upsample_nearest2d": _resized("nearest"),
    "upsample_bilinear2d": _resized("bilinear"),
    "upsample_linear1d": _resized("linear"),
    "upsample_bicubic2d": _resized("bicubic"),
}
