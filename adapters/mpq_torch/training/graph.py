"""The graph that a search trains: the written graph with trained layers and a quantizer behind every site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import getitem, is_not
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError, NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.bank import banks_of
from mpq_plugins.training.fixed_grid import trains
from mpq_plugins.training.plan import TrainingPlan
from mpq_torch.calling.own_copy import compute_weights, computes_weights, copied
from mpq_torch.training.batch_norms import BatchNorms
from mpq_torch.training.float_layers import TRANSPOSED, BatchNorm, WeightedLayer
from mpq_torch.training.grid_bank import GridBank
from mpq_torch.training.preparation import Completion, Preparation
from mpq_torch.training.replay import repeating
from mpq_torch.training.site_quantizer import SiteQuantizer
from mpq_torch.training.trained_layer import TrainedLayer
from mpq_torch.training.written import WrittenModel, norm_of

KEEPS_VALUES = ("relu", "relu6", "clamp", "concat", "max_pool", "pad", "reshape")
"""Ops whose output lies on the grid that their input is on, so that nothing is left to round."""
QUANTIZER_PREFIX = "mpq_quantizer_"


PREPARATION, COMPLETION = "mpq_preparation", "mpq_completion"


@dataclass(frozen=True)
class TrainingGraph:
    """graph: the module to train. layers: by path. quantizers, banks: by slot, and all of them.

    float_model: the copy of the user's model whose parameters the layers share; None where a layer of
    the graph is none of its modules, so that the graph alone holds what is trained.
    """

    graph: fx.GraphModule
    layers: Mapping[str, TrainedLayer]
    quantizers: Mapping[str, SiteQuantizer]
    banks: Sequence[GridBank]
    preparation: Preparation
    completion: Completion
    float_model: nn.Module | None

    def grids(self) -> dict[str, Grid]:
        """The grid at which every slot stands; each bank is hardened once, for all of its slots."""
        found = (zip(bank.plain.slots, bank.harden(), strict=True) for bank in self.banks)
        return {slot.name: grid for pairs in found for slot, grid in pairs}


def build(
    model: nn.Module,
    written: WrittenModel,
    plan: TrainingPlan,
    batch_norms: BatchNorms,
    seed: int,
) -> TrainingGraph:
    """The graph of ``written``, which is changed in place; model: the user's, which is copied.

    Its first node prepares the step (training.preparation) and hands every layer its weight and every
    quantizer its grid; its last completes it with the statistics that the layers give beside their outputs.
    """
    graph, own = written.graph, copied(model).eval()
    device = written.reading.runner.device
    banks = [GridBank(trains(plan.method, b.slots[0]), b, seed).to(device) for b in banks_of(list(plan.slots.values()))]
    quantizers = {s.name: SiteQuantizer(bank, i) for bank in banks for i, s in enumerate(bank.plain.slots)}
    layers, shared = _trained_layers(own, written, plan, quantizers, batch_norms)
    by_slot = {plan.slot_of[f"{path}.weight"]: layer for path, layer in layers.items()}
    owners = {site: node for site, node in written.owner_nodes.items() if plan.inventory[site].op not in KEEPS_VALUES}
    active = {plan.slot_of[site]: quantizers[plan.slot_of[site]] for site in owners}
    preparation = Preparation(banks, by_slot, active)
    graph.add_submodule(PREPARATION, preparation)
    nodes = graph.graph
    first = next(node for node in nodes.nodes if node.op != "placeholder")
    with nodes.inserting_before(first):
        prepared = nodes.call_module(PREPARATION, ())
        found = {name: nodes.call_function(getitem, (prepared, at)) for at, name in enumerate((*by_slot, *active))}
    calls = _call_layers(graph, layers, {p: found[plan.slot_of[f"{p}.weight"]] for p in layers})
    for site, node in owners.items():
        slot = plan.slot_of[site]
        path = QUANTIZER_PREFIX + slot.replace(".", "_")
        graph.add_submodule(path, quantizers[slot])
        node = calls.get(node, (node, None))[0]
        with nodes.inserting_after(node):
            call = nodes.call_module(path, (node, found[slot]))
        node.replace_all_uses_with(call, delete_user_cb=partial(is_not, call))
    completion = Completion(preparation, [layers[str(node.target)] for node in calls])
    graph.add_submodule(COMPLETION, completion)
    output = next(node for node in nodes.nodes if node.op == "output")
    with nodes.inserting_before(output):
        completed = nodes.call_module(COMPLETION, (output.args[0], *(statistics for _, statistics in calls.values())))
    output.args = (completed,)
    nodes.lint()
    graph.recompile()
    return TrainingGraph(graph, layers, quantizers, banks, preparation, completion, own if shared else None)


def _trained_layers(
    own: nn.Module,
    written: WrittenModel,
    plan: TrainingPlan,
    quantizers: Mapping[str, nn.Module],
    batch_norms: BatchNorms,
) -> tuple[dict[str, TrainedLayer], bool]:
    """Trained layers by path, put into the graph, and whether all of them are the user's own modules."""
    layers: dict[str, TrainedLayer] = {}
    shared = True
    modules = dict(own.named_modules())
    for path, module, node in written.layers():
        found = _own_layer(modules, path, module, norm_of(node, modules))
        if found is None and computes_weights(modules.get(path)):
            raise ModelError(
                f"{path}: its weight is computed by a parametrization or a mask, and what follows it cannot be folded "
                "in training; end it before (torch.nn.utils.parametrize.remove_parametrizations, remove_weight_norm, "
                "prune.remove)"
            )
        shared &= found is not None
        layer, norm = found or (module, None)
        layers[path] = TrainedLayer(layer, norm, quantizers[plan.slot_of[f"{path}.weight"]], batch_norms)
    if shared:
        written.share(own)
    for path, trained in layers.items():
        written.graph.add_submodule(path, trained)
    return layers, shared


