"""Comparisons, choices and whole parts of numbers (``graph.logic``) as ONNX nodes; truth values are zeros and ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mpq_plugins.exporters.onnx.writer import GraphWriter

Given = Mapping[str, Any]
Emit = Callable[[GraphWriter, str, Given], str]
_COMPARED = {
    "equal": "Equal",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
}


def _operands(writer: GraphWriter, name: str, given: Given, *keys: str) -> list[str]:
    """The names of the operands; numbers as constants."""
    found = [(key, given[key]) for key in keys or ("input", "other") if key in given]
    return [value if isinstance(value, str) else writer.constant(f"{name}.{key}", value) for key, value in found]


def _truths(writer: GraphWriter, x: str, name: str) -> str:
    return writer.node("Cast", [x], name, to=writer.onnx.TensorProto.BOOL)


def _compared(op: str) -> Emit:
    def emit(writer: GraphWriter, name: str, given: Given) -> str:
        return writer.floats(writer.node(op, _operands(writer, name, given), f"{name}.truth"), name)

    return emit


def _of(op: str) -> Emit:
    return lambda writer, name, given: writer.node(op, _operands(writer, name, given), name)


def _not(writer: GraphWriter, name: str, given: Given) -> str:
    return writer.node("Sub", [writer.constant(f"{name}.one", 1.0), given["input"]], name)


def _not_equal(writer: GraphWriter, name: str, given: Given) -> str:
    return _not(writer, name, {"input": _compared("Equal")(writer, f"{name}.equal", given)})


def _xor(writer: GraphWriter, name: str, given: Given) -> str:
    return writer.node("Abs", [_of("Sub")(writer, f"{name}.difference", given)], name)


def _choose(writer: GraphWriter, name: str, given: Given) -> str:
    condition, *ways = _operands(writer, name, given, "condition", "input", "other")
    return writer.node("Where", [_truths(writer, condition, f"{name}.truth"), *ways], name)


def _truncated(writer: GraphWriter, x: str, name: str) -> str:
    size = writer.node("Floor", [writer.node("Abs", [x], f"{name}.size")], f"{name}.whole")
    return writer.node("Mul", [writer.node("Sign", [x], f"{name}.sign"), size], name)


def _cast(writer: GraphWriter, name: str, given: Given) -> str:
    x, to = given["input"], given.get("to", "float")
    if to == "bool":
        return writer.floats(_truths(writer, x, f"{name}.truth"), name)
    return _truncated(writer, x, name) if to == "int" else writer.node("Identity", [x], name)


def _divided(writer: GraphWriter, name: str, given: Given) -> str:
    mode = given.get("rounding_mode")
    if mode is None:
        return _of("Div")(writer, name, given)
    quotient = _of("Div")(writer, f"{name}.quotient", given)
    return writer.node("Floor", [quotient], name) if mode == "floor" else _truncated(writer, quotient, name)


def _rest(mode: str) -> Emit:
    """What a quotient leaves over."""

    def emit(writer: GraphWriter, name: str, given: Given) -> str:
        a, b = _operands(writer, name, given)
        times = _divided(writer, f"{name}.times", {"input": a, "other": b, "rounding_mode": mode})
        return writer.node("Sub", [a, writer.node("Mul", [b, times], f"{name}.taken")], name)

    return emit


def _heaviside(writer: GraphWriter, name: str, given: Given) -> str:
    x, at_zero = _operands(writer, name, given)
    zero = writer.constant(f"{name}.zero", 0.0)
    above = writer.floats(writer.node("Greater", [x, zero], f"{name}.above"), f"{name}.step")
    return writer.node("Where", [writer.node("Equal", [x, zero], f"{name}.at"), at_zero, above], name)


FORMS: Mapping[str, tuple[Emit, tuple[str, ...]]] = {
    **{word: (_compared(op), ("input", "other")) for word, op in _COMPARED.items()},
    "cast": (_cast, ("input", "to")),
    "choose": (_choose, ("condition", "input", "other")),
    "div": (_divided, ("input", "other", "rounding_mode")),
    "fmod": (_rest("trunc"), ("input", "other")),
    "heaviside": (_heaviside, ("input", "other")),
    "logical_and": (_of("Mul"), ("input", "other")),
    "logical_not": (_not, ("input",)),
    "logical_or": (_of("Max"), ("input", "other")),
    "logical_xor": (_xor, ("input", "other")),
    "not_equal": (_not_equal, ("input", "other")),
    "remainder": (_rest("floor"), ("input", "other")),
}
"""By the word of the function: what writes it, and the arguments that it knows."""
