"""A converted graph on inductor's int8 kernels for x86 (onednn), and what they need to be exact."""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer  # noqa: F401  # registers inductor's patterns
from torch import fx
from torch.fx.node import Argument
from torchao.quantization.pt2e.lowering import lower_pt2e_quantized_to_x86

from mpq_plugins.errors import NothingQuantized
from mpq_torch.calling.arguments import takes_of
from mpq_torch.calling.batches import as_batch
from mpq_torch.pt2e.exported_ops import argument, op_of
from mpq_torch.pt2e.exporting import check_exported
from mpq_torch.pt2e.integer_calls import DEQUANTIZE_CHANNELS, PerTensor, dequantized, quantized

_CLAMP = torch.ops.aten.clamp.default
_KERNELS = ("onednn.qconv", "onednn.qlinear")


def clamp_explicitly(converted: fx.GraphModule) -> None:
    """Clamp what is quantized to less than its container holds, in place.

    Inductor puts dq, layer and q into one kernel and forgets q's quant_min and quant_max: 4-bit values
    come out past 15. A clamp in front of q is fused too, and kept.
    """
    for node in list(converted.graph.nodes):
        call = quantized(node)
        if call is None:
            continue
        container, source = torch.iinfo(call.dtype), call.source
        if (call.low, call.high) == (container.min, container.max):
            continue
        bounds = (call.low - call.zero_point) * call.scale, (call.high - call.zero_point) * call.scale
        if source.target is _CLAMP and source.args[1:] == bounds:
            continue
        with converted.graph.inserting_before(node):
            clamp = converted.graph.call_function(_CLAMP, (source, *bounds))
        clamp.meta = dict(source.meta)
        node.replace_input_with(source, clamp)
    converted.graph.lint()
    converted.recompile()


def spread_weight_steps(converted: fx.GraphModule) -> None:
    """Write the one step of a per-tensor weight once for each output channel, in place; the kernels want it so."""
    for node in list(converted.graph.nodes):
        weight = argument(node, "weight") if op_of(node) in ("conv1d", "conv2d", "linear") else None
        if not isinstance(weight, fx.Node):
            continue
        call = dequantized(weight)
        if not isinstance(call, PerTensor):
            continue
        channels = len(operator.attrgetter(str(call.source.target))(converted))
        steps = {"scale": torch.full((channels,), call.scale), "zero_point": torch.full((channels,), call.zero_point)}
        with converted.graph.inserting_before(node):
            parameters = []
            for name, value in steps.items():
                path = f"_{node.name}_weight_{name}"
                converted.register_buffer(path, value)
                parameters.append(converted.graph.get_attr(path))
            given: tuple[Argument, ...] = (call.source, *parameters, 0, call.low, call.high, call.dtype)
            spread = converted.graph.call_function(DEQUANTIZE_CHANNELS, given)
        spread.meta = dict(weight.meta)
        node.replace_input_with(weight, spread)
    converted.graph.eliminate_dead_code()
    converted.graph.lint()
    converted.recompile()


def prepare_for_x86(converted: fx.GraphModule) -> fx.GraphModule:
    """A copy of the graph in which inductor finds its int8 kernels and computes exactly with them.

    Raises ModelError for anything but a converted graph.
    """
    check_exported(converted, "pt2e.quantize or convert_pt2e")
    converted = copy.deepcopy(converted)
    clamp_explicitly(converted)
    spread_weight_steps(converted)
    return converted


def lower_to_x86(converted: fx.GraphModule, example_inputs: Sequence[Any]) -> fx.GraphModule:
    """A copy of the graph with onednn's int8 convolutions and linears in the place of dq, layer, q.

    These are the kernels that ``torch.compile`` under ``torch._inductor.config.freezing`` calls; the other
    ops run as they are. example_inputs: of the size, and the only one, that it will take.
    Raises NothingQuantized where not one kernel was found.
    """
    converted = prepare_for_x86(converted)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        example = tuple(as_batch(example_inputs, takes_of(converted)))
        lowered: fx.GraphModule = lower_pt2e_quantized_to_x86(converted, example)
    for node in lowered.graph.nodes:
        if node.target is torch.ops.aten.view.default:  # the kernels' outputs are channels-last
            node.target = torch.ops.aten.reshape.default
    lowered.recompile()
    if not int8_kernels(lowered):
        raise NothingQuantized("inductor found no int8 kernel for any layer of this graph")
    return lowered


def int8_kernels(graph: fx.GraphModule) -> list[str]:
    """The int8 kernels that a graph calls, in order, by their names in torch.ops."""
    return [
        str(n.target)
        for n in graph.graph.nodes
        if str(n.target).startswith(_KERNELS) and "prepack" not in str(n.target)
    ]
