"""Tracing a torch model with torch.fx: what is traced, what the nodes are called, and which arguments there are."""

from __future__ import annotations

import keyword
import operator
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_torch.calling.arguments import flat, takes_of
from mpq_torch.calling.own_copy import copied, hold_weights
from mpq_torch.modules.attention import opened
from mpq_torch.modules.depthwise import SlicedDepthwise
from mpq_torch.modules.long_series import long_series
from mpq_torch.modules.padded import PaddedConvolution
from mpq_torch.modules.subpixel import SubpixelConvTranspose
from mpq_torch.modules.written import INPUT_SUFFIX, SAME_GRID_SUFFIX, GridClamp
from mpq_torch.reader.arguments import paths_of, placeholders_of
from mpq_torch.reader.concrete import ConcreteTracer
from mpq_torch.reader.hooks import keep_changing_hooks
from mpq_torch.reader.in_place import redirect_readers
from mpq_torch.reader.shape_values import computes_sizes
from mpq_torch.reader.unprepared import check_unprepared
from mpq_torch.reader.user_code import not_traced

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
CALLS = ("call_module", "call_function", "call_method")
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
    """graph: a traced copy of a model, in eval mode. values: what its nodes give on the example, where it runs.

    decided: nodes whose values Python code has asked for.
    """

    graph: fx.GraphModule
    values: Mapping[fx.Node, Any]
    decided: frozenset[fx.Node] = frozenset()


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
    model = opened(model, unrolled, frozenset() if unrolled else long_series(model, example))
    _check_names(model)
    _untie(model)
    return model


def trace(model: nn.Module, example: Sequence[Any], unrolled: bool = False) -> Traced:
    """A model traced on an example by torch.fx; the model itself is left untouched.

    Arguments that the example does not give, or gives as None, take their defaults; what fx.constrain put in is taken
    out again. Raises NotTraced where torch.fx cannot trace the model, and as ``prepared`` does.
    """
    model = prepared(model, example, unrolled)
    tracer = ConcreteTracer(takes_of(model), example)
    try:
        graph = fx.GraphModule(model, tracer.trace(model))
    except Exception as error:
        raise not_traced(model, "torch.fx", error) from error
    tracer.take_hooks_off()
    redirect_readers(graph)  # first: nobody reads what ``y.add_(z)`` returns
    graph.graph.eliminate_dead_code()
    graph.recompile()
    lift_constraints(graph)
    return Traced(graph, tracer.values, frozenset(tracer.decided))


def check_types(model: nn.Module, example: Sequence[Any]) -> None:
    """Raise ModelError for a model or an example that computes in anything but float32, or that was prepared,
    converted or exported already."""
    check_unprepared(model)
    held = [(f"{name} is", parameter.dtype) for name, parameter in model.named_parameters()]
    given = [(f"argument {index} is", t.dtype) for index, t in enumerate(flat(example)) if isinstance(t, Tensor)]
    for what, dtype in (*held, *given):
        if dtype.is_floating_point and dtype != torch.float32:
            raise ModelError(
                f"{what} {str(dtype).removeprefix('torch.')}, and grids are found for models that compute in float32; "
                "pass model.float(), and inputs.float()"
            )


def name_nodes(
    graph: fx.GraphModule, arguments: Collection[str] = (), folded: Collection[fx.Node] = ()
) -> dict[fx.Node, str]:
    """The name of every node: the module's path, or the scope and the name of the function; further calls numbered.

    What computes sizes is not counted: one tracer records it where the other has numbers.
    arguments: the names of the model's inputs, which functions leave to them. folded: calls that are constants of the
    graph, which are numbered apart: the model that is written has none of them.
    """
    calls: Counter[str] = Counter()
    sizes: set[fx.Node] = set()
    names: dict[fx.Node, str] = {}
    last = {node.meta["torch_fn"]: node for node in graph.graph.nodes if _from_export(node)}
    held = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    paths = paths_of(graph)
    taken = {*arguments, *(str(node.target) for node in placeholders_of(graph))}
    for node in graph.graph.nodes:
        if node.op not in CALLS:
            names[node] = str(node.target)
            continue
        if computes_sizes(node, sizes):
            sizes.add(node)
            names[node] = f"{node.name}__size"
            continue
        name = _base_name(node, paths)
        own = node.op != "call_module" and hasattr(fx.GraphModule, name.rpartition(".")[2])  # as nn.Module.float
        if own or name in held or (name in taken and node.op != "call_module"):
            name = f"{name}_op"
        if node.op == "call_module" and str(node.target).endswith(INPUT_SUFFIX):
            names[node] = name  # no call of what it quantizes
            continue
        if _from_export(node) and last[node.meta["torch_fn"]] is not node:
            name += "__part"  # of a function that is several ops in ATen, of which the last has its name
        if node in folded:
            name += "__constant"
        count = calls[name]
        between = "__call" if node.op == "call_module" else "_"
        while count and f"{name}{between}{count}" in taken:
            count += 1
        calls[name] = count + 1
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


def _base_name(node: fx.Node, paths: Collection[str]) -> str:
    if node.op == "call_module":
        return str(node.target).removesuffix(SAME_GRID_SUFFIX).removesuffix(INPUT_SUFFIX)
    stack = node.meta.get("nn_module_stack") or {}
    scope = next(reversed(stack.values()))[0] if stack else ""
    name = f"{scope}.{_function_of(node)}".removeprefix(".")
    return f"{name}_op" if name in paths else name


def _function_of(node: fx.Node) -> str:
    """The name of what a node calls: of a node that torch.export traced the function that the user called."""
    if _from_export(node):
        called = str(node.meta["torch_fn"][1]).rpartition(".")[2]
        if called in _OPERATORS and f".{called}(" not in str(node.meta.get("stack_trace", "")).rpartition("\n  ")[2]:
            return _OPERATORS[called]  # the line of the user's code has an operator
        bare = called.strip("_") if called.startswith("__") else called
        return f"{bare}_" if keyword.iskeyword(bare) else bare  # as the operator module calls "and" and "or"
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "op")


def _from_export(node: fx.Node) -> bool:
    """Whether torch.export knows of which function that the user called a node is an op."""
    return "torch_fn" in node.meta and node.op != "call_module" and node.target is not operator.getitem
