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
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from mpq_plugins.errors import ModelError
from mpq_torch.calling.node_arguments import arguments_of
from mpq_torch.reader.exported import as_traced, without_writes

_OPTIONS = ("stride", "padding", "dilation", "groups")
_TRANSPOSED_OPTIONS = ("stride", "padding", "output_padding", "groups", "dilation")
_LAYERS: dict[Callable[..., Any], tuple[type[nn.Module], tuple[str, ...]]] = {
    F.conv1d: (nn.Conv1d, _OPTIONS),
    F.conv2d: (nn.Conv2d, _OPTIONS),
    F.conv_transpose1d: (nn.ConvTranspose1d, _TRANSPOSED_OPTIONS),
    F.conv_transpose2d: (nn.ConvTranspose2d, _TRANSPOSED_OPTIONS),
    F.linear: (nn.Linear, ()),
}
"""The layer that a function is, and what it takes behind its input, weight and bias."""


def load_program(path: Path) -> fx.GraphModule:
    """The module of an exported program, in layers and functions. Raises ModelError for what is no such file."""
    try:
        program = torch.export.load(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} is no exported program (torch.export.save): {reason}") from error
    return as_layers(without_writes(program))


def as_layers(program: ExportedProgram) -> fx.GraphModule:
    """A program with its ATen calls replaced by layers and functions; it takes and returns what the program does.

    Raises ModelError for a batch norm in training mode.
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    root = program.module()
    graph, outputs = as_traced(program, root, {name: values[name] for name in program.graph_signature.user_inputs})
    graph.output(pytree.tree_unflatten(outputs, program.call_spec.out_spec))
    module = fx.GraphModule(root, graph)
    for node in list(graph.nodes):
        if node.target in _LAYERS and _value(module, node.args[1]) is not None:
            _install(module, node, _layer(module, node), node.args[1])
        elif node.target is F.batch_norm and _value(module, node.args[1]) is not None:
            _install(module, node, _batch_norm(module, node), node.args[1])
    graph.eliminate_dead_code()
    return fx.GraphModule(module, graph).eval()


def _layer(root: fx.GraphModule, node: fx.Node) -> nn.Module:
    function: Any = node.target
    kind, names = _LAYERS[function]
    weight, bias = (_value(root, argument) for argument in (*node.args, None)[1:3])
    with torch.device("meta"):
        if kind is nn.Linear:
            layer: nn.Module = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        else:
            options = {name: _plain(value) for name, value in zip(names, node.args[3:], strict=False)}
            inside = weight.shape[1] * options.get("groups", 1)
            channels = (weight.shape[0], inside) if "output_padding" in names else (inside, weight.shape[0])
            layer = kind(*channels, tuple(weight.shape[2:]), bias=bias is not None, **options)
    layer.weight = nn.Parameter(weight.detach())
    layer.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach()))
    return layer


def _batch_norm(root: fx.GraphModule, node: fx.Node) -> nn.Module:
    *tensors, training, momentum, epsilon = arguments_of(node)[1:]
    if training:
        raise ModelError(f"{node.name} was exported in training mode; call model.eval() before torch.export.export")
    mean, variance, weight, bias = (_value(root, tensor) for tensor in tensors)
    layer = nn.BatchNorm2d(len(mean), epsilon, momentum)
    layer._check_input_dim = lambda input: None  # type: ignore[method-assign]
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


def _value(root: fx.GraphModule, node: Any) -> Any:
    """The tensor of the model that an argument is; None for none, and for what is computed."""
    held = isinstance(node, fx.Node) and node.op == "get_attr"
    return operator.attrgetter(str(node.target))(root) if held else None


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value
