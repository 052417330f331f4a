"""What a target has against a model, found by writing the file that its runtime would read, before any search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mpq_plugins.errors import MPQError, UnsupportedOp
from mpq_plugins.exporters.litert import exporting as litert
from mpq_plugins.exporters.onnx import exporting as onnx
from mpq_plugins.graph.node import Graph, Node
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.refusals import Refuses, without_grid
from mpq_plugins.graph.runtimes.onnxruntime import FRAMEWORK as ONNXRUNTIME
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory


def refused_by(target: Target) -> Refuses:
    """What the target has no grid for, or, where it has all, what cannot be written for its runtime."""
    return lambda graph: without_grid(target, graph) or _unwritable(target, graph)


def _unwritable(target: Target, graph: Graph) -> Mapping[str, str]:
    framework = None if target.runtime is None else target.runtime.framework
    if framework not in (litert.FRAMEWORK, ONNXRUNTIME):
        return {}
    try:
        quantized = _of_zeros(target, graph)
        if framework == litert.FRAMEWORK:
            litert.exported(quantized, None, pack=True, keep_layout=False)
        else:
            onnx.export(quantized)
    except UnsupportedOp as error:
        reasons = error.reasons or {str(error).partition(":")[0]: str(error)}
        return {name: _alone(name, why) for name, why in reasons.items() if name in graph}
    except MPQError:  # of the numbers, which are none of the model's, or of a package that is not here
        return {}
    return {}


def _alone(name: str, reason: str) -> str:
    return reason.removeprefix(f"{name}: ")


def _of_zeros(target: Target, graph: Graph) -> QuantizedGraph:
    """The graph with weights of zeros, on grids of the target's widest bits."""
    sites = take_sites(graph)
    return QuantizedGraph(graph.mapped(_emptied), _grids(target, sites.inventory), sites.grid_of, target)


def _emptied(node: Node) -> Node:
    if node.weight is None:
        return node
    bias = None if node.bias is None else np.zeros_like(node.bias)
    return replace(node, weight=np.zeros_like(node.weight), bias=bias)


def _grids(target: Target, inventory: Inventory) -> dict[str, Grid]:
    grids: dict[str, Grid] = {}
    for group in inventory.groups().values():
        offered = {
            site.name: target.weight_candidates(site.op)
            if site.kind == "weight"
            else target.activation_candidates(site.op, site.signed)
            for site in group
        }
        bits = set.intersection(*({c.bits for c in candidates} for candidates in offered.values()))
        for site in group:
            kind = next(c for c in reversed(offered[site.name]) if c.bits == max(bits))
            per_channel = kind.per_channel and site.channels is not None
            exponents = [0] * int(site.channels or 1) if per_channel else 0
            grids[site.name] = kind.grid(exponents, site.channel_axis if per_channel else None)
    return grids
