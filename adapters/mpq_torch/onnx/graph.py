"""From a simulation to an ONNX graph: a walk over its nodes, each of which has one form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.exporters.onnx.writer import Codes, GraphWriter, Value
from mpq_torch.canonical_ops import Clamp, Concat, Pad, SameGrid, Subsample
from mpq_torch.onnx import float_nodes, integer_nodes, moving_nodes
from mpq_torch.onnx.shapes import Recorded
from mpq_torch.pooling_rewrites import MAX_POOLS
from mpq_torch.rewriting import is_shape_value
from mpq_torch.simulation import SimulatedAdd, SimulatedAverage, SimulatedHardswish, SimulatedInput, SimulatedLayer

BATCH = "batch"


class Walk:
    """Writes the nodes of a simulation; ``values`` holds the tensor of the ONNX graph for each."""

    def __init__(self, writer: GraphWriter, graph: fx.GraphModule, recorded: Recorded) -> None:
        self.writer = writer
        self.graph = graph
        self.recorded = recorded
        self.values: dict[fx.Node, Value] = {}

    def write(self) -> None:
        """Write all nodes. Raises UnsupportedOp, naming the op, for one that has no form in ONNX."""
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                if node in self.recorded.shapes:
                    self.values[node] = self.writer.input(node.name, self._sizes(node))
            elif node.op == "output":
                self._outputs(node)
            elif not is_shape_value(node) and node in self.recorded.shapes:
                self.values[node] = self._value(node)

    def _value(self, node: fx.Node) -> Value:
        if node.op == "get_attr":
            return self.writer.constant(f"{node.name}.constant", _attribute(self.graph, node).detach().numpy())
        module = self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if module is None:
            return self._float(node, None)
        computed = self._computed(node, module)
        if computed is None:
            computed = self._moved(node, module)
        return self._float(node, module) if computed is None else computed

    def _computed(self, node: fx.Node, module: nn.Module) -> Value | None:
        """The value of an op that computes on a grid; None for another."""
        writer, site, name = self.writer, str(node.meta.get("mpq_name", node.name)), f"{node.name}.codes"
        sources = [n for n in node.all_input_nodes if n in self.values]
        x = self.values[sources[0]]
        if isinstance(module, SimulatedInput):
            if sources[0].op == "get_attr":
                with torch.no_grad():
                    constant = module(_attribute(self.graph, sources[0]).float()).numpy()
                return writer.on_grid(constant, site, name, module.grid)
            return writer.quantize(writer.float_of(x), site, name, module.grid)
        if isinstance(module, SimulatedAdd):
            return integer_nodes.added(writer, site, name, [self.values[n] for n in node.args], module.grid)
        if not isinstance(x, Codes):
            return None
        if isinstance(module, SimulatedLayer):
            shapes = [self.recorded.shapes[n] for n in (sources[0], node)]
            return integer_nodes.weighted(writer, module, site, name, x, shapes)
        if isinstance(module, SimulatedHardswish):
            value = writer.node("HardSwish", [writer.float_of(x)], f"{name}.float")
            return writer.quantize(value, site, name, module.grid)
        if isinstance(module, SimulatedAverage):
            shape = self.recorded.shapes[sources[0]]
            return integer_nodes.averaged(writer, module, site, name, x, self._numbers(node.args[1:]), shape)
        if isinstance(module, (nn.ReLU, Clamp)):
            return integer_nodes.rectified(writer, module, x, name)
        return None

    def _moved(self, node: fx.Node, module: nn.Module) -> Value | None:
        """The value of an op that moves elements, or takes the largest; None for another."""
        writer, name = self.writer, f"{node.name}.moved"
        sources = [n for n in node.all_input_nodes if n in self.values]
        x, before = self.values[sources[0]], self.recorded.shapes[sources[0]]
        if isinstance(module, Concat):
            return writer.joined("Concat", [self.values[n] for n in node.args], name, axis=module.dim)
        if isinstance(module, Pad):
            return moving_nodes.padded(writer, x, name, module.pads, len(before))
        if isinstance(module, Subsample):
            return moving_nodes.subsampled(writer, x, name, module.strides)
        if isinstance(module, MAX_POOLS):
            options = (module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
            return moving_nodes.max_pooled(writer, x, name, _dims(module), *options)
        if isinstance(module, SameGrid):
            return self._same_grid(node, module, x, name)
        return None

    def _same_grid(self, node: fx.Node, module: SameGrid, x: Value, name: str) -> Value | None:
        writer, after = self.writer, self.recorded.shapes[node]
        before = next(self.recorded.shapes[n] for n in node.all_input_nodes if n in self.values)
        args, kwargs = self._numbers(node.args[1:]), self._numbers(node.kwargs)
        word = module.function.split(".")[1]
        if word in ("max_pool1d", "max_pool2d"):
            names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
            given = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
            given |= dict(zip(names, args, strict=False)) | kwargs
            return moving_nodes.max_pooled(writer, x, name, int(word[-2]), *(given[n] for n in names))
        if word == "interpolate":
            return moving_nodes.interpolated(
                writer, x, name, lambda image: F.interpolate(image, *args, **kwargs), before, after
            )
        if word in ("permute", "transpose"):
            return moving_nodes.transposed(writer, x, name, _order(word, args, kwargs, len(before)), len(before))
        if word == "contiguous":
            return x
        if word in ("flatten", "reshape", "view", "squeeze", "unsqueeze"):
            return moving_nodes.reshaped(writer, x, name, after)
        return None

    def _float(self, node: fx.Node, module: nn.Module | None) -> Value:
        """The value of an op that stays float."""
        table = float_nodes.FUNCTIONS if module is None else float_nodes.MODULES
        if module is None:
            found = table.get(node.target)
        else:
            found = next((entry for kind, entry in table.items() if isinstance(module, kind)), None)
        if found is None:
            what = type(module).__name__ if module is not None else getattr(node.target, "__name__", node.target)
            raise UnsupportedOp(
                f"{node.meta.get('mpq_name', node.name)}: {what} has no ONNX form here; let the model end before it, "
                "or put it into a graph of its own"
            )
        emit, names = found
        given: dict[str, Any] = dict(zip(("input", "other") if module is not None else names, node.args, strict=False))
        given |= node.kwargs
        if module is not None:
            given |= {name: getattr(module, name) for name in names} | {"module": module}
        return emit(self.writer, f"{node.name}.float", {key: self._argument(value) for key, value in given.items()})

    def _argument(self, value: Any) -> Any:
        if isinstance(value, fx.Node) and value in self.values:
            return self.writer.float_of(self.values[value])
        return self._numbers(value)

    def _numbers(self, args: Any) -> Any:
        """Arguments with the sizes that nodes compute in their places."""
        return fx.node.map_arg(args, lambda n: self.recorded.numbers[n])

    def _outputs(self, node: fx.Node) -> None:
        leaves = torch.utils._pytree.tree_leaves(node.args[0], is_leaf=lambda leaf: isinstance(leaf, fx.Node))
        made = [leaf for leaf in leaves if isinstance(leaf, fx.Node) and leaf in self.values]
        for index, leaf in enumerate(made):
            name = "output" if len(made) == 1 else f"output_{index}"
            self.writer.output(name, self.values[leaf], self._sizes(leaf))

    def _sizes(self, node: fx.Node) -> list[int | str]:
        return [BATCH if size is None else size for size in self.recorded.shapes[node]]


def integer_ends(graph: fx.GraphModule) -> list[fx.Node]:
    """The nodes with which the integer part ends: outputs of the model, and what its float ops read."""
    ends: dict[fx.Node, None] = {}
    for node in graph.graph.nodes:
        if node.op == "output" or (node.op.startswith("call") and node.meta.get("mpq_float")):
            for source in node.all_input_nodes:
                if source.op == "call_module" and not source.meta.get("mpq_float"):
                    ends[source] = None
    return list(ends)


def _attribute(graph: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    value: Any = graph
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value


def _order(word: str, args: Sequence[Any], kwargs: dict[str, Any], rank: int) -> list[int]:
    if word == "transpose":
        first, second = (*args, *(kwargs[name] for name in ("dim0", "dim1")[len(args) :]))
        order = list(range(rank))
        order[first], order[second] = order[second], order[first]
        return order
    dims = kwargs.get("dims", args)
    return list(dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims)


def _dims(module: nn.Module) -> int:
    return 1 if isinstance(module, nn.MaxPool1d) else 2