def _call_layers(
    graph: fx.GraphModule,
    layers: Mapping[str, TrainedLayer],
    prepared: Mapping[str, fx.Node],
) -> dict[fx.Node, tuple[fx.Node, fx.Node]]:
    """Let every call of a layer take what is prepared; by call, the nodes of its output and of its statistics."""
    calls: dict[fx.Node, tuple[fx.Node, fx.Node]] = {}
    for node in [node for node in graph.graph.nodes if node.op == "call_module" and str(node.target) in layers]:
        node.args = (*node.args, prepared[str(node.target)])
        with graph.graph.inserting_after(node):
            statistics = graph.graph.call_function(getitem, (node, 1))
            y = graph.graph.call_function(getitem, (node, 0))
        node.replace_all_uses_with(y, delete_user_cb=lambda user, own=(y, statistics): user not in own)
        calls[node] = y, statistics
    return calls


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
    values: dict[str, Histogram] = {}
    for site, histogram in histograms.items():
        slot = plan.slot_of[site]
        values[slot] = values[slot].merge(histogram) if slot in values else histogram
    return {**weights_by_slot(training, plan), **values}


def weights_by_slot(training: TrainingGraph, plan: TrainingPlan) -> dict[str, np.ndarray]:
    """The weight of each layer that is quantized, float64, by slot."""
    return {
        plan.slot_of[f"{path}.weight"]: layer.folded_weight().detach().cpu().double().numpy()
        for path, layer in training.layers.items()
    }


def _own_layer(
    modules: Mapping[str, nn.Module], path: str, folded: WeightedLayer, norm: BatchNorm | None
) -> tuple[WeightedLayer, BatchNorm | None] | None:
    """The user's layer at ``path`` and its batch norm, if together they are the layer that was written."""
    layer = modules.get(path)
    if isinstance(layer, type(folded)):
        compute_weights(layer)
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
            value = result[0] if n.op == "call_module" and isinstance(result, tuple) else result
            if not found and isinstance(value, Tensor) and not torch.isfinite(value).all():
                found.append(str(n.target))
            return result

    with torch.no_grad(), repeating():
        Checker(graph).run(*inputs)
    return found[0] if found else None
