"""Steps that lie too far apart for a runtime: its table says from which gain on nothing computes an op rightly."""

from __future__ import annotations

from mpq_plugins.errors import GridError
from mpq_plugins.graph.node import RAW, Node
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.runtimes.runtime import LAYER


def check_limits(quantized: QuantizedGraph) -> None:
    """Raise GridError, naming the site and the numbers, for steps that the target's runtime does not serve."""
    runtime = quantized.runtime
    for node in quantized.graph.nodes:
        limits = runtime.limits.get(LAYER if node.weighted else node.op)
        if limits is None or node.op in RAW or node.name not in quantized.grid_of:
            continue
        if runtime.broadcast_rounding is not None and len(node.inputs) == 2 and not quantized.graph.alike(*node.inputs):
            continue  # another kernel does these, on any grids
        least, beyond = limits
        for what, gain in zip(_sources(quantized, node), quantized.gains(node), strict=True):
            if not least <= gain < beyond:
                raise GridError(
                    f"site {node.site!r}: {what} is {gain:g} times the step {quantized.grid(node).steps[0]:g} of its "
                    f"output, and {runtime.engine} takes {f'{least:g} to ' if least else ''}less than {beyond:g}; give "
                    f"the output a {'larger threshold, or fewer bits' if gain >= beyond else 'smaller threshold'}"
                )


def _sources(quantized: QuantizedGraph, node: Node) -> list[str]:
    """The steps of QuantizedGraph.gains, in words."""
    if node.weighted:
        return ["its accumulator's step"]
    return [f"the step of its operand {quantized.grid_of[name]!r}" for name in node.inputs]
