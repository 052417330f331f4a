"""Matrix products of two activations, which the core makes records of, and norms and softmaxes that it has written."""

from __future__ import annotations

import operator
from typing import Any

import torch

from mpq_plugins.graph.node import Node
from mpq_torch.modules.written import AlongAxes
from mpq_torch.reader.call import Call, Rule, function_name


def product(call: Call) -> Node:
    """Described with its operands, and no more."""
    return call.unknown(f"no integer kernel for {function_name(call.node)}")


def along_axes(call: Call) -> Node:
    """The record that the module was written from."""
    module: Any = call.module
    return call.made(module.record.op, attrs=module.record.attrs)


MODULES: dict[Any, Rule] = {AlongAxes: along_axes}
FUNCTIONS: dict[Any, Rule] = dict.fromkeys(
    [operator.matmul, torch.matmul, torch.bmm, torch.mm, "matmul", "bmm", "mm"], product
)
