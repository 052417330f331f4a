"""The first site at which a converted PT2E graph differs from the simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_torch.pt2e.recipe_quantizer import SITE
from mpq_torch.simulation.simulated_model import SimulatedModel
from mpq_torch.simulation.verification import first_site, recorded

_QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default


def first_difference(converted: nn.Module, simulated: SimulatedModel, batch: Sequence[Any]) -> str | None:
    """The first site, in execution order, whose values differ; None where the graph tells no sites."""
    if not isinstance(converted, fx.GraphModule):
        return None
    quantized: dict[str, fx.Node] = {}
    for node in converted.graph.nodes:
        if node.target is _QUANTIZE and SITE in node.args[0].meta:
            quantized.setdefault(node.args[0].meta[SITE], node)
    got = recorded(converted, batch, set(quantized.values()))
    found = {site: _values(node, got[node]) for site, node in quantized.items()}
    return first_site(simulated.simulation, simulated.sites(*batch), found)


def _values(node: fx.Node, codes: Tensor) -> Tensor:
    """The values of codes; a graph that adds the zero point before it rounds takes it off again behind."""
    _, scale, zero_point, *_ = node.args
    shift = next((user.args[2] for user in node.users if user.args[2] != zero_point), zero_point)
    return (codes.float() - shift) * scale
