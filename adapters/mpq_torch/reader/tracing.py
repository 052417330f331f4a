"""Tracing a torch model with torch.fx: what is a leaf, what the nodes are called, and which arguments there are."""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import fx, nn

from mpq_plugins.errors import ModelError
from mpq_torch.depthwise import SlicedDepthwise
from mpq_torch.reader.in_place import redirect_readers
from mpq_torch.subpixel import SubpixelConvTranspose
from mpq_torch.written_modules import INPUT_SUFFIX, LEAVES, SAME_GRID_SUFFIX, GridClamp

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
CALLS = ("call_module", "call_function", "call_method")


def trace(model: nn.Module, given: int | None) -> fx.GraphModule:
    """A traced copy of the model, in eval mode; the model itself is left untouched.

    given: how many arguments an example has; later ones take their defaults. None: all without a default are given.
    Layers that share a parameter get parameters of their own. What fx.constrain put in is taken out again.
    Raises ModelError where torch.fx cannot trace the model.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"a torch.nn.Module is needed, got {type(model).__name__}")
    model = copy.deepcopy(model).eval()
    _untie(model)
    try:
        graph = fx.GraphModule(model, _Tracer().trace(model, concrete_args=_defaults(model, given)))
    except Exception as error:
        raise ModelError(
            f"torch.fx cannot trace {type(model).__name__}: {error}. Control flow that depends on tensor "
            "values has to move into a function marked with torch.fx.wrap, or out of the model"
        ) from error
    _drop_defaults(graph)
    _lift_constraints(graph)
    redirect_readers(graph)
    return graph


def argument_names(graph: fx.GraphModule) -> list[str]:
    """The names of the arguments that the traced model takes."""
    return [str(node.target) for node in graph.graph.nodes if node.op == "placeholder"]


def name_nodes(graph: fx.GraphModule) -> dict[fx.Node, str]:
    """The name of every node: the module's path, or the scope and the name of the function; further calls numbered."""
    calls: Counter[str] = Counter()
    names: dict[fx.Node, str] = {}
    for node in graph.graph.nodes:
        if node.op not in CALLS:
            names[node] = str(node.target)
            continue
        name = _base_name(graph, node)
        count = calls[name]
        calls[name] += 1
        between = "__call" if node.op == "call_module" else "_"
        names[node] = f"{name}{between}{count}" if count else name
    return names


def tensors_given(node: fx.Node) -> int | None:
    """How many tensors a call gives by its arguments alone; None where the shape of its input decides."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if name not in ("chunk", "split", "split_with_sizes") or node.op == "call_module":
        return None
    keys = {
        "chunk": ("chunks",),
        "split": ("split_size", "split_size_or_sections"),
        "split_with_sizes": ("split_sizes",),
    }
    named = [node.kwargs[key] for key in keys[name] if key in node.kwargs]
    asked = node.args[1] if len(node.args) > 1 else named[0] if named else None
    if name == "chunk":
        return asked if isinstance(asked, int) else None
    return len(asked) if isinstance(asked, (list, tuple)) else None


class _Several(fx.Proxy):
    """The tensors of a chunk or split whose number is written in the call; torch.fx's own proxies have no length."""

    def __init__(self, node: fx.Node, tracer: fx.Tracer, number: int) -> None:
        super().__init__(node, tracer)
        self.number = number

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[Any]:
        return iter([self[index] for index in range(self.number)])


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = isinstance(m, (*LEAVES, SlicedDepthwise, SubpixelConvTranspose))
        return ours or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        number = tensors_given(node)
        return super().proxy(node) if number is None else _Several(node, self, number)


def _defaults(model: nn.Module, given: int | None) -> dict[str, Any]:
    """The arguments that are not given, with their defaults."""
    if given is None or isinstance(model, fx.GraphModule):
        return {}
    parameters = list(inspect.signature(model.forward).parameters.values())
    optional = [p for p in parameters[given:] if p.default is not inspect.Parameter.empty]
    return {p.name: p.default for p in optional}


def _drop_defaults(graph: fx.GraphModule) -> None:
    """Remove the placeholders of arguments that took their defaults, and torch.fx's checks that they did."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and getattr(node.target, "__name__", "") in ("_assert_is_none", "_assert"):
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    for node in list(graph.graph.nodes):
        if node.op == "placeholder" and not node.users and node.args:
            graph.graph.erase_node(node)
    graph.recompile()


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


def _base_name(graph: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return str(node.target).removesuffix(SAME_GRID_SUFFIX).removesuffix(INPUT_SUFFIX)
    stack = node.meta.get("nn_module_stack") or {}
    scope = next(reversed(stack.values()))[0] if stack else ""
    function = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "op")
    name = f"{scope}.{function}".removeprefix(".")
    try:
        graph.get_submodule(name)
    except AttributeError:
        return name
    return f"{name}_op"
