"""A float model as a canonical torch.fx graph: what inventory, simulation and conversion work on.

In a canonical graph batch norms are folded, functional convolutions and linears are modules, every
other op that a recipe knows is one of the small modules of canonical_ops at the path of its site,
and each ReLU is a module of its own. Everything else is float and is listed by name.
Canonicalizing a canonical graph changes nothing.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_plugins.errors import ModelError, UnsupportedOp
from mpq_torch.batch_norm import fold_batch_norms
from mpq_torch.canonical_ops import (
    INPUT_SUFFIX,
    LEAVES,
    SAME_GRID_SUFFIX,
    Add,
    Clamp,
    Concat,
    GridClamp,
    Input,
    Pad,
    SameGrid,
    Subsample,
)
from mpq_torch.depthwise import SlicedDepthwise
from mpq_torch.pooling_rewrites import MAX_POOLS
from mpq_torch.reader.in_place import redirect_readers
from mpq_torch.rewrites import rewrite_of
from mpq_torch.rewriting import is_shape_value
from mpq_torch.subpixel import SubpixelConvTranspose

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
OWN_GRID = (*WEIGHTED, Input, Add, nn.Hardswish)
SHARED_GRID = (nn.ReLU, Clamp, Pad, Subsample, SameGrid, Concat, *MAX_POOLS)
_CALLS = ("call_module", "call_function", "call_method")


@dataclass(frozen=True)
class CanonicalModel:
    """graph: the canonical GraphModule, in eval mode.

    float_ops: names of the ops that stay float (asked for, or after the last quantizable weight).
    """

    graph: fx.GraphModule
    float_ops: tuple[str, ...]

    def nodes(self) -> Iterator[tuple[fx.Node, nn.Module]]:
        """The quantizable nodes in execution order, each with its module."""
        for node in list(self.graph.graph.nodes):
            if node.op == "call_module" and not node.meta.get("mpq_float"):
                yield node, self.graph.get_submodule(str(node.target))


_SOFTMAXES = (F.softmax, F.log_softmax, torch.softmax, torch.log_softmax, "softmax", "log_softmax")


def logits(model: CanonicalModel) -> list[fx.Node]:
    """The nodes whose values the model returns; of a softmax at the end, the node that it reads."""
    (output,) = (node for node in model.graph.graph.nodes if node.op == "output")
    returned, read = [], []
    for node in output.all_input_nodes:
        if _is_softmax(model.graph, node):
            read.append(node.all_input_nodes[0])
        else:
            returned.append(node)
    return list(dict.fromkeys([*returned, *read]))


def _is_softmax(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(graph.get_submodule(str(node.target)), (nn.Softmax, nn.LogSoftmax))
    return node.op in _CALLS and node.target in _SOFTMAXES


def site_name(node: fx.Node) -> str:
    """The name of the activation that a canonical node computes."""
    return str(node.meta["mpq_name"])


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*LEAVES, SlicedDepthwise, SubpixelConvTranspose)) or super().is_leaf_module(
            m, module_qualified_name
        )


def canonicalize(model: nn.Module, keep_float: Iterable[str] = ()) -> CanonicalModel:
    """The canonical form of ``model``, which is left untouched.

    keep_float: names of modules or functional ops to leave in float; ops after the last
    quantizable weight that no integer kernel knows (softmax) stay float without being named.
    Raises ModelError where torch.fx cannot trace the model, and UnsupportedOp, with all names,
    where an op that has no integer form stands in front of a quantizable weight.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"a torch.nn.Module is needed, got {type(model).__name__}")
    model = copy.deepcopy(model).eval()
    _untie(model)
    try:
        graph = fx.GraphModule(model, _Tracer().trace(model))
    except Exception as error:
        raise ModelError(
            f"torch.fx cannot trace {type(model).__name__}: {error}. Control flow that depends on tensor "
            "values has to move into a function marked with torch.fx.wrap, or out of the model"
        ) from error
    _lift_constraints(graph)
    redirect_readers(graph)
    fold_batch_norms(graph)
    _name_nodes(graph)
    kept = frozenset(keep_float)
    reasons: dict[fx.Node, str] = {}
    for node in list(graph.graph.nodes):
        if node.op not in _CALLS or is_shape_value(node):
            continue
        if site_name(node) in kept:
            reasons[node] = ""
            continue
        reason = rewrite_of(graph, node)
        if reason is not None:
            reasons[node] = reason
    float_ops = _mark_float(graph, reasons)
    _insert_inputs(graph)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()
    return CanonicalModel(graph, float_ops)


