"""TensorFlow's comparisons, choices and whole parts of numbers, as functions of the core (``graph.logic``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpq_plugins.graph.logic import CHOOSE
from mpq_plugins.graph.node import Operand
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.record import is_symbol

_NAMES = ("x", "y")
FUNCTIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{
        f"math.{name}": (name, {})
        for name in (
            *("equal", "greater", "greater_equal", "less", "less_equal", "not_equal"),
            *("logical_and", "logical_not", "logical_or", "logical_xor"),
        )
    },
    **dict.fromkeys(("floor_div", "math.floordiv", "__operators__.floordiv"), ("div", {"rounding_mode": "floor"})),
    **dict.fromkeys(("math.floormod", "math.mod", "__operators__.mod"), ("remainder", {})),
}
"""By symbol without the version: the core's word, and what else it is told."""


def of_logic(symbol: str, tensors: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The attrs "function" and "arguments" of a call; none of another function."""
    symbol = symbol.removeprefix("compat.v1.")
    at = {id(tensor): index for index, tensor in enumerate(tensors)}
    if symbol in ("where", "where_v2"):
        return _chosen(at, args, kwargs)
    if symbol in ("cast", "saturate_cast"):
        return _cast(at, args, kwargs)
    if symbol not in FUNCTIONS:
        return {}
    word, settings = FUNCTIONS[symbol]
    given = [*args, *(kwargs[name] for name in _NAMES if name in kwargs)]
    operands = [_operand(at, value) for value in given]
    if any(value is None for value in operands):
        return {}
    return {"function": word, "arguments": {**dict(zip(("input", "other"), operands, strict=False)), **settings}}


def _operand(at: Mapping[int, int], value: Any) -> Any:
    """An activation by its place, or a constant; None for what is neither."""
    if id(value) in at:
        return Operand(at[id(value)])
    if is_symbol(value) or value is None or isinstance(value, str):
        return None
    return np.asarray(value, np.float64)


def _chosen(at: Mapping[int, int], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """tf.where; by a constant condition it is a "where"."""
    given = [*args, *(kwargs[key] for key in ("condition", "x", "y") if key in kwargs)]
    if len(given) != 3 or not any(map(is_symbol, given)):
        return {}
    if is_symbol(given[0]):
        names = ("condition", "input", "other")
        return {"function": CHOOSE, "arguments": {n: _operand(at, v) for n, v in zip(names, given, strict=True)}}
    keep, first, second = np.asarray(given[0]).astype(bool), *given[1:]
    if not is_symbol(first):
        keep, first, second = ~keep, second, first
    elsewhere = {"other": Operand(1)} if is_symbol(second) else {"fill": np.asarray(second, np.float64)}
    return {"function": "where", "arguments": {"input": Operand(0), "condition": keep, **elsewhere}}


def _cast(at: Mapping[int, int], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """From and to truth values and whole numbers."""
    source, kind = [*args, *(kwargs[key] for key in ("x", "value", "dtype") if key in kwargs)][:2]
    kinds = [tf.as_dtype(each) for each in (getattr(source, "dtype", None), kind) if each is not None]
    if id(source) not in at or len(kinds) != 2 or all(each.is_floating for each in kinds):
        return {}
    to = "bool" if kinds[1].is_bool else "int" if kinds[1].is_integer else "float"
    return {"function": "cast", "arguments": {"input": Operand(at[id(source)]), "to": to}}
