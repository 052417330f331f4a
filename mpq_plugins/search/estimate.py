"""How much memory a search takes, known before anything is measured."""

from __future__ import annotations

import math

from mpq_plugins.calibration.holding import machine_memory
from mpq_plugins.calibration.thinning import COLUMNS
from mpq_plugins.compensation.search import ELEMENTS
from mpq_plugins.compensation.thin import few
from mpq_plugins.errors import TooLittleMemory
from mpq_plugins.graph.node import Graph, Node
from mpq_plugins.graph.weights import matrix
from mpq_plugins.search.chunk import memory_of

_PARTS = 8
"""Arrays of so many elements of a weight that its rating works with."""


def check_memory(graph: Graph, samples: int, total: int, limit: int | None = None) -> None:
    """Raise TooLittleMemory, with the number and the way out, where a search takes more bytes than ``limit``.

    samples: of a chunk, of ``total``. limit: by default the machine's memory.
    """
    most = machine_memory() if limit is None else limit
    needed = search_memory(graph, samples, total)
    if needed > most:
        widest = max(graph.layers, key=lambda node: _held(node, total) + _worked(node, total))
        raise TooLittleMemory(
            f"the search takes about {needed / 1e9:.3g} GB and there are {most / 1e9:.3g} GB, most of it for the "
            f"moments of {widest.weight_site!r} with its {matrix(widest).shape[1]} inputs: pass fewer samples, or "
            "leave the layer in float (keep_float)"
        )


def search_memory(graph: Graph, samples: int, total: int) -> int:
    """Bytes, at most about, that a search holds beside the model and the data.

    The moments of all layers, and what measuring a chunk or rating one layer takes, whichever is more.
    """
    layers = {node.weight_site: node for node in graph.layers}.values()
    held = sum(_held(node, total) for node in layers)
    return held + max(memory_of(graph, samples), *(_worked(node, total) for node in layers), 0)


def _held(node: Node, total: int) -> int:
    """Moments of what a layer reads, and of the gradients at its output."""
    groups, inputs, positions = _sizes(node, total)
    read = 4 * groups * inputs * positions if few(positions, inputs) else 8 * groups * inputs**2
    return read + 8 * len(node.biases) ** 2


def _worked(node: Node, total: int) -> int:
    """The factor of a layer's curvature, what it is made of, and rows of candidates."""
    groups, inputs, positions = _sizes(node, total)
    if few(positions, inputs):
        factor = groups * (32 * inputs * positions + 24 * positions**2)
    else:
        factor = 28 * groups * inputs**2
    rows = 4 * max(ELEMENTS, groups * inputs) * _PARTS
    losses = 4 * 3 * inputs * len(node.biases)
    return factor + rows + losses + 16 * matrix(node).size


def _sizes(node: Node, total: int) -> tuple[int, int, int]:
    """Groups, inputs of each, and positions that moments are measured on, about."""
    positions = total * math.prod(node.sample_shape) // max(1, len(node.biases))
    if node.op.startswith("conv") and not node.op.startswith("conv_transpose"):
        positions = min(positions, COLUMNS)
    groups = 1 if node.op == "linear" else int(node.attrs["groups"])
    return groups, matrix(node).shape[1], positions
