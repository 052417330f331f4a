"""The inventory of a canonical graph: its sites, groups, MACs, and what is in memory at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.inventory import Inventory, Site
from mpq_torch.canonical import OWN_GRID, WEIGHTED, CanonicalModel, site_name
from mpq_torch.canonical_ops import Add, Clamp, Concat, Input, Pad, SameGrid, Subsample
from mpq_torch.rewriting import is_shape_value
from mpq_torch.shape_checks import check_shapes

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class GraphSites:
    """Which site each node of a canonical graph belongs to.

    grid_of: node -> the activation site whose grid its output has.
    owner_nodes: activation site -> the node at whose output the site's values can be read
        (behind a fused ReLU), in execution order.
    """

    inventory: Inventory
    grid_of: dict[fx.Node, str]
    owner_nodes: dict[str, fx.Node]


def op_of(module: nn.Module) -> str:
    """The op of a canonical module, in the words of a target."""
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, WEIGHTED):
        dims = "1d" if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)) else "2d"
        if isinstance(module, TRANSPOSED):
            return f"conv_transpose{dims}"
        depthwise = module.groups > 1 and module.groups == module.in_channels
        return f"depthwise_conv{dims}" if depthwise else f"conv{dims}"
    if isinstance(module, SameGrid):
        return module.op
    for kind, op in _OPS.items():
        if isinstance(module, kind):
            return op
    raise ModelError(f"{type(module).__name__} is not part of a canonical graph")


_OPS: dict[type[nn.Module], str] = {
    nn.MaxPool1d: "max_pool",
    nn.MaxPool2d: "max_pool",
    Input: "input",
    Add: "add",
    Concat: "concat",
    nn.Hardswish: "hardswish",
    Pad: "pad",
    Subsample: "reshape",
    nn.ReLU: "relu",
    Clamp: "clamp",
}


def take_inventory(
    model: CanonicalModel, example_inputs: Sequence[Any], signed_inputs: Mapping[str, bool] | None = None
) -> GraphSites:
    """All sites of a canonical model.

    example_inputs: one batch of arguments, for the shapes. signed_inputs: model input -> whether
    it takes negative values; by default what the example shows.
    """
    shapes, negative = _run(model.graph, example_inputs)
    signs = {**negative, **(signed_inputs or {})}
    walk = _Walk(shapes)
    for node, module in model.nodes():
        walk.visit(node, module, signs)
    return walk.finish(model.graph)


def locate_sites(model: CanonicalModel) -> GraphSites:
    """The sites of a canonical model without an example: activations have no shape, inputs are signed."""
    walk = _Walk({})
    for node, module in model.nodes():
        walk.visit(node, module, {})
    return walk.finish(model.graph)


def _run(graph: fx.GraphModule, inputs: Sequence[Any]) -> tuple[dict[fx.Node, tuple[int, ...]], dict[str, bool]]:
    shapes: dict[fx.Node, tuple[int, ...]] = {}
    negative: dict[str, bool] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor):
                shapes[n] = tuple(result.shape[1:])
                module = graph.get_submodule(str(n.target)) if n.op == "call_module" else None
                if module is not None and not n.meta.get("mpq_float"):
                    check_shapes(site_name(n), module, self.fetch_args_kwargs_from_env(n)[0], result)
                if isinstance(module, Input):
                    negative[site_name(n)] = bool((result < 0).any())
            return result

    with torch.no_grad():
        Recorder(graph).run(*inputs)
    return shapes, negative


@dataclass
class _Walk:
    shapes: dict[fx.Node, tuple[int, ...]]
    sites: list[Site] = field(default_factory=list)
    grid_of: dict[fx.Node, str] = field(default_factory=dict)
    owner_nodes: dict[str, fx.Node] = field(default_factory=dict)
    negative: dict[fx.Node, bool] = field(default_factory=dict)
    group_of: dict[str, str] = field(default_factory=dict)
    weight_owner: dict[str, str] = field(default_factory=dict)

    def visit(self, node: fx.Node, module: nn.Module, signed_inputs: Mapping[str, bool]) -> None:
        sources = [n for n in node.all_input_nodes if n in self.grid_of]
        if isinstance(module, Input):
            self._add(node, module, signed_inputs.get(site_name(node), True), [])
        elif isinstance(module, OWN_GRID):
            if isinstance(module, WEIGHTED):
                self._add_weight(node, module, sources[0])
            negative = not isinstance(module, Add) or any(self.negative[n] for n in sources)
            self._add(node, module, negative, sources)
            if isinstance(module, WEIGHTED):
                first = self.weight_owner.setdefault(str(node.target), site_name(node))
                self._join(first, site_name(node))
        elif isinstance(module, (nn.ReLU, Clamp)) or (op_of(module) == "reshape" and not _copies(module)):
            self._alias(node, module, sources[0])
        else:
            self._add(node, module, any(self.negative[n] for n in sources), sources)
            for source in sources:
                self._join(self.grid_of[source], site_name(node))

    def _add(self, node: fx.Node, module: nn.Module, negative: bool, sources: list[fx.Node]) -> None:
        name = site_name(node)
        negative = negative and not _all_rectified(node)
        inputs = tuple(dict.fromkeys(self.grid_of[source] for source in sources))
        self.sites.append(
            Site(name, "activation", op_of(module), self.shapes.get(node, ()), signed=negative, inputs=inputs)
        )
        self.grid_of[node] = name
        self.negative[node] = negative
        self.owner_nodes[name] = node
        self.group_of[name] = name

    def _add_weight(self, node: fx.Node, module: nn.Module, source: fx.Node) -> None:
        name = f"{node.target}.weight"
        macs = _macs(module, self.shapes.get(source, ()), self.shapes.get(node, ()))
        for index, site in enumerate(self.sites):
            if site.name == name:
                inputs = tuple(dict.fromkeys((*site.inputs, self.grid_of[source])))
                self.sites[index] = replace(site, macs=site.macs + macs, inputs=inputs)
                return
        axis = 1 if isinstance(module, TRANSPOSED) else 0
        shape = tuple(module.weight.shape)
        self.sites.append(Site(name, "weight", op_of(module), shape, macs, axis, True, (self.grid_of[source],)))
        self.group_of[name] = name

    def _alias(self, node: fx.Node, module: nn.Module, source: fx.Node) -> None:
        name = self.grid_of[source]
        self.grid_of[node] = name
        rectified = isinstance(module, nn.ReLU) or (isinstance(module, Clamp) and (module.low or -1) >= 0)
        self.negative[node] = self.negative[source] and not rectified
        if isinstance(module, nn.ReLU) and self.owner_nodes[name] is source and len(source.users) == 1:
            self.owner_nodes[name] = node

    def _join(self, a: str, b: str) -> None:
        keep, gone = self.group_of[a], self.group_of[b]
        for name, group in self.group_of.items():
            if group == gone:
                self.group_of[name] = keep

    def finish(self, graph: fx.GraphModule) -> GraphSites:
        sizes: dict[str, int] = {}
        for group in self.group_of.values():
            sizes[group] = sizes.get(group, 0) + 1
        signed = {self.group_of[s.name]: False for s in self.sites}
        for site in self.sites:
            signed[self.group_of[site.name]] |= site.signed
        sites = [
            replace(
                site,
                group=self.group_of[site.name] if sizes[self.group_of[site.name]] > 1 else None,
                signed=signed[self.group_of[site.name]],
            )
            for site in self.sites
        ]
        return GraphSites(Inventory(sites, self._live(graph)), self.grid_of, self.owner_nodes)

    def _live(self, graph: fx.GraphModule) -> list[tuple[str, ...]]:
        """For each op, the buffers in memory: what it writes, and all that it or a later op reads."""
        order = [node for node in graph.graph.nodes if node in self.grid_of]
        last_read: dict[str, int] = {}
        for index, node in enumerate(order):
            for source in node.all_input_nodes:
                if source in self.grid_of:
                    last_read[self.grid_of[source]] = index
        for node in graph.graph.nodes:
            if node not in self.grid_of and not is_shape_value(node):
                for source in node.all_input_nodes:
                    if source in self.grid_of:
                        last_read[self.grid_of[source]] = len(order)
        live: list[tuple[str, ...]] = []
        made: list[str] = []
        for index, node in enumerate(order):
            name = self.grid_of[node]
            if name not in made:
                made.append(name)
                live.append(tuple(m for m in made if m == name or last_read.get(m, -1) >= index))
        return live


def _copies(module: nn.Module) -> bool:
    """Whether a reordering op writes a buffer of another size instead of viewing its input's."""
    return isinstance(module, Subsample) or (
        isinstance(module, SameGrid) and module.function == "functional.interpolate"
    )


def _all_rectified(node: fx.Node) -> bool:
    """Whether nobody reads a negative value: every reader is a ReLU, or a clamp from zero up."""
    graph = node.graph.owning_module
    modules = [graph.get_submodule(str(user.target)) for user in node.users if user.op == "call_module"]
    return len(modules) == len(node.users) > 0 and all(
        isinstance(m, nn.ReLU) or (isinstance(m, Clamp) and m.low is not None and m.low >= 0) for m in modules
    )


def _macs(module: nn.Module, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> int:
    """Multiply-accumulates of one sample; shapes without the batch axis."""
    weight = module.weight.numel()
    if isinstance(module, nn.Linear):
        return weight * (torch.Size(outputs[:-1]).numel())
    positions = inputs[1:] if isinstance(module, TRANSPOSED) else outputs[1:]
    return weight * torch.Size(positions).numel()
