"""Tracing a torch model with torch.fx: what is traced, what the nodes are called, and which arguments there are."""

from __future__ import annotations

import inspect
import keyword
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_torch.attention import opened
from mpq_torch.depthwise import SlicedDepthwise
from mpq_torch.padded import PaddedConvolution
from mpq_torch.reader.concrete import ConcreteTracer
from mpq_torch.reader.hooks import keep_changing_hooks
from mpq_torch.reader.in_place import redirect_readers
from mpq_torch.reader.own_copy import copied, hold_weights
from mpq_torch.reader.user_code import not_traced
from mpq_torch.subpixel import SubpixelConvTranspose
from mpq_torch.written_modules import INPUT_SUFFIX, SAME_GRID_SUFFIX, GridClamp

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
CALLS = ("call_module", "call_function", "call_method")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_OPERATORS = {
    "__rsub__": "sub",
    "div": "truediv",
    "__rdiv__": "truediv",
    "__rtruediv__": "truediv",
    "__rpow__": "pow",
    "add_": "add",
    "sub_": "sub",
    "mul_": "mul",
    "div_": "truediv",
}
"""What torch calls the methods behind Python's operators, and what torch.fx calls the operators."""


@dataclass(frozen=True)
class Traced:
    """graph: a traced copy of a model, in eval mode. values: what its nodes give on the example, where it runs."""

    graph: fx.GraphModule
    values: Mapping[fx.Node, Any]


def prepared(model: nn.Module, example: Sequence[Any], unrolled: bool = False) -> nn.Module:
    """A copy of a model as it is traced, in eval mode; the model itself is left untouched.

    Wrappers are taken off, hooks that only look on too, weights are what the model computes with, and layers that
    share a parameter get parameters of their own. unrolled: as of ``opened``. Raises ModelError for what no reader
    takes.
    """
    model = copied(model).eval()
    hold_weights(model)
    check_types(model, example)
    keep_changing_hooks(model, example)
    model = opened(model, unrolled)
    _check_names(model)
    _untie(model)
    return model


def trace(model: nn.Module, example: Sequence[Any], unrolled: bool = False) -> Traced:
    """A model traced on an example by torch.fx; the model itself is left untouched.

    Arguments that the example does not give, or gives as None, take their defaults; what fx.constrain put in is taken
    out again. Raises NotTraced where torch.fx cannot trace the model, and as ``prepared`` does.
    """
    model = prepared(model, example, unrolled)
    names = [p.name for p in inspect.signature(model.forward).parameters.values() if p.kind in _POSITIONAL]
    tracer = ConcreteTracer(dict(zip(names, example, strict=False)))
    try:
        graph = fx.GraphModule(model, tracer.trace(model, concrete_args=_fixed(model, example)))
    except Exception as error:
        raise not_traced(model, "torch.fx", error) from error
    tracer.take_hooks_off()
    redirect_readers(graph)  # first: nobody reads what ``y.add_(z)`` returns
    _drop_defaults(graph, names[: len(example)])
    lift_constraints(graph)
    return Traced(graph, tracer.values)


def check_types(model: nn.Module, example: Sequence[Any]) -> None:
    """Raise ModelError for a model or an example that computes in anything but float32."""
    held = [(f"{name} is", parameter.dtype) for name, parameter in model.named_parameters()]
    given = [(f"argument {index} is", t.dtype) for index, t in enumerate(example) if isinstance(t, Tensor)]
    for what, dtype in (*held, *given):
        if dtype.is_floating_point and dtype != torch.float32:
            raise ModelError(
                f"{what} {str(dtype).removeprefix('torch.')}, and grids are found for models that compute in float32; "
                "pass model.float(), and inputs.float()"
            )


def argument_names_of(model: nn.Module, count: int) -> list[str]:
    """What the first ``count`` positional arguments of a model are called."""
    found: list[str] = []
    for parameter in inspect.signature(model.forward).parameters.values():
        if parameter.kind in _POSITIONAL:
            found.append(parameter.name)
        elif parameter.kind == inspect.Parameter.VAR_POSITIONAL:
            found += [f"{parameter.name}_{index}" for index in range(count - len(found))]
    return found[:count]


def argument_names(graph: fx.GraphModule) -> list[str]:
    """The names of the arguments that the traced model takes."""
    return [str(node.target) for node in graph.graph.nodes if node.op == "placeholder"]


