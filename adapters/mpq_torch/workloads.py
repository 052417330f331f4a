"""The workloads of a torch model: what each site makes a device do, at the shapes of an example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.latency.model_latency import ModelWork
from mpq_plugins.latency.workload import Workload
from mpq_torch.canonical import OWN_GRID, WEIGHTED, CanonicalModel
from mpq_torch.canonical_ops import Add, Clamp, Concat, Input, Pad, SameGrid, Subsample
from mpq_torch.inventory import TRANSPOSED, GraphSites, op_of

GEOMETRY = ("kernel_size", "stride", "padding", "dilation")


def model_work(model: CanonicalModel, sites: GraphSites, example_inputs: Sequence[Any], per_channel: bool) -> ModelWork:
    """The workloads of one call with ``example_inputs``, whose batch size is that of the workloads.

    per_channel: whether weights have a step per output channel. Ops that stay float, behind the last
    weight or kept so, count nothing but the dequantization in front of them.
    """
    recorder = _Shapes(model.graph)
    with torch.no_grad():
        recorder.run(*example_inputs)
    weights: dict[str, tuple[Workload, ...]] = {}
    activations: dict[str, tuple[Workload, ...]] = {}
    for node, module in model.nodes():
        if _fused_relu(model.graph, node, module):
            continue
        work = _workload(module, recorder.inputs[node], recorder.outputs[node], recorder.constants[node], per_channel)
        site = sites.grid_of[node]
        if isinstance(module, WEIGHTED):
            name = f"{node.target}.weight"
            weights[name] = (*weights.get(name, ()), work)
        else:
            activations[site] = (*activations.get(site, ()), work)
        if isinstance(module, OWN_GRID):
            shape, batch = work.output, work.batch
            clip = Workload("clip", (shape,), shape, batch=batch, options=(("images", len(shape) == 3),))
            activations[site] = (*activations.get(site, ()), clip)
    return ModelWork(weights, activations, tuple(_dequantized(model, recorder)))


class _Shapes(fx.Interpreter):
    """Runs a graph and keeps the tensors' shapes and the other arguments of every node."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.inputs: dict[fx.Node, list[tuple[int, ...]]] = {}
        self.outputs: dict[fx.Node, tuple[int, ...]] = {}
        self.constants: dict[fx.Node, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and record it."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.inputs[n] = [tuple(a.shape) for a in args if isinstance(a, Tensor)]
            self.outputs[n] = tuple(result.shape)
            self.constants[n] = tuple(a for a in args if not isinstance(a, Tensor)), dict(kwargs)
        return result


def _fused_relu(graph: fx.GraphModule, node: fx.Node, module: nn.Module) -> bool:
    """Whether torch.ao fuses this ReLU into the layer or the add in front of it."""
    source = node.all_input_nodes[0] if node.all_input_nodes else None
    if not isinstance(module, nn.ReLU) or source is None or source.op != "call_module" or len(source.users) > 1:
        return False
    return isinstance(graph.get_submodule(str(source.target)), (*WEIGHTED, Add))


def _workload(
    module: nn.Module,
    inputs: list[tuple[int, ...]],
    output: tuple[int, ...],
    constants: tuple[tuple[Any, ...], dict[str, Any]],
    per_channel: bool,
) -> Workload:
    batch, shapes, op = output[0], tuple(shape[1:] for shape in inputs), op_of(module)
    if isinstance(module, WEIGHTED):
        geometry: dict[str, Any] = {}
        if not isinstance(module, nn.Linear):
            geometry = {name: getattr(module, name) for name in ("stride", "padding", "dilation", "groups")}
        options = (("output_padding", tuple(module.output_padding)),) if isinstance(module, TRANSPOSED) else ()
        return Workload(
            op,
            shapes,
            output[1:],
            tuple(module.weight.shape),
            per_channel=per_channel and not isinstance(module, TRANSPOSED),
            batch=batch,
            options=options,
            **geometry,
        )
    return Workload(op, shapes, output[1:], batch=max(1, batch), options=_options(module, *constants))


def _options(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What ``torch_device.build`` needs to make the op again, as plain values."""
    if isinstance(module, SameGrid):
        return (("function", module.function), ("args", _plain(args)), ("kwargs", _plain(tuple(kwargs.items()))))
    if isinstance(module, Pad):
        return (("module", "pad"), ("pads", module.pads))
    if isinstance(module, Subsample):
        return (("module", "subsample"), ("strides", module.strides))
    if isinstance(module, Concat):
        return (("dim", module.dim),)
    if isinstance(module, Clamp):
        return (("low", module.low), ("high", module.high), ("images", module.images))
    if isinstance(module, (nn.MaxPool1d, nn.MaxPool2d)):
        geometry = tuple((name, _plain(getattr(module, name))) for name in GEOMETRY)
        return (*geometry, ("ceil_mode", module.ceil_mode))
    return ()


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_plain(v) for v in value)
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _dequantized(model: CanonicalModel, recorder: _Shapes) -> list[Workload]:
    """A dequantization for every integer tensor that float ops or the outputs read."""
    found = []
    integer = {node for node, module in model.nodes() if not isinstance(module, Input)}
    for node in model.graph.graph.nodes:
        if node in integer and any(user not in integer for user in node.users):
            shape = recorder.outputs[node]
            found.append(Workload("dequantize", (shape[1:],), shape[1:], batch=max(1, shape[0])))
    return found
