"""torch's comparisons, choices and whole parts of numbers, as functions of the core (``graph.logic``)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from mpq_plugins.graph.logic import CHOOSE
from mpq_torch.reader.call import Call

Found = tuple[str, dict[str, Any]] | None
COMPARED = {
    **dict.fromkeys(("gt", "greater"), "greater"),
    **dict.fromkeys(("ge", "greater_equal"), "greater_equal"),
    **dict.fromkeys(("lt", "less"), "less"),
    **dict.fromkeys(("le", "less_equal"), "less_equal"),
    "eq": "equal",
    **dict.fromkeys(("ne", "not_equal"), "not_equal"),
}
OF_TRUTHS = {
    "and_": ("logical_and", "bitwise_and"),
    "or_": ("logical_or", "bitwise_or"),
    "xor": ("logical_xor", "bitwise_xor"),
    "invert": ("logical_not", "bitwise_not"),
}
"""Operators, by name, and the functions that are the same of truth values; the first name is the core's."""
CASTS = ("bool", "cpu", "cuda", "double", "float", "int", "long", "to", "type", "type_as")


def chosen(call: Call) -> Found:
    """torch.where, and Tensor.where, which has its condition second; a constant condition is a "where"."""
    names = ("self", "condition", "other") if call.node.op == "call_method" else ("condition", "input", "other")
    given = {name: call.argument(index, name) for index, name in enumerate(names)}
    mask, first, second = given["condition"], given.get("input", given.get("self")), given["other"]
    held = _held(call, mask)
    if not isinstance(held, Tensor):
        return CHOOSE, {"condition": mask, "input": first, "other": second}
    keep = held.bool()
    if not _is_activation(call, first):
        keep, first, second = ~keep, second, first
    if not _is_activation(call, first):
        return None
    fill = call.constant(second)
    elsewhere = {"other": second} if fill is None else {"fill": fill}
    return "where", {"input": first, "condition": keep, **elsewhere}


def _held(call: Call, value: Any) -> Any:
    """The value of a constant, or what is given as it is; None of an activation."""
    return call.held(value) if isinstance(value, fx.Node) else value


def _is_activation(call: Call, value: Any) -> bool:
    return isinstance(value, fx.Node) and call.held(value) is None


def filled(call: Call) -> Found:
    """masked_fill: a number where the mask says so."""
    mask, fill = call.argument(1, "mask"), call.constant(call.argument(2, "value"))
    held = _held(call, mask)
    if fill is None:
        return None
    if not isinstance(held, Tensor):
        return CHOOSE, {"condition": mask, "input": fill, "other": call.tensor()}
    return "where", {"input": call.tensor(), "condition": ~held.bool(), "fill": fill}


def put(call: Call) -> Found:
    """A number written where a mask of the tensor's shape says so."""
    indices, fill = call.argument(1, "indices"), call.constant(call.argument(2, "values"))
    if fill is None or len(indices) != 1 or indices[0] not in call.observed.truths:
        return None
    return CHOOSE, {"condition": indices[0], "input": fill, "other": call.tensor()}


def _compared(word: str) -> Callable[[Call], Found]:
    return lambda call: (word, {"input": call.argument(0, "input"), "other": call.argument(1, "other")})


def _of_truths(word: str) -> Callable[[Call], Found]:
    """Of whole numbers it works on their bits."""

    def found(call: Call) -> Found:
        if call.node not in call.observed.truths:
            return None
        return word, dict(zip(("input", "other"), call.node.args, strict=False))

    return found


def _divided(word: str, **settings: str) -> Callable[[Call], Found]:
    return lambda call: (word, {"input": call.node.args[0], "other": call.argument(1, "other"), **settings})


def _heaviside(call: Call) -> Found:
    return "heaviside", {"input": call.tensor(), "other": call.argument(1, "values")}


def _cast(call: Call) -> Found:
    """From and to truth values and whole numbers; what floats lose on the way to other floats is not known here."""
    observed, source = call.observed, call.node.args[0]
    if call.node not in observed.whole and source not in observed.whole:
        return None
    to = "bool" if call.node in observed.truths else "int" if call.node in observed.whole else "float"
    return "cast", {"input": source, "to": to}


SPECIAL: dict[Any, Callable[[Call], Found]] = {
    **dict.fromkeys([torch.masked_fill, "masked_fill", "masked_fill_"], filled),
    **dict.fromkeys([torch.where, "where"], chosen),
    torch.ops.aten.index_put.default: put,
    **{
        target: _compared(word)
        for name, word in COMPARED.items()
        for target in (getattr(torch, name), name, getattr(operator, name, name))
    },
    **{
        target: _of_truths(names[0])
        for name, names in OF_TRUTHS.items()
        for target in (getattr(operator, name), *(t for n in names for t in (getattr(torch, n), n, f"{n}_")))
    },
    **dict.fromkeys([operator.floordiv, torch.floor_divide, "floor_divide"], _divided("div", rounding_mode="floor")),
    **dict.fromkeys([operator.mod, torch.remainder, "remainder"], _divided("remainder")),
    **dict.fromkeys([torch.fmod, "fmod"], _divided("fmod")),
    **dict.fromkeys([torch.heaviside, "heaviside"], _heaviside),
    **dict.fromkeys(CASTS, _cast),
}
