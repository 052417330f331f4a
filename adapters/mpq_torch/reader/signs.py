"""Which of the tensors that enter the part on grids go below zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.node import INPUT
from mpq_torch.reader.reading import Reading


def signed_inputs(reading: Reading, arguments: Sequence[Any]) -> dict[str, bool]:
    """By the site of each input, whether it takes negative values on these arguments of the model."""
    inputs = [node for node in reading.graph.nodes if node.op == INPUT]
    with torch.no_grad():
        found = run_nodes(
            reading.graph, arguments, FloatModel(reading.graph, reading.runner).step, [node.name for node in inputs]
        )
    return {node.site: bool((found[node.name] < 0).any()) for node in inputs}
