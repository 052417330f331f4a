"""Products and choices between activations and tensors of the model's own, and norms and softmaxes that were written.

Matrix products of two activations are described alone; the core makes records of them.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from mpq_plugins.graph.choosing import chosen
from mpq_plugins.graph.einsum import einsum
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.reducing import Reducing
from mpq_torch.reader.call import Call, Made, Rule, function_name
from mpq_torch.written_modules import AlongAxes


def product(call: Call) -> Made:
    """A layer, of an activation and a tensor of the model's own; of two activations described with its operands."""
    operands = call.tensor(), _second(call)
    constants = [call.constant(operand) for operand in operands]
    shapes = [
        call.observed.shapes[operand] if own is None else own.shape
        for operand, own in zip(operands, constants, strict=True)
    ]
    ranks = [len(shape) for shape in shapes]
    before = _LETTERS[: max(ranks) - 2]
    if min(ranks) > 1 and sum(own is not None for own in constants) == 1:
        terms = [before[len(before) - rank + 2 :] for rank in ranks]
        made = _with_constant(call, f"{terms[0]}ri,{terms[1]}ic->{before}rc", operands, constants)
        if made:
            return made
    return call.unknown(f"no integer kernel for {function_name(call.node)}")


def _second(call: Call) -> fx.Node:
    return next(
        call.tensor(1, name) for name in ("other", "mat2") if len(call.node.args) > 1 or name in call.node.kwargs
    )


def of_einsum(call: Call) -> Made:
    """The same of an equation."""
    equation, *operands = call.node.args
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    constants = [call.constant(operand) for operand in operands]
    if isinstance(equation, str) and len(operands) == 2 and sum(own is not None for own in constants) == 1:
        made = _with_constant(call, equation, operands, constants)
        if made:
            return made
    return call.unknown(f"no integer kernel for {function_name(call.node)}")


def _with_constant(call: Call, equation: str, operands: Sequence[Any], constants: Sequence[Any]) -> list[Node]:
    factors = [
        Part(call.names[operand], call.observed.shapes[operand]) if own is None else own
        for operand, own in zip(operands, constants, strict=True)
    ]
    return einsum(Reducing(call.name, "NCHW"), equation, *factors) or []


def of_condition(call: Call) -> Made:
    """torch.where and masked_fill by constant conditions, between an activation and a constant."""
    method = function_name(call.node).startswith("masked_fill")
    first, second, third = (call.argument(place, name) for place, name in enumerate(_FILLED if method else _CHOSEN))
    condition, x, other = (second, first, third) if method else (first, second, third)
    kept, constants = call.constant(condition), [call.constant(operand) for operand in (x, other)]
    if kept is None or sum(own is None for own in constants) != 1:
        return call.unknown(f"no integer kernel for {function_name(call.node)} but by constants")
    kept = ~kept.astype(bool) if method else kept.astype(bool)
    if constants[0] is not None:
        kept, x, constants = ~kept, other, constants[::-1]
    part = Part(call.names[x], call.observed.shapes[x])
    made = chosen(call.name, part, kept, np.asarray(constants[1])) if part.shape == call.shape else []
    return made or call.unknown(f"no integer kernel for {function_name(call.node)} that differs from sample to sample")


_LETTERS, _FILLED, _CHOSEN = "abdefgh", ("input", "mask", "value"), ("condition", "input", "other")


def along_axes(call: Call) -> Node:
    """The record that the module was written from."""
    module: Any = call.module
    return call.made(module.record.op, attrs=module.record.attrs)


MODULES: dict[Any, Rule] = {AlongAxes: along_axes}
FUNCTIONS: dict[Any, Rule] = {
    **dict.fromkeys([operator.matmul, torch.matmul, torch.bmm, torch.mm, "matmul", "bmm", "mm"], product),
    **dict.fromkeys([torch.where, torch.masked_fill, "masked_fill", "masked_fill_"], of_condition),
    torch.einsum: of_einsum,
}