def _untie(model: nn.Module) -> None:
    """Give every layer parameters of its own: layers that share one may get different grids."""
    holders = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if isinstance(module, WEIGHTED) and parameter is not None and holders[id(parameter)] > 1:
                setattr(module, name, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))


def _lift_constraints(graph: fx.GraphModule) -> None:
    """Take out what fx.constrain put in: clamps to grids, and layers in a form that kernels run exactly."""
    for path, module in list(graph.named_modules()):
        if isinstance(module, SlicedDepthwise):
            graph.add_submodule(path, module.whole())
        elif isinstance(module, SubpixelConvTranspose):
            graph.add_submodule(path, module.transposed())
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), GridClamp):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)


def _name_nodes(graph: fx.GraphModule) -> None:
    """Give every node the name of its site: the module's path, or scope and function name."""
    calls: dict[str, int] = {}
    layers: dict[str, list[fx.Node]] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module" and str(node.target).endswith(INPUT_SUFFIX):
            node.meta["mpq_name"] = str(node.target).removesuffix(INPUT_SUFFIX)
        elif node.op in _CALLS:
            name = _base_name(graph, node)
            count = calls.get(name, 0)
            calls[name] = count + 1
            if node.op == "call_module":
                layers.setdefault(str(node.target), []).append(node)
                node.meta["mpq_name"] = name if count == 0 else f"{name}__call{count}"
            else:
                node.meta["mpq_name"] = name if count == 0 else f"{name}_{count}"
        else:
            node.meta["mpq_name"] = str(node.target)
    for nodes in layers.values():
        for node in nodes:
            node.meta["mpq_shared_layer"] = len(nodes) > 1


def _base_name(graph: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return str(node.target).removesuffix(SAME_GRID_SUFFIX)
    stack = node.meta.get("nn_module_stack") or {}
    scope = next(reversed(stack.values()))[0] if stack else ""
    function = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "op")
    name = f"{scope}.{function}".removeprefix(".")
    try:
        graph.get_submodule(name)
    except AttributeError:
        return name
    return f"{name}_op"


def _mark_float(graph: fx.GraphModule, reasons: dict[fx.Node, str]) -> tuple[str, ...]:
    """Mark the nodes that stay float; raise UnsupportedOp for those that may not."""
    weighted = {
        node
        for node in graph.graph.nodes
        if node.op == "call_module"
        and node not in reasons
        and isinstance(graph.get_submodule(str(node.target)), WEIGHTED)
    }
    if not weighted:
        raise ModelError("the model has no convolution or linear layer to quantize")
    feeds_weight: set[fx.Node] = set()
    for node in reversed(graph.graph.nodes):
        if any(user in weighted or user in feeds_weight for user in node.users):
            feeds_weight.add(node)
    refused = [node for node, why in reasons.items() if why and node in feeds_weight]
    if refused:
        listed = "; ".join(f"{site_name(node)}: {reasons[node]}" for node in refused)
        raise UnsupportedOp(f"{listed}. Name them in keep_float to leave them in float arithmetic")
    for node in graph.graph.nodes:
        trailing = any(source.meta.get("mpq_trailing") for source in node.all_input_nodes)
        node.meta["mpq_trailing"] = trailing or bool(reasons.get(node))
        node.meta["mpq_float"] = node in reasons or trailing
    return tuple(
        site_name(node)
        for node in graph.graph.nodes
        if node.op in _CALLS and node.meta["mpq_float"] and not is_shape_value(node)
    )


def _insert_inputs(graph: fx.GraphModule) -> None:
    """Let every float tensor that a quantizable op reads pass through one Input module."""
    entrances: dict[fx.Node, fx.Node] = {}
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or node.meta["mpq_float"]:
            continue
        if isinstance(graph.get_submodule(str(node.target)), Input):
            continue
        for source in node.all_input_nodes:
            if is_shape_value(source) or not (source.meta["mpq_float"] or source.op in ("placeholder", "get_attr")):
                continue
            if source not in entrances:
                name = site_name(source)
                graph.add_submodule(name + INPUT_SUFFIX, Input().eval())
                with graph.graph.inserting_after(source):
                    entrance = graph.graph.call_module(name + INPUT_SUFFIX, (source,))
                entrance.meta = {"mpq_name": name, "mpq_float": False}
                entrances[source] = entrance
            node.replace_input_with(source, entrances[source])
