"""Matrix products of two activations, which the core makes records of, and norms and softmaxes that it has written."""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx

from mpq_plugins.graph.einsum import einsum
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Array, Batch, Node
from mpq_plugins.graph.reducing import Reducing
from mpq_torch.modules.written import AlongAxes
from mpq_torch.reader.call import Call, Made, Rule, function_name


def product(call: Call) -> Made:
    """A dense layer where one operand is a matrix that is always the same; else described with its operands."""
    operands = call.argument(0, "input"), call.argument(1, "other", call.node.kwargs.get("mat2"))
    held = [call.constant(operand) for operand in operands]
    for index, matrix in enumerate(held):
        x = operands[1 - index]
        if matrix is not None and held[1 - index] is None and isinstance(x, fx.Node) and x in call.observed.shapes:
            made = _dense(call, np.asarray(matrix), x, first=index == 0)
            if made is not None:
                return made
    return call.unknown(f"no integer kernel for {function_name(call.node)}")


def _dense(call: Call, matrix: Array, x: fx.Node, first: bool) -> Made | None:
    """first: whether the matrix stands first, and sums over the rows of the activation."""
    shape = call.observed.shapes[x]
    if matrix.size != math.prod(matrix.shape[-2:]) or matrix.ndim < 2 or len(shape) < 2 + first:
        return None
    if len(shape) != len(call.shape) or any(isinstance(size, Batch) for size in shape[-1 - first :]):
        return None
    matrix, source = matrix.reshape(matrix.shape[-2:]), call.names[x]
    if not first:
        return call.made("linear", (source,), weight=np.ascontiguousarray(matrix.T))
    turned = Node(f"{call.name}__turned", "transpose", (source,), (*shape[:-2], shape[-1], shape[-2]))
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    turned = replace(turned, attrs={"order": order})
    rows = (*turned.shape[:-1], len(matrix))
    dense = Node(f"{call.name}__dense", "linear", (turned.name,), rows, weight=matrix)
    return [turned, dense, call.made("transpose", (dense.name,), attrs={"order": order})]


def of_einsum(call: Call) -> Made:
    """Layers and products of elements where one operand is always the same; else described with its operands."""
    equation, *given = call.node.args
    operands: list[Any] = list(given[0]) if len(given) == 1 and isinstance(given[0], (list, tuple)) else given
    held = [call.constant(operand) for operand in operands]
    made = None
    if isinstance(equation, str) and len(operands) == 2 and sum(own is not None for own in held) == 1:
        a, b = (
            Part(call.names[operand], call.observed.shapes[operand]) if own is None else own
            for operand, own in zip(operands, held, strict=True)
        )
        made = einsum(Reducing(call.name, "NCHW"), equation, a, b)
    return made or call.unknown(f"no integer kernel for {function_name(call.node)}")


def along_axes(call: Call) -> Node:
    """The record that the module was written from."""
    module: Any = call.module
    inputs = tuple(call.names[source] for source in call.node.all_input_nodes)
    return call.made(module.record.op, inputs, attrs=module.record.attrs)


MODULES: dict[Any, Rule] = {AlongAxes: along_axes}
FUNCTIONS: dict[Any, Rule] = {
    **dict.fromkeys([operator.matmul, torch.matmul, torch.bmm, torch.mm, "matmul", "bmm", "mm"], product),
    **dict.fromkeys([torch.einsum, torch.functional.einsum], of_einsum),
}
