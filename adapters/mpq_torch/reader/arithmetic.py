"""Sums, differences, products and quotients of two activations, or of an activation and a constant."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from mpq_plugins.graph.constants import ADD, AFFINE, SUB, chained, power, quotient, with_constant
from mpq_plugins.graph.node import Node, Shape
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.registry import once_known
from mpq_torch.modules.written import Affine, OfTwo
from mpq_torch.reader.call import Call, Made, Rule, array_of
from mpq_torch.reader.shape_values import is_shape_value
from mpq_torch.reader.spelled import called_as


def of_two(word: str, reflected: bool = False) -> Rule:
    """An op of two operands. word: "add", "sub", "mul" or "div". reflected: the second one comes first."""

    def rule(call: Call) -> Made:
        a, b = call.argument(0, "input"), call.argument(1, "other")
        a, b = (b, a) if reflected else (a, b)
        alpha, mode = call.argument(2, "alpha", 1), call.node.kwargs.get("rounding_mode")
        if mode is not None:
            return call.unknown(f"{word} with rounding_mode={mode!r} has no integer kernel")
        if word not in (ADD, SUB):
            alpha = 1
        if not isinstance(alpha, (int, float)):
            return call.unknown(f"{word} with an alpha that is computed has no integer kernel")
        constants = [call.constant(x) for x in (a, b)]
        if any(_changes(call, source) for source in call.node.all_input_nodes):
            return call.unknown(f"{word} with a number that changes from call to call has no integer kernel")
        if constants[0] is None and constants[1] is None:
            return _of_activations(call, word, (a, b), alpha)
        swapped = constants[0] is not None
        return _with_constant(call, word, (a, b), constants[0] if swapped else constants[1], swapped, alpha)

    return rule


def _changes(call: Call, source: fx.Node) -> bool:
    """Whether a number that an op reads may be another one at another call: an argument, or a size of the batch."""
    number = source in call.observed.values
    return number and (not is_shape_value(source) or source in call.observed.by_batch)


def _of_activations(call: Call, word: str, operands: tuple[Any, Any], alpha: float) -> Made:
    names = [call.names.get(x) if isinstance(x, fx.Node) else None for x in operands]
    if None in names or word == "div":
        return call.unknown(f"{word} of these operands has no integer kernel")
    first, second = (str(name) for name in names)
    if alpha == 1:
        return call.made(word, (first, second))
    scaled = _scaled(call, second, call.observed.shapes[operands[1]], alpha)
    return [scaled, call.made(word, (first, scaled.name))]


def _scaled(call: Call, name: str, shape: Shape, by: float) -> Node:
    return Node(f"{call.name}__scaled", AFFINE, (name,), shape, attrs={"scale": float(by), "offset": 0.0})


def _with_constant(
    call: Call, word: str, operands: tuple[Any, Any], constant: Any, swapped: bool, alpha: float
) -> Made:
    """alpha: of the second operand."""
    activation = operands[1] if swapped else operands[0]
    if not isinstance(activation, fx.Node) or activation not in call.names:
        return call.unknown(f"{word} of constants alone has no integer kernel")
    shape = call.observed.shapes.get(activation, ())
    if word == "div" and swapped:
        return _quotient(call, activation, constant)
    attrs = with_constant(word, constant if swapped else constant * alpha, shape, call.shape, "NCHW", swapped)
    if attrs is not None:
        attrs |= {"scale": attrs["scale"] * alpha} if swapped else {}
        return call.made(AFFINE, (call.names[activation],), attrs=attrs)
    other = operands[0] if swapped else operands[1]
    if isinstance(other, fx.Node) and other in call.names and word != "div":
        return _of_activations(call, word, operands, alpha)
    return call.unknown(f"{word} with this constant has no integer kernel; let it be finite, and vary along one axis")


def _quotient(call: Call, activation: fx.Node, constant: Any) -> Made:
    """A constant divided by an activation."""
    name, shape = call.names[activation], call.observed.shapes.get(activation, ())
    made = quotient(call.name, name, shape, call.shape, constant, "NCHW")
    reason = "div of this constant has no integer kernel; let it be finite, and vary along one axis"
    return made or call.unknown(reason)


def powered(call: Call) -> Made:
    """Small whole powers, which are products, and others by a number, which are functions of one element."""
    found = power(call.constant(call.argument(1, "exponent", 2)))
    activation = call.argument(0, "input")
    if (
        found is None
        or not isinstance(activation, fx.Node)
        or any(_changes(call, source) for source in call.node.all_input_nodes)
    ):
        return call.unknown("only the powers by a number have an integer kernel")
    op, times, attrs = found
    return call.made(op, call.inputs * times, attrs=attrs)


def negated(call: Call) -> Node:
    """The same with the other sign."""
    return call.made(AFFINE, attrs={"scale": -1.0, "offset": 0.0})


def written_of_two(call: Call) -> Made:
    """A module that this package has written."""
    return of_records()[getattr(torch, call.setting("function"))](call)


def written_affine(call: Call) -> Node:
    """A scale and an offset, as this package has written them."""
    module: Any = call.module
    steps = [
        with_constant(word, value if isinstance(value, float) else array_of(value), call.in_shape, call.shape, "NCHW")
        for word, value in (("mul", module.scale), ("add", module.offset))
    ]
    return call.made(AFFINE, attrs=chained(*(step for step in steps if step is not None)))


MODULES: dict[Any, Rule] = {OfTwo: written_of_two, Affine: written_affine}
FUNCTIONS: dict[Any, Rule] = {
    **dict.fromkeys(
        [operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_", "subtract", "subtract_"], of_two(SUB)
    ),
    **dict.fromkeys(
        [operator.truediv, operator.itruediv, torch.div, torch.divide, torch.true_divide, "div", "div_", "divide"],
        of_two("div"),
    ),
    **dict.fromkeys([operator.pow, torch.pow, torch.square, "pow", "pow_", "square", "square_"], powered),
    torch.rsub: of_two(SUB, reflected=True),
    **dict.fromkeys([operator.neg, torch.neg, torch.negative, torch.Tensor.neg, "neg", "neg_", "negative"], negated),
}


@once_known
def of_records() -> dict[Any, Rule]:
    """The rules of what the records of two activations spell."""
    spellings = [
        (n, word)
        for word, op in all_ops().items()
        if op.arity == 2 and not op.steps
        for n in op.spellings.get("torch", ())
    ]
    return {target: of_two(word) for name, word in spellings for target in called_as(name)}
