"""The float side of the sweep: every sum exact, so that its numbers do not depend on order, batches or threads.

What a layer or an average reads is snapped (core: calibration.snapping) and multiplied in float64; results are
kept as float32. Ops of one element, and those that only move or select elements, are what they are in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.calibration.snapping import ACTIVATION_BITS, hardswish, largest_magnitude, snap, snap_weight
from mpq_torch.canonical import WEIGHTED
from mpq_torch.canonical_ops import Input, SameGrid
from mpq_torch.layer_matrix import kernel_windows, weight_from_matrix, weight_matrix
from mpq_torch.lock_step import LockStep

AVERAGES = ("avg_pool", "global_avg_pool")


class ExactLockStep(LockStep):
    """Runs a canonical graph as LockStep does, with exact sums."""

    def __init__(self, graph: fx.GraphModule, batches: Sequence[tuple[Any, ...]]) -> None:
        super().__init__(graph, batches)
        self._graph = graph

    def compute(self, node: fx.Node) -> list[Any]:
        """The node on every batch."""
        if node.op != "call_module" or node.meta.get("mpq_float"):
            return super().compute(node)
        module = self._graph.get_submodule(str(node.target))
        function = _exact(module)
        if function is None:
            return super().compute(node)
        source = self.values[node.all_input_nodes[0].name]
        if isinstance(module, nn.Hardswish):
            return [function(x).to(x.dtype) for x in source]
        largest = max((largest_magnitude(x.detach().numpy()) for x in source), default=0.0)
        results = []
        for index, x in enumerate(source):
            snapped = torch.from_numpy(snap(x.detach().numpy(), largest, ACTIVATION_BITS))
            args, kwargs = self.arguments(node, index)
            results.append(function(snapped, *args[1:], **kwargs).to(x.dtype))
        return results


def _exact(module: nn.Module) -> Callable[..., Tensor] | None:
    """What computes the module's output from a snapped input in float64; None for an op that adds nothing up."""
    if isinstance(module, WEIGHTED):
        return _exact_layer(module)
    if isinstance(module, nn.Hardswish):
        return lambda x: torch.from_numpy(hardswish(x.detach().numpy()))
    if isinstance(module, Input) or (isinstance(module, SameGrid) and module.op in AVERAGES):
        return module
    return None


def _exact_layer(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """The layer in float64, its weight snapped; the bias is added last, which rounds once."""
    matrix = weight_matrix(layer)
    snapped = torch.from_numpy(snap_weight(matrix.numpy()))
    product = copy.deepcopy(layer).double()
    product.weight = nn.Parameter(weight_from_matrix(layer, snapped), requires_grad=False)
    product.bias = None
    multiply: Callable[[Tensor], Tensor] = _depthwise(product) if _is_depthwise(product) else product
    if layer.bias is None:
        return multiply
    bias = layer.bias.detach().double()
    shape = (-1,) if isinstance(layer, nn.Linear) else (-1, *[1] * (layer.weight.dim() - 2))
    return lambda x: multiply(x) + bias.reshape(shape)


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels


def _depthwise(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """A depthwise convolution as a sum over its kernel: torch has no fast float64 kernel for it."""

    def multiply(x: Tensor) -> Tensor:
        parts = zip(kernel_windows(layer, x), layer.weight.flatten(1).t(), strict=True)
        return sum(window * weight[:, None, None] for window, weight in parts)

    return multiply
