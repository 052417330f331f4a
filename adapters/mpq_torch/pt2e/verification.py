"""The first site at which a converted PT2E graph differs from the simulation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_torch.pt2e.exported_ops import CLAMPS, RECTIFIERS, op_of
from mpq_torch.pt2e.recipe_quantizer import SITE
from mpq_torch.simulation import simulated_sites

_QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default


def first_difference(converted: nn.Module, simulated: fx.GraphModule, batch: tuple[Any, ...]) -> str | None:
    """The first site, in execution order, whose values differ; None where the graph tells no sites."""
    if not isinstance(converted, fx.GraphModule):
        return None
    quantized = {}
    for node in converted.graph.nodes:
        if node.target is _QUANTIZE and SITE in node.args[0].meta:
            quantized.setdefault(node.args[0].meta[SITE], node)
    sites = {str(node.meta["mpq_name"]): node for node, _ in simulated_sites(simulated)}
    got = _recorded(converted, batch, set(quantized.values()))
    wanted = _recorded(simulated, batch, set(sites.values()))
    for site, node in sites.items():
        if site not in quantized:
            continue
        actual, expected = _values(quantized[site], got[quantized[site]], wanted[node])
        if actual.shape != expected.shape or not torch.equal(actual, expected):
            return site
    return None


def _values(node: fx.Node, codes: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """What the graph quantized and what was simulated, behind the ReLU and the clamp that were fused."""
    _, scale, zero_point, low, high, _ = node.args
    shift = next((user.args[2] for user in node.users if user.args[2] != zero_point), zero_point)
    limits = (low - shift) * scale, (high - shift) * scale
    fused = op_of(node.args[0])
    if fused in RECTIFIERS | CLAMPS:
        expected = expected.clamp(max(limits[0], 0.0) if fused in RECTIFIERS else limits[0], limits[1])
    return (codes.float() - shift) * scale, expected


def _recorded(graph: fx.GraphModule, batch: tuple[Any, ...], nodes: set[fx.Node]) -> dict[fx.Node, Tensor]:
    values: dict[fx.Node, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n in nodes:
                values[n] = result
            return result

    with torch.no_grad():
        Recorder(graph).run(*batch)
    return values
