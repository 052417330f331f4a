"""Layers of a converted graph whose float32 sums could round, in float64.

torchao's flow adds products in float32. Past 2**24 steps of the accumulator that rounds, in an order that
depends on the machine; float64 holds every sum. Inductor's int8 kernels add in int32 and need none of it,
so a graph that is to be lowered to them stays as it is.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from mpq_torch.pt2e.exported_ops import WEIGHTED, argument, op_of
from mpq_torch.runner.arithmetic import accumulates_exactly

_DEQUANTIZE = (
    torch.ops.quantized_decomposed.dequantize_per_tensor.default,
    torch.ops.quantized_decomposed.dequantize_per_channel.default,
)


def widen(converted: fx.GraphModule) -> list[str]:
    """Put the layers that need it into float64, in place; returns the names of their nodes."""
    widened = []
    for node in list(converted.graph.nodes):
        if op_of(node) in WEIGHTED and not _exact(converted, node):
            _widen(converted.graph, node)
            widened.append(node.name)
    converted.graph.lint()
    converted.recompile()
    return widened


def _exact(graph: fx.GraphModule, node: fx.Node) -> bool:
    source, weight, bias = node.args[0], argument(node, "weight"), argument(node, "bias")
    if source.target not in _DEQUANTIZE or weight.target not in _DEQUANTIZE:
        return True
    codes = _constant(graph, weight.args[0])
    per_channel = len(weight.args) == 7
    steps = _constant(graph, weight.args[1]).double() if per_channel else torch.tensor([weight.args[1]]).double()
    axis = weight.args[3] if per_channel else (1 if "transpose" in op_of(node) else 0)
    largest = max(source.args[4] - source.args[2], source.args[2] - source.args[3])
    bias_codes = None
    if isinstance(bias, fx.Node):
        bias_codes = _bias_values(graph, bias) / (steps * source.args[1])
        if argument(node, "groups", 1) != 1 and axis == 1:
            axis, bias_codes = 0, bias_codes.abs().max()
    return accumulates_exactly(codes, largest, bias_codes, axis)


def _bias_values(graph: fx.GraphModule, bias: fx.Node) -> Tensor:
    if bias.target not in _DEQUANTIZE:
        return _constant(graph, bias).double()
    scale = _constant(graph, bias.args[1]).double() if isinstance(bias.args[1], fx.Node) else bias.args[1]
    return _constant(graph, bias.args[0]).double() * scale


def _constant(graph: fx.GraphModule, node: fx.Node) -> Tensor:
    return operator.attrgetter(str(node.target))(graph).detach()


def _widen(graph: fx.Graph, node: fx.Node) -> None:
    convert = torch.ops.aten.to.dtype

    def wide(value: Any) -> Any:
        return graph.call_function(convert, (value, torch.float64)) if isinstance(value, fx.Node) else value

    tensors = [name for name in ("input", "weight", "bias") if isinstance(argument(node, name), fx.Node)]
    with graph.inserting_before(node):
        replaced = {argument(node, name): wide(argument(node, name)) for name in tensors}
    node.args = tuple(replaced.get(a, a) if isinstance(a, fx.Node) else a for a in node.args)
    with graph.inserting_after(node):
        narrow = graph.call_function(convert, (node, torch.float32))
    narrow.meta = dict(node.meta)
    node.replace_all_uses_with(narrow, delete_user_cb=lambda user: user is not narrow)
