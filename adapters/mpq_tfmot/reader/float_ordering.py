"""TensorFlow's places and order of elements, as functions of the core: argmax, top k, running sums, one of many."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mpq_plugins.graph.node import Operand
from mpq_tfmot.keras import tf

Found = tuple[str, dict[str, Any]]
"""The word of the function, and its arguments beside the tensor."""


def _place(word: str) -> Callable[[Mapping[str, Any], int], Found | None]:
    def found(given: Mapping[str, Any], rank: int) -> Found | None:
        axis = given.get("axis")
        return None if axis is None or int(axis) % rank == 0 else (word, {"axis": int(axis) % rank})

    return found


def _largest(given: Mapping[str, Any], rank: int) -> Found | None:
    if not given["sorted"]:
        return None
    return "top_k", {"axis": rank - 1, "count": int(given["k"]), "largest": True}


def _running(given: Mapping[str, Any], rank: int) -> Found | None:
    axis = int(given["axis"]) % rank
    return None if axis == 0 or given["exclusive"] or given["reverse"] else ("cumsum", {"axis": axis})


def _one_of_many(given: Mapping[str, Any], rank: int) -> Found | None:
    plain = given["on_value"] in (None, 1) and given["off_value"] in (None, 0) and given["axis"] in (None, -1, rank)
    return ("one_hot", {"count": int(given["depth"])}) if plain else None


FUNCTIONS: Mapping[str, tuple[Any, Callable[[Mapping[str, Any], int], Found | None]]] = {
    "math.argmax": (tf.argmax, _place("argmax")),
    "math.argmin": (tf.argmin, _place("argmin")),
    "math.cumsum": (tf.cumsum, _running),
    "math.top_k": (tf.math.top_k, _largest),
    "one_hot": (tf.one_hot, _one_of_many),
}
"""By symbol without the version: the function, whose arguments are named so, and what it is."""


def of_ordering(symbol: str, tensors: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The attrs "function" and "arguments" of a call of one tensor; none of another function."""
    function, rule = FUNCTIONS.get(symbol.removeprefix("compat.v1."), (None, None))
    if function is None or rule is None or len(tensors) != 1:
        return {}
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    found = rule(bound.arguments, len(tensors[0].shape))
    return {} if found is None else {"function": found[0], "arguments": {"input": Operand(0), **found[1]}}
