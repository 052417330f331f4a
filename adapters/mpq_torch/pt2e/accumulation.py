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

from mpq_plugins.graph.arithmetic import EXACT_IN_FLOAT32
from mpq_torch.calling.node_arguments import source_of
from mpq_torch.pt2e.exported_ops import WEIGHTED, argument, op_of
from mpq_torch.pt2e.integer_calls import PerChannel, PerTensor, dequantized


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
    source, weight = dequantized(source_of(node)), dequantized(argument(node, "weight"))
    if not isinstance(source, PerTensor) or weight is None:
        return True
    codes, bias = _constant(graph, weight.source), argument(node, "bias")
    if isinstance(weight, PerChannel):
        steps, axis = _constant(graph, weight.scales).double(), weight.axis
    else:
        steps, axis = torch.tensor([weight.scale]).double(), 1 if "transpose" in op_of(node) else 0
    largest = max(source.high - source.zero_point, source.zero_point - source.low)
    bias_codes = None
    if isinstance(bias, fx.Node):
        bias_codes = _bias_values(graph, bias) / (steps * source.scale)
        if argument(node, "groups", 1) != 1 and axis == 1:
            axis, bias_codes = 0, bias_codes.abs().max()
    return accumulates_exactly(codes, largest, bias_codes, axis)


def accumulates_exactly(
    weight_codes: Tensor, largest_input: int, bias_codes: Tensor | None = None, axis: int = 0
) -> bool:
    """Whether float32 sums of a layer's products are exact, whatever their order.

    weight_codes: integer codes, channels along axis; largest_input: largest magnitude of an input code; bias_codes
    [channels]: bias in accumulator steps. The bound is the L1 norm of each channel: every partial sum is then an
    integer within 2**24.
    """
    others = [d for d in range(weight_codes.dim()) if d != axis]
    bound = weight_codes.detach().double().abs().sum(dim=others) * largest_input
    if bias_codes is not None:
        bound = bound + bias_codes.detach().double().abs()
    return bool((bound <= EXACT_IN_FLOAT32).all())


def _bias_values(graph: fx.GraphModule, bias: fx.Node) -> Tensor:
    held = dequantized(bias)
    if held is None:
        return _constant(graph, bias).double()
    scale = _constant(graph, held.scales).double() if isinstance(held, PerChannel) else held.scale
    return _constant(graph, held.source).double() * scale


def _constant(graph: fx.GraphModule, node: fx.Node) -> Tensor:
    held: Tensor = operator.attrgetter(str(node.target))(graph)
    return held.detach()


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
