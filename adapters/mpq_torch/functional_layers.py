"""F.conv2d, F.linear and the like as modules that hold the same parameters."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from mpq_torch.rewriting import Rewrite, install

_CONV_OPTIONS = ("stride", "padding", "dilation", "groups")
_TRANSPOSED_OPTIONS = ("stride", "padding", "output_padding", "groups", "dilation")
_LAYER_OPTIONS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv1d: _CONV_OPTIONS,
    nn.Conv2d: _CONV_OPTIONS,
    nn.ConvTranspose1d: _TRANSPOSED_OPTIONS,
    nn.ConvTranspose2d: _TRANSPOSED_OPTIONS,
}


def functional_layer(kind: type[nn.Module]) -> Rewrite:
    """A rewrite of F.conv1d, F.linear and the like to a module that holds the same parameters."""

    def rewrite(graph: fx.GraphModule, node: fx.Node) -> str | None:
        names = ["input", "weight", "bias", *(_LAYER_OPTIONS.get(kind, ()))]
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        source, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
        tensors = [t for t in (weight, bias) if t is not None]
        if not all(isinstance(t, fx.Node) and t.op == "get_attr" for t in tensors):
            return "a functional layer whose weight is computed has no integer kernel"
        values = [operator.attrgetter(str(t.target))(graph) for t in tensors]
        layer = _layer_holding(kind, values[0], values[1] if bias is not None else None, given)
        reason = give_padding_in_numbers(layer)
        if reason is not None:
            return reason
        install(graph, node, str(node.meta["mpq_name"]), layer, (source,))
        return None

    return rewrite


def give_padding_in_numbers(layer: nn.Module) -> str | None:
    """Replace padding "same" or "valid" of a layer, in place; returns why it cannot be done, or None."""
    if not isinstance(getattr(layer, "padding", None), str):
        return None
    extra = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if layer.padding == "same" and any(amount % 2 for amount in extra):
        return "padding 'same' about a window of even size is lopsided and has no integer kernel; pad before the layer"
    layer.padding = tuple(amount // 2 if layer.padding == "same" else 0 for amount in extra)
    return None


def _layer_holding(
    kind: type[nn.Module], weight: torch.Tensor, bias: torch.Tensor | None, options: dict[str, Any]
) -> nn.Module:
    if kind is nn.Linear:
        layer: nn.Module = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    else:
        groups = options.get("groups", 1)
        first, second = weight.shape[0], weight.shape[1] * groups
        transposed = kind in (nn.ConvTranspose1d, nn.ConvTranspose2d)
        channels = (first, second) if transposed else (second, first)
        layer = kind(*channels, tuple(weight.shape[2:]), bias=bias is not None, **options)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer
