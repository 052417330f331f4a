"""The float model as it is trained: a module written from its graph, and where its sites and layers are in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import CONSTANT, FLOAT, Node
from mpq_plugins.graph.sites import GraphSites, take_sites
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory
from mpq_plugins.search.signs import signed_inputs
from mpq_torch.reader.layers import BATCH_NORMS
from mpq_torch.reader.reading import Reading, read_model
from mpq_torch.reader.writing import write_located
from mpq_torch.training.float_layers import BatchNorm, WeightedLayer

_CALL = re.compile(r"__call\d+$")


@dataclass(frozen=True)
class WrittenModel:
    """reading: of the model. graph: written from it. owner_nodes: activation site -> the node of ``graph`` at whose
    output its values can be read, behind a ReLU, in execution order.
    """

    reading: Reading
    sites: GraphSites
    graph: fx.GraphModule
    owner_nodes: Mapping[str, fx.Node]

    @property
    def inventory(self) -> Inventory:
        """All sites of the model."""
        return self.sites.inventory

    @property
    def float_ops(self) -> tuple[str, ...]:
        """Names of the ops that stay float."""
        return self.reading.graph.float_ops

    def layers(self) -> Iterator[tuple[str, WeightedLayer, Node]]:
        """Each weighted layer once: its path, its module in ``graph``, and the node of its first call."""
        seen: set[str] = set()
        for node in self.reading.graph.layers:
            path = node.layer or node.name
            if path not in seen:
                seen.add(path)
                yield path, layer_at(self.graph, path), node

    def inputs(self) -> dict[str, list[str]]:
        """By the path of each layer, the sites that its calls read."""
        found: dict[str, list[str]] = {}
        for node in self.reading.graph.layers:
            found.setdefault(node.layer or node.name, []).append(self.sites.grid_of[node.inputs[0]])
        return found

    def share(self, own: nn.Module) -> None:
        """Let float parts compute with the modules and the parameters of ``own``, a copy of the model."""
        modules, parameters = dict(own.named_modules()), dict(own.named_parameters())
        for node in self.reading.graph.nodes:
            path = _CALL.sub("", node.name)
            if node.op == FLOAT and path in modules and type(modules[path]) is type(self._module(path)):
                self.graph.add_submodule(path, modules[path])
            elif node.op == CONSTANT and node.name in parameters:
                room, _, name = node.name.rpartition(".")
                setattr(self.graph.get_submodule(room), name, parameters[node.name])

    def _module(self, path: str) -> nn.Module | None:
        return dict(self.graph.named_modules()).get(path)


def layer_at(graph: nn.Module, path: str) -> WeightedLayer:
    """The layer with a weight at this path of a written model."""
    return cast(WeightedLayer, graph.get_submodule(path))


def norm_of(node: Node, modules: Mapping[str, nn.Module]) -> BatchNorm | None:
    """The batch norm, among the modules of the model, that was folded into a layer; of several the last."""
    names = [_CALL.sub("", name) for name in node.attrs.get("fused", ())]
    norm = next((modules[name] for name in reversed(names) if isinstance(modules.get(name), BATCH_NORMS)), None)
    return cast("BatchNorm | None", norm)


def read_written(
    model: nn.Module, example: Sequence[Any], keep_float: Iterable[str] = (), target: Target | None = None
) -> WrittenModel:
    """The model written from its graph, to be trained. target: as of read_model.

    Raises as read_model does, and ModelError for what training would drop: the computation of a functional layer's
    weight, and the statistics that replicas share.
    """
    reading = read_model(model, example, keep_float, target=target, refusing=True)
    if reading.computed:
        raise ModelError(
            f"{', '.join(reading.computed)}: the weight is computed in forward(), and training would go on with the "
            "weight and without the computation; make it a parametrization of the layer "
            "(torch.nn.utils.parametrize.register_parametrization)"
        )
    shared = [name for name, module in model.named_modules() if isinstance(module, nn.SyncBatchNorm)]
    if shared:
        raise ModelError(
            f"{', '.join(shared)}: training folds batch norms by each replica's own statistics, which SyncBatchNorm "
            "would share; put nn.BatchNorm2d in its place for the search"
        )
    sites = take_sites(reading.graph, signed_inputs(reading.graph, reading.runner, reading.given(example)))
    return WrittenModel(reading, sites, *write_located(reading))
