"""What grids ask of a target and it cannot serve: steps that lie too far apart, and sums past its accumulators."""

from __future__ import annotations

from mpq_plugins.errors import GridError
from mpq_plugins.graph.node import RAW, Node
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.runtimes.runtime import LAYER

DEFAULT_BITS = 32
TINY, HUGE = 2.0**-126, 2.0**127
"""The least and the largest powers of two that a float32 has all bits of."""


def check_limits(quantized: QuantizedGraph) -> None:
    """Raise GridError, naming the site and the numbers, for steps or sums that the target does not serve.

    Its runtime's table says from which gain on nothing computes an op rightly.
    """
    _check_steps(quantized)
    check_sums(quantized)
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


def check_sums(quantized: QuantizedGraph) -> None:
    """Raise GridError, naming the site and the numbers, for sums past the accumulators that the target says it has.

    Where it says nothing they have 32 bits, as all runtimes here, or are floats.
    """
    bits = quantized.target.accumulator_bits
    if bits >= DEFAULT_BITS:
        return
    for node in quantized.graph.layers:
        largest = quantized.largest_sum(node)
        if largest >= 2 ** (bits - 1):
            source = quantized.grid_of[node.inputs[0]]
            raise GridError(
                f"site {node.site!r}: sums of its products reach {largest:.0f}, and accumulators of {bits} bits hold "
                f"{2 ** (bits - 1) - 1}; give {node.weight_site!r} or {source!r} fewer bits, or a larger threshold"
            )


def _check_steps(quantized: QuantizedGraph) -> None:
    """Raise GridError for steps, and products of steps, that a float32 holds with fewer bits than it has, or not."""
    for node in quantized.graph.nodes:
        if node.op in RAW or node.name not in quantized.grid_of:
            continue
        steps = [("its step", own := float(quantized.grid(node).steps[0]))]
        if own and (node.weighted or node.op in ("mul", "matmul")):
            steps += [
                (what, gain * own) for what, gain in zip(_sources(quantized, node), quantized.gains(node), strict=True)
            ]
        for what, step in steps:
            if not TINY <= step < HUGE:
                raise GridError(
                    f"site {node.site!r}: {what} is {step:g}, and a float32 holds {TINY:g} to {HUGE:g}; the numbers of "
                    "the model vanish or explode here, as those of drawn weights do behind norms that have seen no data"
                )


def _sources(quantized: QuantizedGraph, node: Node) -> list[str]:
    """The steps of QuantizedGraph.gains, in words."""
    if node.weighted:
        return ["its accumulator's step"]
    if node.op in ("mul", "matmul"):
        return ["the step of its products"]
    return [f"the step of its operand {quantized.grid_of[name]!r}" for name in node.inputs]
