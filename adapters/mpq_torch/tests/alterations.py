"""Simulations that are wrong on purpose, in one layer."""

from __future__ import annotations

from dataclasses import replace

from mpq_torch.simulation.simulated_model import SimulatedModel


def shifted(simulated: SimulatedModel, layer: str, weight: float = 0.0, bias: float = 0.0) -> SimulatedModel:
    """The simulation with amounts added to the weights of a layer's first channel, and to all its biases."""
    quantized = simulated.simulation.quantized
    node = quantized.graph[layer]
    weights = node.weight.copy()
    weights[0] += weight
    graph = quantized.graph.with_nodes([replace(node, weight=weights, bias=node.biases + bias)])
    return SimulatedModel(simulated.reading, replace(quantized, graph=graph, _layers={}))
