"""A .pt2 file (torch.export.save) as a module that this adapter can take apart: layers, and torch's functions.

An exported graph calls ATen ops on parameters. Convolutions, linears and batch norms become modules at the
paths of their parameters, so weight sites have the names that they have in the exported model.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.known import once_known
from mpq_plugins.graph.ops import all_ops
from mpq_torch.aten_names import aten_names

_LAYERS: dict[str, type[nn.Module]] = {
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "conv_transpose1d": nn.ConvTranspose1d,
    "conv_transpose2d": nn.ConvTranspose2d,
    "linear": nn.Linear,
}
_OPTIONS = ("stride", "padding", "dilation", "groups")
_TRANSPOSED_OPTIONS = ("stride", "padding", "output_padding", "groups", "dilation")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "cat": torch.cat,
    "clamp": torch.clamp,
    "flatten": torch.flatten,
    "mean": torch.mean,
    "permute": torch.permute,
    "softmax": torch.softmax,
    "transpose": torch.transpose,
    **{name: getattr(torch, name) for name in ("sub", "rsub", "div", "neg", "pow", "square")},
    "view": torch.reshape,
    "reshape": torch.reshape,
    **{
        name: getattr(F, name)
        for name in ("relu", "relu6", "hardtanh", "pad", "max_pool2d", "max_pool1d", "avg_pool2d",
                     "avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool1d", "log_softmax")
    },
}  # fmt: skip


@once_known
def _functions() -> dict[str, Callable[..., Any]]:
    """The functions of torch by the names of ATen."""
    return {
        **{
            op.word: getattr(operator, op.word)
            for op in all_ops().values()
            if op.arity == 2 and hasattr(operator, op.word)
        },
        **_FUNCTIONS,
        **{
            name: found
            for op in all_ops().values()
            if op.table
            for name in aten_names(op)
            if (found := getattr(F, name, None) or getattr(torch, name, None)) is not None
        },
    }


_NOTHING = ("dropout", "feature_dropout", "contiguous", "clone", "alias", "detach")
_END = 2**63 - 1


def load_program(path: Path) -> fx.GraphModule:
    """The module of an exported program, in layers and functions. Raises ModelError for what is no such file."""
    try:
        program = torch.export.load(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} is no exported program (torch.export.save): {reason}") from error
    return as_layers(program.module())


def as_layers(exported: fx.GraphModule) -> fx.GraphModule:
    """An exported module with its ATen calls replaced; it takes and returns plain tensors.

    Raises ModelError for a batch norm in training mode.
    """
    graph = exported.graph
    graph.set_codegen(fx.graph.CodeGen())  # the one of torch.export checks the example's structure
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            graph.erase_node(node)
        elif node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            _replace(exported, node)
        elif node.op == "output" and isinstance(node.args[0], (list, tuple)) and len(node.args[0]) == 1:
            node.args = (node.args[0][0],)
    graph.eliminate_dead_code()
    return fx.GraphModule(exported, graph).eval()


def _replace(root: fx.GraphModule, node: fx.Node) -> None:
    name = node.target._overloadpacket.__name__.removesuffix("_")
    given = dict(zip((a.name for a in node.target._schema.arguments), node.args, strict=False)) | dict(node.kwargs)
    if name in _LAYERS:
        _install(root, node, _layer(root, name, given), given["weight"])
    elif name == "batch_norm":
        _install(root, node, _batch_norm(root, node, given), given["running_mean"])
    elif name in _NOTHING:
        node.replace_all_uses_with(node.args[0])
        root.graph.erase_node(node)
    elif name == "sym_size":
        node.op, node.target = "call_method", "size"
    elif name == "slice":
        _slice(root.graph, node, given)
    elif name in _functions():
        node.target = _functions()[name]


def _layer(root: fx.GraphModule, name: str, given: dict[str, Any]) -> nn.Module:
    kind, weight, bias = _LAYERS[name], _value(root, given["weight"]), _value(root, given.get("bias"))
    with torch.device("meta"):
        if kind is nn.Linear:
            layer: nn.Module = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        else:
            transposed = "transpose" in name
            options = {
                key: _plain(given[key]) for key in (_TRANSPOSED_OPTIONS if transposed else _OPTIONS) if key in given
            }
            inside = weight.shape[1] * options.get("groups", 1)
            channels = (weight.shape[0], inside) if transposed else (inside, weight.shape[0])
            layer = kind(*channels, tuple(weight.shape[2:]), bias=bias is not None, **options)
    layer.weight = nn.Parameter(weight.detach())
    layer.bias = None if bias is None else nn.Parameter(bias.detach())
    return layer


def _batch_norm(root: fx.GraphModule, node: fx.Node, given: dict[str, Any]) -> nn.Module:
    if given["training"]:
        raise ModelError(f"{node.name} was exported in training mode; call model.eval() before torch.export.export")
    mean, variance = _value(root, given["running_mean"]), _value(root, given["running_var"])
    weight, bias = _value(root, given.get("weight")), _value(root, given.get("bias"))
    flat = len(node.meta["val"].shape) == 3 if "val" in node.meta else False
    layer = (nn.BatchNorm1d if flat else nn.BatchNorm2d)(len(mean), given["eps"], given["momentum"])
    layer.running_mean, layer.running_var = mean.detach(), variance.detach()
    with torch.no_grad():
        layer.weight.copy_(torch.ones_like(mean) if weight is None else weight)
        layer.bias.copy_(torch.zeros_like(mean) if bias is None else bias)
    return layer


def _install(root: fx.GraphModule, node: fx.Node, layer: nn.Module, parameter: fx.Node) -> None:
    """Put the layer at the path of its parameter, and let the node call it."""
    path = str(parameter.target).rpartition(".")[0] or node.name
    root.add_submodule(path, layer)
    with root.graph.inserting_before(node):
        call = root.graph.call_module(path, (node.args[0],))
    node.replace_all_uses_with(call)
    root.graph.erase_node(node)


def _slice(graph: fx.Graph, node: fx.Node, given: dict[str, Any]) -> None:
    """One slice along an axis, joined with the one before it: x[:, ::2][:, :, ::2] is x[:, ::2, ::2]."""
    source, dim = given["self"], given.get("dim", 0)
    start, end, step = given.get("start"), given.get("end"), given.get("step", 1)
    if start in (None, 0) and end in (None, _END) and step == 1:
        node.replace_all_uses_with(source)
        graph.erase_node(node)
        return
    cut = slice(start or None, None if end == _END else end, step)
    index = [slice(None)] * (dim + 1)
    if source.target is operator.getitem and isinstance(source.args[1], tuple) and len(source.users) == 1:
        before = list(source.args[1])
        if len(before) <= dim or before[dim] == slice(None):
            index = before + [slice(None)] * (dim + 1 - len(before))
            source = source.args[0]
    index[dim] = cut
    node.target, node.args, node.kwargs = operator.getitem, (source, tuple(index)), {}


def _value(root: fx.GraphModule, node: Any) -> Any:
    return None if node is None else operator.attrgetter(str(node.target))(root)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value
