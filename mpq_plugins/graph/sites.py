"""The inventory of a graph: its sites, groups, MACs, and what is in memory at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mpq_plugins.graph.memory import live_sites
from mpq_plugins.graph.node import INPUT, RAW, Batch, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.shares import float_macs, float_reasons, float_weights, macs_of, positions
from mpq_plugins.graph.weights import as_framework, channel_axis
from mpq_plugins.inventory import Inventory, ModelInput, Site


@dataclass(frozen=True)
class GraphSites:
    """inventory; grid_of: node -> the activation site whose grid its output has. Raw tensors are in neither."""

    inventory: Inventory
    grid_of: Mapping[str, str]


def take_sites(graph: Graph, signed_inputs: Mapping[str, bool] | None = None) -> GraphSites:
    """All sites of a graph.

    signed_inputs: site of an input -> whether it goes below zero; where it is not said, it does.
    """
    walk = _Walk(graph, signed_inputs or {})
    for node in graph.nodes:
        if node.op not in RAW:
            walk.visit(node)
    return walk.finish()


@dataclass
class _Walk:
    graph: Graph
    signed_inputs: Mapping[str, bool]
    sites: dict[str, Site] = field(default_factory=dict)
    grid_of: dict[str, str] = field(default_factory=dict)
    negative: dict[str, bool] = field(default_factory=dict)
    group_of: dict[str, str] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=dict)
    first_call: dict[str, str] = field(default_factory=dict)

    def visit(self, node: Node) -> None:
        op = op_of(node)
        if node.op == INPUT:
            self._add(node, self.signed_inputs.get(node.site, True))
            return
        below = op.negative(node, [self.negative[name] for name in node.inputs])
        if op.grid == "alias":
            self.grid_of[node.name] = self.grid_of[node.inputs[0]]
            self.negative[node.name] = node.below_zero or (below and not node.rectified)
            if node.below_zero:  # it lies in its input's buffer
                site = self.sites[self.grid_of[node.name]]
                self.sites[site.name] = replace(site, signed=True)
            return
        if node.weighted:
            self._add_weight(node)
        self._add(node, below)
        if op.grid != "own":
            for name in node.inputs:
                self._join(self.grid_of[name], node.site)
        if node.weighted:  # the calls of one layer share the grid of its outputs
            self._join(self.first_call.setdefault(node.weight_site, node.site), node.site)

    def _add(self, node: Node, negative: bool) -> None:
        negative = negative and not node.rectified and not self._read_rectified(node)
        negative = negative or node.below_zero
        inputs = () if node.op == INPUT else tuple(dict.fromkeys(self.grid_of[name] for name in node.inputs))
        word = op_of(node).target_word
        macs = macs_of(node, self.graph) if node.op == "matmul" else 0
        site = Site(node.site, "activation", word, node.sample_shape, macs, signed=negative, inputs=inputs)
        self.sites[node.site] = site
        self.grid_of[node.name] = node.site
        self.negative[node.name] = negative
        self.group_of[node.site] = node.site

    def _read_rectified(self, node: Node) -> bool:
        """Whether nobody reads a negative value: every reader is a clamp from zero up."""
        readers = self.graph.readers(node.name)
        return (
            bool(readers)
            and node.name not in self.graph.outputs
            and all(reader.op == "clamp" and reader.rectified for reader in readers)
        )

    def _add_weight(self, node: Node) -> None:
        name, source = node.weight_site, self.grid_of[node.inputs[0]]
        assert node.weight is not None
        macs = node.weight.size * positions(node, self.graph[node.inputs[0]], self.graph.layout)
        if name in self.sites:
            site = self.sites[name]
            inputs = tuple(dict.fromkeys((*site.inputs, source)))
            self.sites[name] = replace(site, macs=site.macs + macs, inputs=inputs)
            return
        layout = self.graph.layout
        shape = as_framework(node, layout).shape
        axis = channel_axis(node, layout)
        self.sites[name] = Site(name, "weight", op_of(node).target_word, shape, macs, axis, True, (source,))
        self.group_of[name] = name

    def _join(self, a: str, b: str) -> None:
        keep, gone = self.group_of[a], self.group_of[b]
        if keep != gone:
            members = self.members.pop(gone, [gone])
            self.members.setdefault(keep, [keep]).extend(members)
            self.group_of.update(dict.fromkeys(members, keep))

    def finish(self) -> GraphSites:
        members: dict[str, list[Site]] = {}
        for site in self.sites.values():
            members.setdefault(self.group_of[site.name], []).append(site)
        sites = []
        for site in self.sites.values():
            group = members[self.group_of[site.name]]
            shared = self.group_of[site.name] if len(group) > 1 else None
            sites.append(replace(site, group=shared, signed=any(s.signed for s in group)))
        live = live_sites(self.graph, self.grid_of)
        floats = float_weights(self.graph), float_macs(self.graph), float_reasons(self.graph)
        return GraphSites(Inventory(sites, live, *floats, inputs_of(self.graph)), self.grid_of)


def inputs_of(graph: Graph) -> tuple[ModelInput, ...]:
    """What the model takes (attrs: dtype, path, and samples where it takes one batch size only), in order."""
    return (
        tuple(
            ModelInput(
                node.name,
                tuple(node.attrs.get("samples") if isinstance(size, Batch) else size for size in node.shape),
                node.attrs["dtype"],
                tuple(node.attrs.get("path", ())),
            )
            for node in graph.arguments
            if "dtype" in node.attrs
        )
        + graph.plain
    )
