"""Folding of batch norms into the layer before them; a batch norm that stands alone becomes a layer."""

from __future__ import annotations

import torch
from torch import fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.folding import fold_batch_norm
from mpq_torch.layer_matrix import TRANSPOSED
from mpq_torch.shape_checks import FOLDED

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear, *TRANSPOSED)


def fold_batch_norms(graph: fx.GraphModule) -> None:
    """Fold every batch norm of ``graph`` (eval mode), in place.

    A batch norm goes into the convolution or linear whose output nobody else reads; a layer called
    several times takes its batch norm along if the same one follows every call. A BatchNorm2d that
    follows anything else becomes a depthwise 1x1 convolution. Raises ModelError where a batch norm
    has no running statistics.
    """
    modules = dict(graph.named_modules())
    folded: dict[str, str] = {}
    for node in list(graph.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, BATCH_NORMS):
            continue
        if norm.running_mean is None or norm.running_var is None:
            raise ModelError(f"batch norm {node.target} keeps no running statistics, so it cannot be folded")
        layer_node = node.args[0]
        name = str(layer_node.target) if isinstance(layer_node, fx.Node) else ""
        calls = [n for n in graph.graph.nodes if n.op == "call_module" and n.target == name]
        done = len(calls) > 1 and folded.get(name) == node.target
        # a layer that is called once may take a second batch norm along, a shared one may not
        free = len(calls) == 1 or name not in folded
        if done or (free and _foldable(layer_node, norm, node, calls, modules)):
            if not done:
                _fold(modules[name], norm)
                folded[name] = str(node.target)
                setattr(modules[name], FOLDED, str(node.target))
            node.replace_all_uses_with(layer_node)
            graph.graph.erase_node(node)
        elif isinstance(norm, nn.BatchNorm2d):
            graph.add_submodule(str(node.target), _as_depthwise(norm))
    graph.graph.lint()


def _foldable(
    layer_node: object, norm: nn.Module, norm_node: fx.Node, calls: list[fx.Node], modules: dict[str, nn.Module]
) -> bool:
    """Whether every call of the layer is read by this batch norm and by nothing else."""
    if not isinstance(layer_node, fx.Node) or layer_node.op != "call_module":
        return False
    layer = modules[str(layer_node.target)]
    if not isinstance(layer, _LAYERS):
        return False
    if isinstance(layer, nn.Linear) and layer.out_features != norm.num_features:
        return False  # the batch norm works along another axis of [samples, channels, features]
    return all(len(call.users) == 1 and next(iter(call.users)).target == norm_node.target for call in calls)


def _fold(layer: nn.Module, norm: nn.Module) -> None:
    """Fold ``norm`` into ``layer``, in place, by the core."""
    weight = layer.weight.detach().double().numpy()
    grouped = isinstance(layer, TRANSPOSED) and layer.groups > 1
    if grouped:
        # outputs lie along two axes, group and output of the group: bring them together, and back
        weight = weight.reshape(layer.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
        folded_shape = weight.shape
        weight = weight.reshape(-1, *weight.shape[2:])
    channels = norm.num_features
    gamma = torch.ones(channels) if norm.weight is None else norm.weight.detach()
    beta = torch.zeros(channels) if norm.bias is None else norm.bias.detach()
    new_weight, new_bias = fold_batch_norm(
        weight,
        None if layer.bias is None else layer.bias.detach().double().numpy(),
        *(t.double().numpy() for t in (gamma, beta, norm.running_mean, norm.running_var)),
        epsilon=norm.eps,
        axis=1 if isinstance(layer, TRANSPOSED) and not grouped else 0,
    )
    if grouped:
        new_weight = new_weight.reshape(folded_shape).swapaxes(1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(new_weight.reshape(layer.weight.shape)))
    layer.bias = nn.Parameter(torch.from_numpy(new_bias).to(layer.weight.dtype))


def _as_depthwise(norm: nn.BatchNorm2d) -> nn.Conv2d:
    channels = norm.num_features
    layer = nn.Conv2d(channels, channels, 1, groups=channels, bias=False).eval()
    nn.init.ones_(layer.weight)
    _fold(layer, norm)
    return layer
