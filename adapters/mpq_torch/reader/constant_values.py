"""What a traced model computes from its own tensors alone: constants, whatever they are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from mpq_torch.reader.call import Call, array_of


def is_constant(node: fx.Node) -> bool:
    """Whether a node's value comes from tensors of the model and plain values, and so is the same at every call."""
    if node.op == "get_attr":
        return True
    return (
        node.op in ("call_function", "call_method")
        and bool(node.all_input_nodes)
        and (all(is_constant(source) for source in node.all_input_nodes))
    )


def constant_value(call: Call, operand: Any) -> Any:
    """An operand as float64, or the number that it is; None where it is a tensor that the model computes."""
    if isinstance(operand, Tensor):
        return array_of(operand)
    if not isinstance(operand, fx.Node):
        return operand if isinstance(operand, (int, float)) and not isinstance(operand, bool) else None
    if not is_constant(operand):
        return None
    with torch.no_grad():
        found = _evaluated(call, operand)
    return array_of(found) if isinstance(found, Tensor) else None


def _evaluated(call: Call, node: fx.Node) -> Any:
    if node.op == "get_attr":
        return call.attribute(str(node.target))
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: _evaluated(call, n))
    if node.op == "call_method":
        own, *others = args
        return getattr(own, str(node.target))(*others, **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]
