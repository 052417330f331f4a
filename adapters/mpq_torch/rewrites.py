"""What each op of a traced model becomes in the canonical graph: one table, one small rewrite each."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_torch.canonical_ops import (
    RELU_SUFFIX,
    SAME_GRID_SUFFIX,
    Add,
    Clamp,
    Concat,
    Input,
    Pad,
    SameGrid,
    Subsample,
)
from mpq_torch.functional_layers import functional_layer, give_padding_in_numbers
from mpq_torch.pooling_rewrites import (
    MAX_POOLS,
    adaptive_pool_function,
    adaptive_pool_module,
    average_pool_function,
    average_pool_module,
    max_pool_module,
    mean,
)
from mpq_torch.rewriting import Rewrite, argument, free_path, install, is_shape_value, same_grid


def rewrite_of(graph: fx.GraphModule, node: fx.Node) -> str | None:
    """Rewrite one node into its canonical form, in place.

    Returns None when the node is canonical now (or computes no tensor), else the reason why no
    integer kernel can run it.
    """
    if is_shape_value(node):
        return None
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        for kind, rewrite in _MODULES.items():
            if isinstance(module, kind):
                return rewrite(graph, node)
        return f"no integer kernel for {type(module).__name__}"
    rewrite = _FUNCTIONS.get(node.target)
    if rewrite is None:
        return f"no integer kernel for {getattr(node.target, '__name__', node.target)}"
    return rewrite(graph, node)


def _keep(graph: fx.GraphModule, node: fx.Node) -> None:
    return None


def _weighted(graph: fx.GraphModule, node: fx.Node) -> str | None:
    layer = graph.get_submodule(str(node.target))
    mode = getattr(layer, "padding_mode", "zeros")
    return give_padding_in_numbers(layer) if mode == "zeros" else f"padding mode {mode!r} has no integer kernel"


def _remove(graph: fx.GraphModule, node: fx.Node) -> None:
    node.replace_all_uses_with(argument(node, 0, "input"))
    graph.graph.erase_node(node)


def _producer_name(node: fx.Node) -> str:
    return str(node.meta["mpq_name"])


def _relu(graph: fx.GraphModule, node: fx.Node) -> None:
    source = argument(node, 0, "input")
    if source.meta.get("mpq_shared_layer"):
        # torch.ao cannot fuse a ReLU into a layer that is called twice; a clamp needs no fusion
        _clamp_after(graph, node, 0.0, None)
        return
    install(graph, node, free_path(graph, node, _producer_name(source) + RELU_SUFFIX), nn.ReLU(), (source,))


def _relu6(graph: fx.GraphModule, node: fx.Node) -> None:
    source = argument(node, 0, "input")
    with graph.graph.inserting_before(node):
        relu = graph.graph.call_function(F.relu, (source,))
    relu.meta = dict(node.meta)
    node.replace_input_with(source, relu)
    _clamp_after(graph, node, 0.0, 6.0)
    _relu(graph, relu)


def _hardtanh(graph: fx.GraphModule, node: fx.Node) -> None:
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        low, high = module.min_val, module.max_val
    else:
        low, high = argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0)
    _clamp_after(graph, node, low, high)


def _clamp(graph: fx.GraphModule, node: fx.Node) -> str | None:
    low, high = argument(node, 1, "min"), argument(node, 2, "max")
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        return "the bounds of a clamp must be constants"
    _clamp_after(graph, node, low, high)
    return None


def _clamp_module(graph: fx.GraphModule, node: fx.Node) -> None:
    module = graph.get_submodule(str(node.target))
    _clamp_after(graph, node, module.low, module.high)


def _clamp_after(graph: fx.GraphModule, node: fx.Node, low: float | None, high: float | None) -> None:
    source = argument(node, 0, "input")
    path = free_path(graph, node, _producer_name(node) + SAME_GRID_SUFFIX)
    install(graph, node, path, Clamp(low, high), (source,))


def _hardswish(graph: fx.GraphModule, node: fx.Node) -> None:
    install(graph, node, str(node.meta["mpq_name"]), nn.Hardswish(), (argument(node, 0, "input"),))


def _add(graph: fx.GraphModule, node: fx.Node) -> str | None:
    a, b = argument(node, 0, "input"), argument(node, 1, "other")
    if not (isinstance(a, fx.Node) and isinstance(b, fx.Node)):
        return "adding a constant has no integer kernel"
    if node.kwargs.get("alpha", 1) != 1:
        return "add with alpha other than 1 has no integer kernel"
    install(graph, node, str(node.meta["mpq_name"]), Add(), (a, b))
    return None


def _concat(graph: fx.GraphModule, node: fx.Node) -> str | None:
    tensors = argument(node, 0, "tensors")
    if not isinstance(tensors, (list, tuple)):
        return "concat needs a list of tensors"
    dim = argument(node, 1, "dim", 0)
    install(graph, node, str(node.meta["mpq_name"]), Concat(dim), tuple(tensors))
    return None


def _same_grid_call(function: str, op: str) -> Rewrite:
    """A rewrite to ``function``; torch.ao knows some ops only as functions, others only as methods."""

    def rewrite(graph: fx.GraphModule, node: fx.Node) -> None:
        args, kwargs = node.args, dict(node.kwargs)
        if not args:
            args = (kwargs.pop("input"),)
        same_grid(graph, node, SameGrid(function, op), args, kwargs)

    return rewrite


def _flatten_module(graph: fx.GraphModule, node: fx.Node) -> None:
    module = graph.get_submodule(str(node.target))
    args = (node.args[0], module.start_dim, module.end_dim)
    same_grid(graph, node, SameGrid("torch.flatten", "reshape"), args, {})


def _interpolate(graph: fx.GraphModule, node: fx.Node) -> str | None:
    mode = argument(node, 3, "mode", "nearest")
    if mode != "nearest":
        return f"interpolation mode {mode!r} has no exact integer kernel (nearest has)"
    kwargs = dict(node.kwargs)
    same_grid(graph, node, SameGrid("functional.interpolate", "reshape"), node.args, kwargs)
    return None


def _upsample_module(graph: fx.GraphModule, node: fx.Node) -> str | None:
    module = graph.get_submodule(str(node.target))
    if module.mode != "nearest":
        return f"interpolation mode {module.mode!r} has no exact integer kernel (nearest has)"
    kwargs = {"size": module.size, "scale_factor": module.scale_factor, "mode": "nearest"}
    same_grid(graph, node, SameGrid("functional.interpolate", "reshape"), node.args, kwargs)
    return None


def _pad(graph: fx.GraphModule, node: fx.Node) -> str | None:
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        pads, mode, value = tuple(module.padding), "constant", getattr(module, "value", 0.0)
    else:
        pads = argument(node, 1, "pad")
        mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value")
    if mode != "constant" or value not in (None, 0, 0.0):
        return "padding by anything but zeros has no integer kernel"
    if not all(isinstance(pad, int) and pad >= 0 for pad in pads):
        return "padding must be by constant amounts of zero or more"
    same_grid(graph, node, Pad(tuple(pads)), (argument(node, 0, "input"),), {})
    return None


def _slice(graph: fx.GraphModule, node: fx.Node) -> str | None:
    source, index = node.args
    index = index if isinstance(index, tuple) else (index,)
    whole = slice(None, None, None)
    steps = [item.step or 1 if isinstance(item, slice) else 0 for item in index]
    plain = [isinstance(item, slice) and item.start in (None, 0) and item.stop is None for item in index]
    spatial = len(index) == 4 and all(plain) and index[0] == index[1] == whole
    if spatial and all(step in (1, 2, 4, 8) for step in steps[2:]):
        same_grid(graph, node, Subsample((steps[2], steps[3])), (source,), {})
        return None
    return "this indexing has no integer kernel (every 2nd, 4th or 8th row and column has)"


_MODULES: dict[Any, Rewrite] = {
    (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear): _weighted,
    (Input, Add, Concat, Pad, Subsample, SameGrid): _keep,
    Clamp: _clamp_module,
    nn.ReLU: _relu,
    nn.ReLU6: _relu6,
    nn.Hardtanh: _hardtanh,
    nn.Hardswish: _hardswish,
    (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity): _remove,
    MAX_POOLS: max_pool_module,
    (nn.AvgPool1d, nn.AvgPool2d): average_pool_module,
    (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d): adaptive_pool_module,
    nn.Flatten: _flatten_module,
    (nn.Upsample,): _upsample_module,
    (nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d): _pad,
}

_FUNCTIONS: dict[Any, Rewrite] = {
    F.conv1d: functional_layer(nn.Conv1d),
    F.conv2d: functional_layer(nn.Conv2d),
    F.conv_transpose1d: functional_layer(nn.ConvTranspose1d),
    F.conv_transpose2d: functional_layer(nn.ConvTranspose2d),
    F.linear: functional_layer(nn.Linear),
    **dict.fromkeys([F.relu, torch.relu, F.relu_, torch.relu_, "relu", "relu_"], _relu),
    **dict.fromkeys([F.relu6], _relu6),
    **dict.fromkeys([F.hardtanh, F.hardtanh_], _hardtanh),
    **dict.fromkeys([torch.clamp, torch.clip, "clamp", "clamp_", "clip"], _clamp),
    F.hardswish: _hardswish,
    **dict.fromkeys([operator.add, operator.iadd, torch.add, "add", "add_"], _add),
    **dict.fromkeys([torch.cat, torch.concat, torch.concatenate], _concat),
    **dict.fromkeys([F.dropout, F.dropout2d], _remove),
    **dict.fromkeys([F.max_pool1d, torch.max_pool1d], _same_grid_call("functional.max_pool1d", "max_pool")),
    **dict.fromkeys([F.max_pool2d, torch.max_pool2d], _same_grid_call("functional.max_pool2d", "max_pool")),
    **dict.fromkeys([F.avg_pool1d, torch.avg_pool1d, F.avg_pool2d], average_pool_function),
    **dict.fromkeys([F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d], adaptive_pool_function(1)),
    F.adaptive_avg_pool2d: adaptive_pool_function(2),
    **dict.fromkeys([torch.mean, "mean"], mean),
    **dict.fromkeys([torch.flatten, "flatten"], _same_grid_call("torch.flatten", "reshape")),
    **dict.fromkeys([torch.reshape, "reshape"], _same_grid_call("Tensor.reshape", "reshape")),
    "view": _same_grid_call("Tensor.view", "reshape"),
    **dict.fromkeys([torch.permute, "permute"], _same_grid_call("Tensor.permute", "reshape")),
    **dict.fromkeys([torch.transpose, "transpose"], _same_grid_call("Tensor.transpose", "reshape")),
    **dict.fromkeys([torch.squeeze, "squeeze"], _same_grid_call("Tensor.squeeze", "reshape")),
    **dict.fromkeys([torch.unsqueeze, "unsqueeze"], _same_grid_call("Tensor.unsqueeze", "reshape")),
    "contiguous": _same_grid_call("Tensor.contiguous", "reshape"),
    F.interpolate: _interpolate,
    F.pad: _pad,
    operator.getitem: _slice,
}
