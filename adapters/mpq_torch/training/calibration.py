"""What activations look like under the norms that training uses, where those of evaluation do not describe them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.slot import Observed
from mpq_plugins.training.starting_grid import check_holds, saturating
from mpq_torch.calling.own_copy import copied
from mpq_torch.training.graph import TrainingGraph
from mpq_torch.training.site_quantizer import SiteQuantizer


def start(training: TrainingGraph, observed: Mapping[str, Observed], batches: Sequence[tuple[Any, ...]]) -> None:
    """Start all banks on what was observed, by slot; activations anew where training sees something else.

    An untrained network, whose running statistics are those of no batch, would start with grids at which
    everything saturates and nothing learns. Raises MPQError naming a site that would saturate all the same.
    """
    for bank in training.banks:
        bank.start([observed[slot.name] for slot in bank.plain.slots])
    if _normalizes(training):
        seen = observe_in_training(training, batches)
        if saturating(training.grids(), seen):
            for bank in training.banks:
                if bank.plain.kind == "activation":
                    bank.start([seen.get(slot.name, observed[slot.name]) for slot in bank.plain.slots])
            grids = training.grids()
            check_holds({name: grids[name] for name in seen}, seen)
    for bank in training.banks:
        bank.remember_parameters()


def observe_in_training(training: TrainingGraph, batches: Sequence[tuple[Any, ...]]) -> dict[str, Histogram]:
    """The values of every activation, by slot, without quantization and with batches normalized by their own.

    Raises NonFiniteValues naming the site.
    """
    graph = copied(training.graph).train()  # whose running statistics may move
    histograms: dict[str, Histogram] = {}

    def hook(module: SiteQuantizer, inputs: tuple[Any, ...], output: Tensor) -> None:
        try:
            histograms.setdefault(module.slot.name, Histogram()).update(output.detach().float().cpu().numpy())
        except NonFiniteValues as error:
            raise NonFiniteValues(f"site {module.slot.name!r}: {error}") from None

    for module in graph.modules():
        if isinstance(module, SiteQuantizer):
            module.enable_fake_quant(False)
            if module.slot.kind == "activation":
                module.register_forward_hook(hook)
    with torch.no_grad():
        for batch in batches:
            graph(*batch)
    return histograms


def _normalizes(training: TrainingGraph) -> bool:
    """Whether training normalizes batches by other statistics than evaluation."""
    layers = training.layers.values()
    return any(layer.mode != "freeze" and layer.norm is not None and layer.norm.training for layer in layers)
