"""The graph that a search trains: the written graph with trained layers and a quantizer behind every site."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.histogram import Histogram
from mpq_plugins.training.plan import TrainingPlan
from mpq_plugins.training.slot import Slot
from mpq_torch.training.float_layers import TRANSPOSED
from mpq_torch.training.trained_layer import BatchNorms, TrainedLayer
from mpq_torch.training.written import WrittenModel, norm_of

KEEPS_VALUES = ("relu", "relu6", "clamp", "concat", "max_pool", "pad", "reshape")
"""Ops whose output lies on the grid that their input is on, so that nothing is left to round."""
QUANTIZER_PREFIX = "mpq_quantizer_"


@dataclass(frozen=True)
class TrainingGraph:
    """graph: the module to train. layers: by path. quantizers: by slot.

    float_model: the copy of the user's model whose parameters the layers share; None where a layer of
    the graph is none of its modules, so that the graph alone holds what is trained.
    """

    graph: fx.GraphModule
    layers: Mapping[str, TrainedLayer]
    quantizers: Mapping[str, nn.Module]
    float_model: nn.Module | None


def build(
    model: nn.Module,
    written: WrittenModel,
    plan: TrainingPlan,
    new_quantizer: Callable[[Slot], nn.Module],
    batch_norms: BatchNorms,
) -> TrainingGraph:
    """The graph of ``written``, which is changed in place; model: the user's, which is copied."""
    graph, own = written.graph, copy.deepcopy(model)
    quantizers = {name: new_quantizer(slot) for name, slot in plan.slots.items()}
    layers: dict[str, TrainedLayer] = {}
    shared = True
    modules = dict(own.named_modules())
    for path, module, node in written.layers():
        found = _own_layer(modules, path, module, norm_of(node, modules))
        shared &= found is not None
        layer, norm = found or (module, None)
        layers[path] = TrainedLayer(layer, norm, quantizers[plan.slot_of[f"{path}.weight"]], batch_norms)
    if shared:
        written.share(own)
    for path, trained in layers.items():
        graph.add_submodule(path, trained)
    for site, node in written.owner_nodes.items():
        if plan.inventory[site].op in KEEPS_VALUES:
            continue
        slot = plan.slot_of[site]
        path = QUANTIZER_PREFIX + slot.replace(".", "_")
        graph.add_submodule(path, quantizers[slot])
        with graph.graph.inserting_after(node):
            call = graph.graph.call_module(path, (node,))
        node.replace_all_uses_with(call, delete_user_cb=lambda user, call=call: user is not call)
    graph.graph.lint()
    graph.recompile()
    return TrainingGraph(graph, layers, quantizers, own if shared else None)


def observe(written: WrittenModel, batches: Sequence[tuple[Any, ...]]) -> dict[str, Histogram]:
    """The values of every activation of a written float model, by site."""
    histograms = {site: Histogram() for site in written.owner_nodes}
    at = {node: site for site, node in written.owner_nodes.items()}

    class Observer(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n in at:
                try:
                    histograms[at[n]].update(result.detach().float().cpu().numpy())
                except NonFiniteValues as error:
                    raise NonFiniteValues(f"site {at[n]!r}: {error}") from None
            return result

    with torch.no_grad():
        for batch in batches:
            Observer(written.graph).run(*batch)
    return histograms


def observed_by_slot(
    training: TrainingGraph, plan: TrainingPlan, histograms: Mapping[str, Histogram]
) -> dict[str, np.ndarray | Histogram]:
    """What each slot's method begins from: the weight that is quantized, or all values that share the grid."""
    found: dict[str, np.ndarray | Histogram] = {}
    for path, layer in training.layers.items():
        found[plan.slot_of[f"{path}.weight"]] = layer.folded_weight().detach().cpu().double().numpy()
    for site, histogram in histograms.items():
        slot = plan.slot_of[site]
        before = found.get(slot)
        found[slot] = histogram if before is None else before.merge(histogram)  # type: ignore[union-attr]
    return found


def _own_layer(
    modules: Mapping[str, nn.Module], path: str, folded: nn.Module, norm: nn.Module | None
) -> tuple[nn.Module, nn.Module | None] | None:
    """The user's layer at ``path`` and its batch norm, if together they are the layer that was written."""
    layer = modules.get(path)
    if not isinstance(layer, type(folded)) or layer.weight.shape != folded.weight.shape:
        return None
    if norm is not None and isinstance(layer, TRANSPOSED) and layer.groups > 1:
        return None
    trained = TrainedLayer(layer, norm, nn.Identity(), "fold")
    with torch.no_grad():
        same = torch.allclose(trained.folded_weight().double(), folded.weight.double(), rtol=1e-4, atol=1e-7)
    return (layer, norm) if same else None


def first_not_finite(graph: fx.GraphModule, inputs: tuple[Any, ...]) -> str | None:
    """The name of the first module of the graph whose output holds NaN or infinity on ``inputs``."""
    found: list[str] = []

    class Checker(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if not found and isinstance(result, Tensor) and not torch.isfinite(result).all():
                found.append(str(n.target))
            return result

    with torch.no_grad():
        Checker(graph).run(*inputs)
    return found[0] if found else None
