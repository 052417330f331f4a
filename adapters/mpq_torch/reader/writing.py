"""A graph as a torch.fx GraphModule again: every node a module at its name, float parts as the model has them."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_plugins.graph.logic import WHOLE
from mpq_plugins.graph.node import ARGUMENT, BATCH_NORM, CONSTANT, FLOAT, RAW, Batch, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_torch.modules.written import RELU_SUFFIX, SAME_GRID_SUFFIX, Clamp, FloatPart, Input, OfTwo
from mpq_torch.reader.arguments import placeholders_of
from mpq_torch.reader.modules import layer_of, module_of
from mpq_torch.reader.reading import Output, Reading
from mpq_torch.reader.returned import Made, mapped

Behind = Callable[[Node], Iterable[tuple[str, nn.Module]]]
"""Modules to put behind a node, in front of the clamp that no kernel has fused, each with its path."""


def write_module(
    reading: Reading,
    layers: Mapping[str, nn.Module] | None = None,
    behind: Behind = lambda node: (),
    channels_last: bool = False,
) -> fx.GraphModule:
    """The module that computes in float what the reading's graph does, in eval mode; reading it gives the graph again.

    layers: modules to put in the place of layers, by the name of the layer that owns the weight; else the nodes'
    weights and biases make them. channels_last: clamps of images work on a view with the channels last.
    """
    return _Writer(reading, layers or {}, behind, channels_last).write()


def write_located(reading: Reading) -> tuple[fx.GraphModule, dict[str, fx.Node]]:
    """The module to be trained, and by activation site the node of it that computes the site, behind a ReLU if any.

    A clamp from zero up begins with a ReLU: of a value at its bound it passes no gradient, and grids have many zeros.
    """
    writer = _Writer(reading, {}, lambda node: (), False, trained=True)
    written = writer.write()
    return written, writer.owners


def is_relu(graph: Graph, node: Node) -> bool:
    """Whether the node's clamp is written as a ReLU alone.

    torch.ao cannot fuse a ReLU into a layer that is called twice; a clamp needs no fusion.
    """
    return node.low == 0 and node.high is None and not _called_again(graph, node)


def _called_again(graph: Graph, node: Node) -> bool:
    return node.weighted and sum(other.weight_site == node.weight_site for other in graph.layers) > 1


class _Writer:
    def __init__(
        self,
        reading: Reading,
        layers: Mapping[str, nn.Module],
        behind: Behind,
        channels_last: bool,
        trained: bool = False,
    ) -> None:
        self.reading = reading
        self.layers = layers
        self.behind = behind
        self.channels_last = channels_last
        self.trained = trained
        self.graph = fx.Graph()
        self.parts: dict[str, nn.Module | Tensor] = {}
        self.at: dict[str, fx.Node] = {}
        self.dense: dict[str, fx.Node] = {}
        self.owners: dict[str, fx.Node] = {}
        self.paths: dict[str, str] = {}
        self.arguments: dict[str, fx.Node] = {}

    def write(self) -> fx.GraphModule:
        graph = self.reading.graph
        self._arguments()
        for node in graph.nodes:
            self.at[node.name] = self._written(node)

        def tensor(leaf: Any) -> Any:
            return self.at[graph.outputs[leaf.index]] if isinstance(leaf, Output) else leaf

        def made(call: Made) -> fx.Node:
            return self.graph.create_node("call_function", call.kind, call.args, dict(call.kwargs))

        self.graph.output(mapped(self.reading.returned, tensor, made))
        written = fx.GraphModule(self.parts, self.graph).eval().to(self.reading.runner.device)
        written.graph.lint()
        return written

    def _arguments(self) -> None:
        """The model's arguments; what plain ones were is the default of those that have one."""
        plain = self.reading.takes.defaults
        for node in placeholders_of(self.reading.traced):
            name = str(node.target)
            self.arguments[name] = self.graph.create_node("placeholder", name, (plain[name],) if node.args else ())

    def _call(self, path: str, module: nn.Module, inputs: Iterable[fx.Node]) -> fx.Node:
        self.parts.setdefault(path, module)
        return self.graph.call_module(path, tuple(inputs))

    def _written(self, node: Node) -> fx.Node:
        if node.op == ARGUMENT:
            argument, *keys = node.attrs.get("path", (node.name,))
            found = self.arguments[argument]
            for key in keys:
                found = self.graph.call_function(operator.getitem, (found, key))
            return found
        if node.op == CONSTANT:
            return self._constant(node)
        if node.op in (FLOAT, BATCH_NORM):
            return self._float(node)
        inputs = [self.at[name] for name in node.inputs]
        if node.op == "clamp":
            return self._clamped(node, node.name, inputs[0])
        if node.weighted:
            y = self._layer(node, inputs[0])
        else:
            path, module, *more = module_of(node)
            if isinstance(module, Input):
                attrs = self.reading.graph[node.inputs[0]].attrs
                module.whole = attrs.get("reason") == WHOLE or "float" not in attrs.get("dtype", "float")
            if isinstance(module, OfTwo):
                module.alone = self._without_batch(node)
            self.parts.setdefault(path, module)
            y = self.graph.call_module(path, (*inputs, *more))
        return self._finished(node, y)

    def _constant(self, node: Node) -> fx.Node:
        """The model's own tensor, which stays as it is where it is trained; a new one of what it computes from such."""
        value = torch.from_numpy(np.array(node.attrs["value"]))
        try:
            held = operator.attrgetter(node.name)(self.reading.traced)
        except AttributeError:
            held = None
        if not isinstance(held, Tensor):
            held = value
        elif held.shape != value.shape and not self.trained:
            shaped = held.detach().clone().reshape(value.shape)
            held = nn.Parameter(shaped, held.requires_grad) if isinstance(held, nn.Parameter) else shaped
        self.parts[node.name] = copy.deepcopy(held)
        found = self.graph.get_attr(node.name)
        return found if held.shape == value.shape else self.graph.call_method("reshape", (found, tuple(value.shape)))

    def _without_batch(self, node: Node) -> tuple[int, ...]:
        """The indices of inputs of one sample, constants and arguments without a batch, where the others have one."""
        graph = self.reading.graph

        def is_alone(name: str) -> bool:
            shape = graph[name].shape
            if len(shape) != len(node.shape) or len(shape) < 2 or not isinstance(node.shape[0], Batch):
                return False
            return shape[0] == 1 or (shape[0] == Batch() and name not in graph.computed and node.name in graph.computed)

        return tuple(index for index, name in enumerate(node.inputs) if is_alone(name))

    def _layer(self, node: Node, x: fx.Node) -> fx.Node:
        owner = node.layer or node.name
        if owner not in self.parts:
            self.parts[owner] = self.layers[owner] if owner in self.layers else layer_of(node)
        return self.graph.call_module(owner, (x,))

    def _finished(self, node: Node, y: fx.Node) -> fx.Node:
        """The output of an op behind its own clamp: a ReLU where the kernel can fuse it, and what is left of it."""
        low, high = node.low, node.high
        if low == 0 and not _called_again(self.reading.graph, node):
            y, low = self._call(node.name + RELU_SUFFIX, nn.ReLU(), [y]), None if high is None else low
        if op_of(node).grid != "alias":
            self.owners[node.site] = y
        for path, module in self.behind(node):
            y = self._call(path, module, [y])
        if low is None and high is None:
            return y
        fused = node.attrs.get("fused") or (f"{node.name}.clamp",)
        return self._call(fused[-1] + SAME_GRID_SUFFIX, Clamp(low, high, self._images(node)), [y])

    def _clamped(self, node: Node, name: str, x: fx.Node) -> fx.Node:
        """A clamp that stands alone."""
        relu = is_relu(self.reading.graph, node)
        if self.trained and node.low == 0 and not relu:
            x = self._call(name + RELU_SUFFIX, nn.ReLU(), [x])
        module = nn.ReLU() if relu else Clamp(node.low, node.high, self._images(node))
        return self._call(name + SAME_GRID_SUFFIX, module, [x])

    def _images(self, node: Node) -> bool:
        return self.channels_last and len(node.shape) == 4

    def _float(self, node: Node) -> fx.Node:
        """A float op: the call of the model that it is, or the layer that it was with its batch norm folded."""
        inputs = [self._leaving(name) for name in node.inputs]
        call = self.reading.calls.get(node.name)
        if call is None:
            was = node.attrs["was"]
            if was.weighted:
                return self._layer(was, inputs[0])
            path, module, *more = module_of(was)  # a move's path is no name that others begin with
            self.parts.setdefault(path, module)
            return self.graph.call_module(path, (*inputs, *more))
        if call.module is None:
            return self._call(node.name, FloatPart(call.alone(len(inputs)), copied=call.item), inputs)
        path = self.paths.setdefault(str(call.node.target), node.name)
        if path not in self.parts:
            self.parts[path] = copy.deepcopy(call.module)  # the reading is kept
        written = call.copied_to(self.graph, inputs)
        written.target = path
        return written

    def _leaving(self, name: str) -> fx.Node:
        """What a float op reads: of the part on grids, with the elements in the order of the axes."""
        if self.reading.graph[name].op in RAW:
            return self.at[name]
        if name not in self.dense:
            self.dense[name] = self.graph.call_method("contiguous", (self.at[name],))
        return self.dense[name]
