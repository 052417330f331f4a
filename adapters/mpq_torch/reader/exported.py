"""An exported program as the graph of layers and functions that torch.fx would have traced."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from mpq_plugins.errors import ModelError
from mpq_torch.calling.node_arguments import arguments_of, source_of
from mpq_torch.reader.aten import Spelled, aten_name, makes_view, spelled, writes
from mpq_torch.reader.indexing import indexings
from mpq_torch.reader.leaf_calls import LEAF, LeafCall
from mpq_torch.reader.written_parts import DECOMPOSITIONS

_COPIES = ("alias", "lift_fresh", "lift_fresh_copy", "detach")
_CHECKS = ("_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size")
_WITH_INDICES = ("adaptive_max_pool1d", "adaptive_max_pool2d", "max_pool2d_with_indices")
_RETURNS_ITS_INPUT = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
_NONE: Mapping[Any, Any] = MappingProxyType({})
_INLINED = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}
"""Ops that call a graph in some mode, and the position of the graph among their arguments."""


def without_writes(program: ExportedProgram) -> ExportedProgram:
    """The program, with what it writes into parts of tensors as these put together anew."""
    return program.run_decompositions(dict(DECOMPOSITIONS)) if _writes_into_a_part(program.graph) else program


def as_traced(
    program: ExportedProgram,
    root: nn.Module,
    arguments: Mapping[str, Any],
    defaults: Mapping[str, tuple[Any, ...]] = _NONE,
    calls: Mapping[int, LeafCall] = _NONE,
    scopes: Mapping[str, str] = _NONE,
) -> tuple[fx.Graph, list[Any]]:
    """The graph, without an output node, and what the program returns: its nodes, or the numbers that they are.

    root: the model, which gets the tensors that its forward makes as buffers. arguments: the example's, by name, and
    defaults theirs.
    calls: of the layers, by number. scopes: the path that functions called in a module are named by, by its path.
    """
    builder = _Builder(root, calls, scopes)
    return builder.graph, builder.built(program, arguments, defaults)


class _Builder:
    def __init__(self, root: nn.Module, calls: Mapping[int, LeafCall], scopes: Mapping[str, str]) -> None:
        self.root = root
        self.calls = calls
        self.scopes = scopes
        self.graph = fx.Graph()
        self.at: dict[fx.Node, Any] = {}
        self.held: dict[fx.Node, str] = {}
        self.attributes: dict[str, fx.Node] = {}
        self.constants: dict[Tensor, str] = {}
        self.meta: dict[str, Any] = {}

    def built(
        self, program: ExportedProgram, arguments: Mapping[str, Any], defaults: Mapping[str, tuple[Any, ...]]
    ) -> list[Any]:
        given = [
            leaf for name, value in arguments.items() for leaf in self._argument(name, value, defaults.get(name, ()))
        ]
        tensors = {**program.state_dict, **program.constants}
        kinds = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
        for node in program.graph.nodes:
            if node.op != "placeholder":
                continue
            spec = kinds[node.name]
            if spec.kind == InputKind.USER_INPUT:
                self.at[node] = given.pop(0)
            else:
                self.held[node] = self._kept(str(spec.target), tensors[str(spec.target)])
        return self._steps(program.graph_module)

    def _argument(self, name: str, value: Any, default: tuple[Any, ...]) -> list[Any]:
        """The nodes of the tensors in an argument; plain values are what they are."""
        argument = self.graph.create_node("placeholder", name, default)
        found = []
        for path, leaf in pytree.tree_flatten_with_path(value)[0]:
            node = argument
            for key in path:
                node = self.graph.call_function(
                    operator.getitem, (node, getattr(key, "idx", getattr(key, "key", None)))
                )
            found.append(node if isinstance(leaf, Tensor) else leaf)
        return found

    def _kept(self, name: str, value: Tensor) -> str:
        """The path at which the model has a tensor, or gets it."""
        try:
            return name if isinstance(operator.attrgetter(name)(self.root), Tensor) else self._constant(value)
        except AttributeError:
            return self._constant(value)

    def _constant(self, value: Tensor) -> str:
        count = sum(name.startswith("_tensor_constant") for name in self.root.__dict__["_buffers"])
        self.root.register_buffer(f"_tensor_constant{count}", value)
        return f"_tensor_constant{count}"

    def _steps(self, module: fx.GraphModule) -> list[Any]:
        """Build the nodes of a graph, whose placeholders are known; gives what it returns."""
        indexed = indexings(module.graph)
        inside = {node for last, (source, _) in indexed.items() for node in _between(source, last)}
        for node in module.graph.nodes:
            self.meta = _scoped(node, self.scopes)
            if node.op == "get_attr":
                self.at[node] = getattr(module, str(node.target))
            elif node.op == "output":
                return [self._as_node(value) for value in self._new(node.args[0])]
            elif node in indexed:
                source, index = indexed[node]
                args = (self._new(source), self._new(index))
                self.at[node] = self._add(Spelled("call_function", operator.getitem, args, {}))
            elif node.op == "call_function" and node not in inside:
                self._call(node)
        raise AssertionError("a graph has an output")

    def _new(self, value: Any) -> Any:
        return map_arg(value, self._node)

    def _node(self, old: fx.Node) -> Any:
        """What stands for an old node: a node, a plain value, or a tensor that is the same at every call."""
        if old not in self.held:
            return self.at[old]
        path = self.held[old]
        found = operator.attrgetter(path)(self.root)
        return self._attribute(path) if isinstance(found, nn.Parameter) else found

    def _attribute(self, path: str) -> fx.Node:
        if path not in self.attributes:
            self.attributes[path] = self.graph.get_attr(path)
        return self.attributes[path]

    def _as_node(self, value: Any) -> Any:
        """A tensor as the node of one that the model holds; anything else as it is."""
        if not isinstance(value, Tensor):
            return value
        if value not in self.constants:
            paths = (path for path, buffer in self.root.named_buffers() if buffer is value)
            self.constants[value] = next(paths, None) or self._constant(value)
        return self._attribute(self.constants[value])

    def _add(self, call: Spelled) -> Any:
        """The node of a call; one that reads no node is computed here, once for all."""
        if not _reads((call.args, dict(call.kwargs))):
            function = getattr(torch.Tensor, call.target) if call.op == "call_method" else call.target
            with torch.no_grad():
                return function(*call.args, **call.kwargs)
        args, kwargs = pytree.tree_map(self._as_node, (call.args, dict(call.kwargs)))
        node = self.graph.create_node(call.op, call.target, args, kwargs)
        node.meta = dict(self.meta)
        return node

    def _call(self, node: fx.Node) -> None:
        target, name, given = node.target, aten_name(node.target), arguments_of(node)
        word = getattr(target, "__name__", "")
        if target is LEAF:
            self.at[node] = self._leaf(node)
        elif target is operator.getitem and isinstance(self.at.get(given[0]), (list, tuple)):
            self.at[node] = self.at[given[0]][given[1]]
        elif word in _INLINED:
            self.at[node] = self._inlined(node, _INLINED[word])
        elif isinstance(target, torch._ops.HigherOrderOperator):
            raise ModelError(f"torch's {word} has no form here; compute both ways and choose with torch.where")
        elif name in _COPIES:
            self.at[node] = self._new(node.args[0])
        elif name in _CHECKS:
            return
        elif name in _WITH_INDICES and all(user.args[1] == 0 for user in node.users):
            function = getattr(torch.nn.functional, name.removesuffix("_with_indices"))
            self.at[node] = [self._add(Spelled("call_function", function, self._new(node.args), {}))]
        elif isinstance(target, torch._ops.OpOverload):
            self.at[node] = self._add(spelled(target, self._new(node.args), self._new(node.kwargs)))
            if writes(target):
                self._overwrite(node.args[0], self.at[node])
        else:
            self.at[node] = self._add(Spelled("call_function", target, self._new(node.args), self._new(node.kwargs)))

    def _overwrite(self, old: Any, new: Any) -> None:
        """Let what follows read what was written. (What lies in the same memory was taken care of before.)"""
        self.held.pop(old, None)
        self.at[old] = new

    def _leaf(self, node: fx.Node) -> list[Any]:
        """The tensors that a layer returns: its call itself, or the parts of what it gives."""
        read, which = arguments_of(node)[:2]
        call = self.calls[which]
        args, kwargs = call.arguments(self._new(read))
        args, kwargs = pytree.tree_map(self._as_node, (args, kwargs))
        made = self.graph.create_node("call_module", call.path, args, kwargs)
        made.meta = dict(self.meta)
        self.meta = {"nn_module_stack": {call.path: (call.path, nn.Module)}}
        if getattr(self.root.get_submodule(call.path), "inplace", False):
            self._overwrite(read[0], made)
        found = []
        for path, leaf in pytree.tree_flatten_with_path(call.returned(["tensor"] * len(call.out)))[0]:
            part = made
            for key in path:
                place = cast(pytree.SequenceKey[Any], key).idx  # an output is put together of tuples and lists
                part = self._add(Spelled("call_function", operator.getitem, (part, place), {}))
            if leaf == "tensor":
                found.append(part)
        return found

    def _inlined(self, node: fx.Node, position: int) -> list[Any]:
        which, *given = arguments_of(node)[position:]
        body = self.at[which]
        inputs = [n for n in body.graph.nodes if n.op == "placeholder"]
        for own, value in zip(inputs, given, strict=True):
            self.at[own] = self._new(value)
        return self._steps(body)


def _scoped(node: fx.Node, scopes: Mapping[str, str]) -> dict[str, Any]:
    """What a new node is named by: the module in which the old one is called, and the function."""
    stack = ["", *(path.partition("@")[0] for path, _ in (node.meta.get("nn_module_stack") or {}).values())]
    meta = {"nn_module_stack": {stack[-1]: (scopes.get(stack[-1], stack[-1]), nn.Module)}}
    return meta | {key: node.meta[key] for key in ("torch_fn", "stack_trace") if key in node.meta}


def _reads(value: Any) -> bool:
    found: list[fx.Node] = []
    map_arg(value, found.append)
    return bool(found)


def _between(source: fx.Node, last: fx.Node) -> list[fx.Node]:
    """The ops of an index without the last."""
    found, node = [], source_of(last)
    while node is not source:
        found.append(node)
        node = source_of(node)
    return found


def _writes_into_a_part(graph: fx.Graph) -> bool:
    """Whether an op writes into a tensor whose memory another one that is still read has too."""
    order = {node: index for index, node in enumerate(graph.nodes)}
    memory: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        first = node.args[0] if node.op == "call_function" and node.args else None
        shared = makes_view(node.target) or writes(node.target) or aten_name(node.target) in _RETURNS_ITS_INPUT
        memory[node] = memory[first] if isinstance(first, fx.Node) and shared else node
    for node in graph.nodes:
        if node.op != "call_function" or not writes(node.target):
            continue
        others = [n for n, home in memory.items() if home is memory[node] and n not in (node.args[0], node)]
        if any(order[n] < order[node] < order[user] for n in others for user in n.users):
            return True
    return False
