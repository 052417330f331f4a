"""What each op of a traced model becomes in the canonical graph: one table, one small rewrite each."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_torch.arithmetic import average_pool_is_exact
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

Rewrite = Callable[[fx.GraphModule, fx.Node], "str | None"]

MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d)


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


def is_shape_value(node: Any) -> bool:
    """Whether the node computes sizes (Python integers) rather than a tensor."""
    if not isinstance(node, fx.Node) or node.op in ("placeholder", "get_attr", "call_module", "output"):
        return False
    if node.op == "call_method":
        return node.target in ("size", "dim", "numel")
    if node.target is getattr:
        return node.args[1] in ("shape", "ndim", "device", "dtype")
    inputs = node.all_input_nodes
    return bool(inputs) and all(is_shape_value(n) for n in inputs)


def install(
    graph: fx.GraphModule,
    node: fx.Node,
    path: str,
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
) -> fx.Node:
    """Put ``module`` at ``path`` and let a call of it take the place of ``node``."""
    graph.add_submodule(path, module.eval())
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(path, args, kwargs or {})
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
    return new


def _argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _keep(graph: fx.GraphModule, node: fx.Node) -> None:
    return None


def _weighted(graph: fx.GraphModule, node: fx.Node) -> str | None:
    mode = getattr(graph.get_submodule(str(node.target)), "padding_mode", "zeros")
    return None if mode == "zeros" else f"padding mode {mode!r} has no integer kernel"


def _remove(graph: fx.GraphModule, node: fx.Node) -> None:
    node.replace_all_uses_with(_argument(node, 0, "input"))
    graph.graph.erase_node(node)


def _producer_name(node: fx.Node) -> str:
    return str(node.meta["mpq_name"])


def _relu(graph: fx.GraphModule, node: fx.Node) -> None:
    source = _argument(node, 0, "input")
    if source.meta.get("mpq_shared_layer"):
        # torch.ao cannot fuse a ReLU into a layer that is called twice; a clamp needs no fusion
        _clamp_after(graph, node, 0.0, None)
        return
    install(graph, node, _free(graph, node, _producer_name(source) + RELU_SUFFIX), nn.ReLU(), (source,))


def _relu6(graph: fx.GraphModule, node: fx.Node) -> None:
    source = _argument(node, 0, "input")
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
        low, high = _argument(node, 1, "min_val", -1.0), _argument(node, 2, "max_val", 1.0)
    _clamp_after(graph, node, low, high)


def _clamp(graph: fx.GraphModule, node: fx.Node) -> str | None:
    low, high = _argument(node, 1, "min"), _argument(node, 2, "max")
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        return "the bounds of a clamp must be constants"
    _clamp_after(graph, node, low, high)
    return None


def _clamp_module(graph: fx.GraphModule, node: fx.Node) -> None:
    module = graph.get_submodule(str(node.target))
    _clamp_after(graph, node, module.low, module.high)


def _clamp_after(graph: fx.GraphModule, node: fx.Node, low: float | None, high: float | None) -> None:
    source = _argument(node, 0, "input")
    path = _free(graph, node, _producer_name(node) + SAME_GRID_SUFFIX)
    install(graph, node, path, Clamp(low, high), (source,))


def _free(graph: fx.GraphModule, node: fx.Node, path: str) -> str:
    """``path``, or the first numbered variant of it that no other node uses."""
    taken = {str(n.target) for n in graph.graph.nodes if n.op == "call_module" and n is not node}
    candidate, count = path, 0
    while candidate in taken:
        count += 1
        candidate = f"{path}{count}"
    return candidate


def _hardswish(graph: fx.GraphModule, node: fx.Node) -> None:
    install(graph, node, str(node.meta["mpq_name"]), nn.Hardswish(), (_argument(node, 0, "input"),))


def _add(graph: fx.GraphModule, node: fx.Node) -> str | None:
    a, b = node.args[0], _argument(node, 1, "other")
    if not (isinstance(a, fx.Node) and isinstance(b, fx.Node)):
        return "adding a constant has no integer kernel"
    if node.kwargs.get("alpha", 1) != 1:
        return "add with alpha other than 1 has no integer kernel"
    install(graph, node, str(node.meta["mpq_name"]), Add(), (a, b))
    return None


def _concat(graph: fx.GraphModule, node: fx.Node) -> str | None:
    tensors = _argument(node, 0, "tensors")
    if not isinstance(tensors, (list, tuple)):
        return "concat needs a list of tensors"
    dim = _argument(node, 1, "dim", 0)
    install(graph, node, str(node.meta["mpq_name"]), Concat(dim), tuple(tensors))
    return None


def _max_pool_module(graph: fx.GraphModule, node: fx.Node) -> str | None:
    module = graph.get_submodule(str(node.target))
    if module.return_indices:
        return "max pooling with indices has no integer kernel"
    _same_grid(graph, node, module, node.args, node.kwargs)
    return None


def _average_pool_module(graph: fx.GraphModule, node: fx.Node) -> str | None:
    module = graph.get_submodule(str(node.target))
    names = (*_AVERAGE_OPTIONS, "divisor_override")
    return _average_pool(graph, node, {name: getattr(module, name, None) for name in names})


def _average_pool_function(graph: fx.GraphModule, node: fx.Node) -> str | None:
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
    window = (1, *kernel) if isinstance(kernel, tuple) and len(kernel) == 1 else kernel
    constant = not isinstance(kernel, fx.Node)
    if constant and not average_pool_is_exact(window, bool(options.get("ceil_mode"))):
        return f"average pooling over a window of {kernel} rounds ties in no one way; a mean has an exact kernel"
    one_dimensional = node.target in (F.avg_pool1d, torch.avg_pool1d) or (
        node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), nn.AvgPool1d)
    )
    function = "torch.avg_pool1d" if one_dimensional else "functional.avg_pool2d"
    args = (_argument(node, 0, "input"), kernel, kernel if stride is None else stride, padding)
    _same_grid(graph, node, SameGrid(function, "avg_pool"), (*args, bool(options.get("ceil_mode"))), {})
    return None


_AVERAGE_OPTIONS = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")


def _adaptive_pool_module(graph: fx.GraphModule, node: fx.Node) -> str | None:
    module = graph.get_submodule(str(node.target))
    dims = 1 if isinstance(module, nn.AdaptiveAvgPool1d) else 2
    return _adaptive_pool(graph, node, module.output_size, dims)


def _adaptive_pool_function(dims: int) -> Rewrite:
    return lambda graph, node: _adaptive_pool(graph, node, _argument(node, 1, "output_size"), dims)


def _adaptive_pool(graph: fx.GraphModule, node: fx.Node, size: Any, dims: int) -> str | None:
    sizes = tuple(size) if isinstance(size, (list, tuple)) else (size,) * dims
    if sizes != (1,) * dims:
        return f"adaptive pooling to {sizes} has no exact integer kernel (to one element, or avg_pool, has)"
    args = (_argument(node, 0, "input"), list(range(-dims, 0)), True)
    _same_grid(graph, node, SameGrid("torch.mean", "global_avg_pool"), args, {})
    return None


def _same_grid(
    graph: fx.GraphModule, node: fx.Node, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    path = _free(graph, node, str(node.meta["mpq_name"]) + SAME_GRID_SUFFIX)
    install(graph, node, path, module, args, kwargs)


def _same_grid_call(function: str, op: str) -> Rewrite:
    """A rewrite to ``function``; torch.ao knows some ops only as functions, others only as methods."""

    def rewrite(graph: fx.GraphModule, node: fx.Node) -> None:
        args, kwargs = node.args, dict(node.kwargs)
        if not args:
            args = (kwargs.pop("input"),)
        _same_grid(graph, node, SameGrid(function, op), args, kwargs)

    return rewrite


def _flatten_module(graph: fx.GraphModule, node: fx.Node) -> None:
    module = graph.get_submodule(str(node.target))
    args = (node.args[0], module.start_dim, module.end_dim)
    _same_grid(graph, node, SameGrid("torch.flatten", "reshape"), args, {})


def _mean(graph: fx.GraphModule, node: fx.Node) -> str | None:
    dims = _argument(node, 1, "dim")
    wanted = tuple(dims) if isinstance(dims, (list, tuple)) else (dims,)
    if set(wanted) not in ({2, 3}, {-2, -1}):
        return f"mean over dimensions {dims} has no integer kernel (over height and width it has)"
    keepdim = _argument(node, 2, "keepdim", False)
    # the axes (2, 3) would take QNNPACK to another kernel, which rounds some ties differently
    args = (_argument(node, 0, "input"), [-2, -1], keepdim)
    _same_grid(graph, node, SameGrid("torch.mean", "global_avg_pool"), args, {})
    return None


def _interpolate(graph: fx.GraphModule, node: fx.Node) -> str | None:
    mode = _argument(node, 3, "mode", "nearest")
    if mode != "nearest":
        return f"interpolation mode {mode!r} has no exact integer kernel (nearest has)"
    kwargs = dict(node.kwargs)
    _same_grid(graph, node, SameGrid("functional.interpolate", "reshape"), node.args, kwargs)
    return None


def _upsample_module(graph: fx.GraphModule, node: fx.Node) -> str | None:
    module = graph.get_submodule(str(node.target))
    if module.mode != "nearest":
        return f"interpolation mode {module.mode!r} has no exact integer kernel (nearest has)"
    kwargs = {"size": module.size, "scale_factor": module.scale_factor, "mode": "nearest"}
    _same_grid(graph, node, SameGrid("functional.interpolate", "reshape"), node.args, kwargs)
    return None


def _pad(graph: fx.GraphModule, node: fx.Node) -> str | None:
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        pads, mode, value = tuple(module.padding), "constant", getattr(module, "value", 0.0)
    else:
        pads = _argument(node, 1, "pad")
        mode, value = _argument(node, 2, "mode", "constant"), _argument(node, 3, "value")
    if mode != "constant" or value not in (None, 0, 0.0):
        return "padding by anything but zeros has no integer kernel"
    if not all(isinstance(pad, int) and pad >= 0 for pad in pads):
        return "padding must be by constant amounts of zero or more"
    _same_grid(graph, node, Pad(tuple(pads)), (_argument(node, 0, "input"),), {})
    return None


def _slice(graph: fx.GraphModule, node: fx.Node) -> str | None:
    source, index = node.args
    index = index if isinstance(index, tuple) else (index,)
    whole = slice(None, None, None)
    steps = [item.step or 1 if isinstance(item, slice) else 0 for item in index]
    plain = [isinstance(item, slice) and item.start in (None, 0) and item.stop is None for item in index]
    spatial = len(index) == 4 and all(plain) and index[0] == index[1] == whole
    if spatial and all(step in (1, 2, 4, 8) for step in steps[2:]):
        _same_grid(graph, node, Subsample((steps[2], steps[3])), (source,), {})
        return None
    return "this indexing has no integer kernel (every 2nd, 4th or 8th row and column has)"


def _functional_layer(kind: type[nn.Module]) -> Rewrite:
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
        install(graph, node, str(node.meta["mpq_name"]), layer, (source,))
        return None

    return rewrite


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


_CONV_OPTIONS = ("stride", "padding", "dilation", "groups")
_TRANSPOSED_OPTIONS = ("stride", "padding", "output_padding", "groups", "dilation")
_LAYER_OPTIONS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv1d: _CONV_OPTIONS,
    nn.Conv2d: _CONV_OPTIONS,
    nn.ConvTranspose1d: _TRANSPOSED_OPTIONS,
    nn.ConvTranspose2d: _TRANSPOSED_OPTIONS,
}

_MODULES: dict[Any, Rewrite] = {
    (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear): _weighted,
    (Input, Add, Concat, Pad, Subsample, SameGrid): _keep,
    Clamp: _clamp_module,
    nn.ReLU: _relu,
    nn.ReLU6: _relu6,
    nn.Hardtanh: _hardtanh,
    nn.Hardswish: _hardswish,
    (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity): _remove,
    (nn.MaxPool1d, nn.MaxPool2d): _max_pool_module,
    (nn.AvgPool1d, nn.AvgPool2d): _average_pool_module,
    (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d): _adaptive_pool_module,
    nn.Flatten: _flatten_module,
    (nn.Upsample,): _upsample_module,
    (nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d): _pad,
}

_FUNCTIONS: dict[Any, Rewrite] = {
    F.conv1d: _functional_layer(nn.Conv1d),
    F.conv2d: _functional_layer(nn.Conv2d),
    F.conv_transpose1d: _functional_layer(nn.ConvTranspose1d),
    F.conv_transpose2d: _functional_layer(nn.ConvTranspose2d),
    F.linear: _functional_layer(nn.Linear),
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
    **dict.fromkeys([F.avg_pool1d, torch.avg_pool1d, F.avg_pool2d], _average_pool_function),
    **dict.fromkeys([F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d], _adaptive_pool_function(1)),
    F.adaptive_avg_pool2d: _adaptive_pool_function(2),
    **dict.fromkeys([torch.mean, "mean"], _mean),
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