def name_nodes(graph: fx.GraphModule) -> dict[fx.Node, str]:
    """The name of every node: the module's path, or the scope and the name of the function; further calls numbered."""
    calls: Counter[str] = Counter()
    names: dict[fx.Node, str] = {}
    last = {node.meta["torch_fn"]: node for node in graph.graph.nodes if _from_export(node)}
    held = {node.target for node in graph.graph.nodes if node.op in ("get_attr", "placeholder")}
    for node in graph.graph.nodes:
        if node.op not in CALLS:
            names[node] = str(node.target)
            continue
        name = _base_name(graph, node)
        name = f"{name}_op" if name in held else name
        if node.op == "call_module" and str(node.target).endswith(INPUT_SUFFIX):
            names[node] = name  # no call of what it quantizes
            continue
        if _from_export(node) and last[node.meta["torch_fn"]] is not node:
            name += "__part"  # of a function that is several ops in ATen, of which the last has its name
        count = calls[name]
        calls[name] += 1
        between = "__call" if node.op == "call_module" else "_"
        names[node] = f"{name}{between}{count}" if count else name
    return names


def _check_names(model: nn.Module) -> None:
    """Raise ModelError for modules and parameters whose names torch.fx cannot write in Python."""
    names = {part for path, _ in (*model.named_modules(), *model.named_parameters()) for part in path.split(".")}
    bad = sorted(name for name in names if keyword.iskeyword(name))
    if bad:
        raise ModelError(
            f"the model has a module or parameter called {', '.join(map(repr, bad))}, a word of Python's own, which "
            "torch.fx cannot write; rename it"
        )


def _fixed(model: nn.Module, example: Sequence[Any]) -> dict[str, Any]:
    """The arguments that are not given, with their defaults, and those that are given as None."""
    if isinstance(model, fx.GraphModule):
        return {}
    parameters = list(inspect.signature(model.forward).parameters.values())
    optional = {p.name: p.default for p in parameters[len(example) :] if p.default is not inspect.Parameter.empty}
    given = [p.name for p in parameters if p.kind in _POSITIONAL]
    return {**{name: None for name, value in zip(given, example, strict=False) if value is None}, **optional}


def _drop_defaults(graph: fx.GraphModule, names: Sequence[str]) -> None:
    """Remove the placeholders of arguments that took their defaults, and torch.fx's checks that they did.

    names: of the arguments that are given, which keep their places.
    """
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and getattr(node.target, "__name__", "") in ("_assert_is_none", "_assert"):
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    for node in list(graph.graph.nodes):
        if node.op == "placeholder" and not node.users and node.target not in names:
            own = str(node.target).removesuffix("_1")
            if own in names:
                node.target = own
            elif node.args or own.startswith("*"):
                graph.graph.erase_node(node)
    graph.recompile()


def _untie(model: nn.Module) -> None:
    """Give every layer parameters of its own: layers that share one may get different grids."""
    holders = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if isinstance(module, WEIGHTED) and parameter is not None and holders[id(parameter)] > 1:
                setattr(module, name, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))


def lift_constraints(graph: fx.GraphModule) -> None:
    """Take out what fx.constrain put in: clamps to grids, and layers in a form that kernels run exactly."""
    for path, module in list(graph.named_modules()):
        if isinstance(module, SlicedDepthwise | PaddedConvolution):
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
    name = f"{scope}.{_function_of(node)}".removeprefix(".")
    try:
        graph.get_submodule(name)
    except AttributeError:
        return name
    return f"{name}_op"


def _function_of(node: fx.Node) -> str:
    """The name of what a node calls: of a node that torch.export traced the function that the user called."""
    if _from_export(node):
        called = str(node.meta["torch_fn"][1]).rpartition(".")[2]
        if called in _OPERATORS and f".{called}(" not in str(node.meta.get("stack_trace", "")).rpartition("\n  ")[2]:
            return _OPERATORS[called]  # the line of the user's code has an operator
        return called.strip("_") if called.startswith("__") else called
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "op")


def _from_export(node: fx.Node) -> bool:
    """Whether torch.export knows of which function that the user called a node is an op."""
    return "torch_fn" in node.meta and node.op != "call_module" and node.target is not operator.getitem
