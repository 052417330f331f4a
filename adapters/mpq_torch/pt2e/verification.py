"""The first site at which a converted PT2E graph differs from the simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn

from mpq_torch.pt2e.integer_calls import PerTensor, dequantized, quantized
from mpq_torch.pt2e.recipe_quantizer import SITE
from mpq_torch.simulation.simulated_model import SimulatedModel
from mpq_torch.simulation.verification import first_site, recorded


def first_difference(converted: nn.Module, simulated: SimulatedModel, batch: Sequence[Any]) -> str | None:
    """The first site, in execution order, whose values differ; None where the graph tells no sites."""
    if not isinstance(converted, fx.GraphModule):
        return None
    at: dict[str, tuple[fx.Node, PerTensor]] = {}
    for node in converted.graph.nodes:
        call = quantized(node)
        if call is not None and SITE in call.source.meta:
            at.setdefault(call.source.meta[SITE], (node, call))
    got = recorded(converted, batch, {node for node, _ in at.values()})
    found = {site: _values(node, call, got[node]) for site, (node, call) in at.items()}
    return first_site(simulated.simulation, simulated.sites(*batch), found)


def _values(node: fx.Node, call: PerTensor, codes: Tensor) -> Tensor:
    """The values of codes; a graph that adds the zero point before it rounds takes it off again behind."""
    readers = [read for read in map(dequantized, node.users) if isinstance(read, PerTensor)]
    shift = next((read.zero_point for read in readers if read.zero_point != call.zero_point), call.zero_point)
    return (codes.float() - shift) * call.scale
