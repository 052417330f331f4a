"""Pooling and means as the canonical graph has them: only what every engine computes alike."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_torch.arithmetic import average_pool_is_exact
from mpq_torch.canonical_ops import SameGrid
from mpq_torch.rewriting import Rewrite, argument, same_grid

MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d)
_AVERAGE_OPTIONS = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")


def max_pool_module(graph: fx.GraphModule, node: fx.Node) -> str | None:
    module = graph.get_submodule(str(node.target))
    if module.return_indices:
        return "max pooling with indices has no integer kernel"
    same_grid(graph, node, module, node.args, node.kwargs)
    return None


def average_pool_module(graph: fx.GraphModule, node: fx.Node) -> str | None:
    module = graph.get_submodule(str(node.target))
    names = (*_AVERAGE_OPTIONS, "divisor_override")
    return _average_pool(graph, node, {name: getattr(module, name, None) for name in names})


def average_pool_function(graph: fx.GraphModule, node: fx.Node) -> str | None:
    names = (*_AVERAGE_OPTIONS, "divisor_override")
    return _average_pool(graph, node, dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs))


def _average_pool(graph: fx.GraphModule, node: fx.Node, options: dict[str, Any]) -> str | None:
    """Average pooling in the form that all engines compute alike: padding counts, the divisor is the window."""
    padding = options.get("padding") or 0
    if options.get("divisor_override") is not None:
        return "average pooling with a divisor of its own has no exact integer kernel"
    if padding not in (0, (0,), (0, 0)) and not options.get("count_include_pad", True):
        return "average pooling that leaves its padding out of the count has no exact integer kernel"
    kernel, stride = options["kernel_size"], options.get("stride")
    one_dimensional = node.target in (F.avg_pool1d, torch.avg_pool1d) or (
        node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), nn.AvgPool1d)
    )
    constant = not any(isinstance(k, fx.Node) for k in (kernel if isinstance(kernel, (tuple, list)) else [kernel]))
    if constant and not average_pool_is_exact(window_of(kernel, one_dimensional), bool(options.get("ceil_mode"))):
        return f"average pooling over a window of {kernel} rounds ties in no one way; a mean has an exact kernel"
    function = "torch.avg_pool1d" if one_dimensional else "functional.avg_pool2d"
    args = (argument(node, 0, "input"), kernel, kernel if stride is None else stride, padding)
    same_grid(graph, node, SameGrid(function, "avg_pool"), (*args, bool(options.get("ceil_mode"))), {})
    return None


def window_of(kernel: Any, one_dimensional: bool) -> tuple[int, int]:
    """Height and width of a pooling window; one over signals has height one."""
    sizes = tuple(kernel) if isinstance(kernel, (tuple, list)) else (kernel,)
    if one_dimensional:
        return 1, sizes[0]
    return sizes[0], sizes[-1]


def adaptive_pool_module(graph: fx.GraphModule, node: fx.Node) -> str | None:
    module = graph.get_submodule(str(node.target))
    dims = 1 if isinstance(module, nn.AdaptiveAvgPool1d) else 2
    return _adaptive_pool(graph, node, module.output_size, dims)


def adaptive_pool_function(dims: int) -> Rewrite:
    return lambda graph, node: _adaptive_pool(graph, node, argument(node, 1, "output_size"), dims)


def _adaptive_pool(graph: fx.GraphModule, node: fx.Node, size: Any, dims: int) -> str | None:
    sizes = tuple(size) if isinstance(size, (list, tuple)) else (size,) * dims
    if sizes != (1,) * dims:
        return f"adaptive pooling to {sizes} has no exact integer kernel (to one element, or avg_pool, has)"
    args = (argument(node, 0, "input"), list(range(-dims, 0)), True)
    same_grid(graph, node, SameGrid("torch.mean", "global_avg_pool"), args, {})
    return None


def mean(graph: fx.GraphModule, node: fx.Node) -> str | None:
    dims = argument(node, 1, "dim")
    wanted = tuple(dims) if isinstance(dims, (list, tuple)) else (dims,)
    if set(wanted) not in ({2, 3}, {-2, -1}):
        return f"mean over dimensions {dims} has no integer kernel (over height and width it has)"
    keepdim = argument(node, 2, "keepdim", False)
    # the axes (2, 3) would take QNNPACK to another kernel, which rounds some ties differently
    args = (argument(node, 0, "input"), [-2, -1], keepdim)
    same_grid(graph, node, SameGrid("torch.mean", "global_avg_pool"), args, {})
    return None
