"""Calls of torch.ops.quantized_decomposed in an exported graph, as records: how a tensor lies on integers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from mpq_torch.calling.node_arguments import arguments_of

QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default
DEQUANTIZE_CHANNELS = torch.ops.quantized_decomposed.dequantize_per_channel.default


@dataclass(frozen=True)
class PerTensor:
    """A tensor on one step. source: what is read; low, high: smallest and largest code of the container's dtype."""

    source: fx.Node
    scale: float
    zero_point: int
    low: int
    high: int
    dtype: torch.dtype


@dataclass(frozen=True)
class PerChannel:
    """A tensor on a step for each channel along an axis; scales and zero_points are buffers of the graph."""

    source: fx.Node
    scales: fx.Node
    zero_points: fx.Node
    axis: int
    low: int
    high: int
    dtype: torch.dtype


def quantized(node: fx.Node) -> PerTensor | None:
    """What a call that quantizes says; None of any other node."""
    return PerTensor(*arguments_of(node)) if node.target is QUANTIZE else None


def dequantized(node: fx.Node) -> PerTensor | PerChannel | None:
    """What a call that dequantizes says; None of any other node."""
    if node.target is DEQUANTIZE:
        return PerTensor(*arguments_of(node))
    return PerChannel(*arguments_of(node)) if node.target is DEQUANTIZE_CHANNELS else None
