"""The float ends of a model: what stays float behind the last weight, in float32 kernels of LiteRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.exporters.litert.emission import FLOAT_SUFFIX, Emission
from mpq_plugins.exporters.litert.float_ordering import FORMS as ORDERING
from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.node import Batch, Node, Operand
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.ops.affine import factors

FUNCTIONS = {"sigmoid": "LOGISTIC", "tanh": "TANH"}
ALONG_LAST_AXIS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("SOFTMAX", {"beta": 1.0}),
    "log_softmax": ("LOG_SOFTMAX", {}),
}


def emit_float(emission: Emission, node: Node) -> int:
    """Write a float node; its inputs are dequantized. Raises UnsupportedOp, naming it, where no kernel is known."""
    was = node.attrs.get("was")
    inputs = [emission.as_float(name) for name in node.inputs]
    if was is not None:
        return _as_it_was(emission, node, was, inputs)
    what = str(node.attrs.get("function", ""))
    if not what:
        raise _refused(node, str(node.attrs.get("what") or "this op"))
    arguments = {key: value for key, value in node.attrs.get("arguments", {}).items() if not isinstance(value, Operand)}
    if what in FUNCTIONS and not arguments:
        return emission.writer.op(FUNCTIONS[what], inputs, _output(emission, node))
    if what in ALONG_LAST_AXIS and set(arguments) == {"axis"} and isinstance(arguments["axis"], int):
        return _along(emission, node, inputs[0], *ALONG_LAST_AXIS[what], arguments["axis"])
    if what in ORDERING:
        emit, known, does = ORDERING[what]
        if known.issuperset(arguments) and does(emission, node, arguments):
            return emit(emission, node, inputs[0], arguments)
    if what not in (*FUNCTIONS, *ALONG_LAST_AXIS, *ORDERING):
        raise _refused(node, str(node.attrs.get("what") or what))
    given = ", ".join(f"{key}={_shown(value)}" for key, value in arguments.items())
    raise _refused(node, f"{what}({given})")


def _along(emission: Emission, node: Node, x: int, code: str, options: dict[str, Any], axis: int) -> int:
    """A function along one axis, which LiteRT has along the last one: others are moved there and back."""
    writer, rank = emission.writer, len(node.shape)
    axis %= rank
    if axis == rank - 1:
        return writer.op(code, [x], _output(emission, node), **options)
    order = [other for other in range(rank) if other != axis] + [axis]
    shape = tuple(node.shape[other] for other in order)
    there = writer.variable(f"{node.name}/moved", shape, "float32")
    writer.op("TRANSPOSE", [x, emission.numbers(f"{node.name}/there", order)], there)
    made = writer.op(code, [there], writer.variable(f"{node.name}/along", shape, "float32"), **options)
    back = [order.index(other) for other in range(rank)]
    return writer.op("TRANSPOSE", [made, emission.numbers(f"{node.name}/back", back)], _output(emission, node))


def _as_it_was(emission: Emission, node: Node, was: Node, inputs: list[int]) -> int:
    """An op with a record that was kept in float or follows what is: those that move elements, clamps and functions."""
    writer = emission.writer
    if was.op == "reshape":
        return emission.reshaped(inputs[0], node.shape, _output(emission, node), node.name)
    if was.op == "transpose":
        order = emission.numbers(f"{node.name}/order", was.attrs["order"])
        return writer.op("TRANSPOSE", [inputs[0], order], _output(emission, node))
    if was.op == "clamp":
        bounds = (("MAXIMUM", was.low), ("MINIMUM", was.high))
        return _with_constants(
            emission, node, inputs[0], [(code, bound) for code, bound in bounds if bound is not None]
        )
    if was.op == AFFINE and was.low is None and was.high is None:
        scale, offset = factors(was)
        shift = [("ADD", offset)] if np.any(offset) else []
        scales = not shift or np.any(np.asarray(scale) != 1)
        return _with_constants(emission, node, inputs[0], [("MUL", scale)] * bool(scales) + shift)
    if was.op in FUNCTIONS and op_of(was).table and not was.attrs and was.low is None and was.high is None:
        return writer.op(FUNCTIONS[was.op], inputs, _output(emission, node))
    raise _refused(node, was.op)


def _with_constants(emission: Emission, node: Node, x: int, steps: Sequence[tuple[str, ArrayLike]]) -> int:
    """Operators of the tensor and a constant, one behind another."""
    writer = emission.writer
    for index, (code, number) in enumerate(steps):
        constant = writer.constant(f"{node.name}/{code.lower()}", number, "float32")
        last = index == len(steps) - 1
        x = writer.op(code, [x, constant], _output(emission, node, "" if last else f"/{code}"))
    return x


def _output(emission: Emission, node: Node, suffix: str = "") -> int:
    shape = tuple(size if isinstance(size, Batch) else int(size) for size in node.shape)
    return emission.writer.variable(f"{node.name}{suffix}{FLOAT_SUFFIX}", shape, "float32")


def _shown(value: Any) -> str:
    return f"an array of {np.shape(value)}" if isinstance(value, np.ndarray) else repr(value)


def _refused(node: Node, what: str) -> UnsupportedOp:
    return UnsupportedOp(
        f"{node.name}: {what} would stay float, and no kernel for it is known; cut the model before it and compute it "
        "outside",
        [node.name],
    )
