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
WINDOWS = 2**17
"""Float64 elements of windows that are multiplied at once: 1 MB."""


class ExactLockStep(LockStep):
    """Runs a canonical graph as LockStep does, with exact sums."""

    def __init__(
        self, graph: fx.GraphModule, batches: Sequence[tuple[Any, ...]], order: Sequence[str] | None = None
    ) -> None:
        super().__init__(graph, batches, order)
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
    multiply = _multiplication(product)
    if layer.bias is None:
        return multiply
    bias = layer.bias.detach().double()
    shape = (-1,) if isinstance(layer, nn.Linear) else (-1, *[1] * (layer.weight.dim() - 2))
    return lambda x: multiply(x) + bias.reshape(shape)


def _multiplication(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """What the layer does; its own kernel where torch has a fast one in float64."""
    uneven = layer.padding == "same" and not all(size % 2 for size in layer.kernel_size) if _is_2d(layer) else False
    if not _is_2d(layer) or layer.padding_mode != "zeros" or uneven:
        return layer
    if layer.groups == 1:
        return _convolution(layer)
    return _depthwise(layer) if layer.groups == layer.in_channels == layer.out_channels else layer


def _is_2d(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d)


def _convolution(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """A convolution as matrix products of windows that stay in the cache, a few samples at a time."""
    weight = layer.weight.flatten(1)

    def multiply(x: Tensor) -> Tensor:
        views = kernel_windows(layer, x)
        samples, channels, height, width = views[0].shape
        block = max(1, WINDOWS // (channels * len(views) * height * width))
        columns = x.new_empty(channels, len(views), block, height, width)
        result = x.new_empty(samples, len(weight), height, width)
        for start in range(0, samples, block):
            part = columns[:, :, : min(block, samples - start)]
            for index, view in enumerate(views):
                part[:, index] = view[start : start + block].transpose(0, 1)
            product = weight @ part.flatten(2).flatten(0, 1)
            result[start : start + block] = product.view(len(weight), -1, height, width).transpose(0, 1)
        return result

    return multiply


def _depthwise(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """A depthwise convolution as a sum over its kernel: torch has no fast float64 kernel for it."""
    by_position = layer.weight.flatten(1).t()[:, :, None, None]

    def multiply(x: Tensor) -> Tensor:
        return sum(window * weight for window, weight in zip(kernel_windows(layer, x), by_position, strict=True))

    return multiply
