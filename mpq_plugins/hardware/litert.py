"""LiteRT (TensorFlow Lite) on int8 kernels: what they run exactly, and how each op rounds.

Measured with ai-edge-litert 2 on inputs with many exact ties: XNNPACK, the default, rounds convolutions,
dense layers and means half to even, adds half up. The built-in kernels without it round an
accumulator twice and an add half away from zero. Both add biases as integers on the accumulator's
grid. Activations are int8, unsigned ones with zero point -128; weights are int8, or packed int4.
"""

from __future__ import annotations

from collections.abc import Callable

from mpq_plugins.capabilities import WEIGHTED_OPS, ActivationGrids, OpSupport, Rounding, WeightGrids
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.hardware.generic import SAME_GRID_OPS
from mpq_plugins.hookspecs import hookimpl
from mpq_plugins.targets import Runtime, Target

FUNCTIONS = ("hardswish", "lookup")
"""Functions of one element, which run as tables of 256 codes."""
OF_TWO = tuple(word for word, op in all_ops().items() if op.arity == 2 and "litert" in op.spellings)
"""Ops of two activations, which round as an accumulator does but for the add."""


def litert(name: str, engine: str, add: Rounding, power_of_two: bool, bits: tuple[int, ...]) -> Target:
    """A target of the LiteRT interpreter; engine is "xnnpack" or "builtin"."""
    weights = WeightGrids(bits=bits, granularity=("tensor", "channel"), power_of_two=power_of_two)
    activation = ActivationGrids(bits=bits, power_of_two=power_of_two)
    rounding: Rounding = "half_even" if engine == "xnnpack" else "half_away"
    ops = {
        op: OpSupport(weight=weights, activation=activation, rounding=rounding, bias="accumulator")
        for op in WEIGHTED_OPS
    }
    for op in ("input", *FUNCTIONS):
        ops[op] = OpSupport(activation=activation, rounding="half_even")
    for op in OF_TWO:
        ops[op] = OpSupport(activation=activation, rounding=add if op == "add" else rounding)
    for op in SAME_GRID_OPS:
        ops[op] = OpSupport(activation=activation, rounding="half_even", keeps_input_grid=True)
    spread = f"{bits[0]} to {bits[-1]} bits" if len(bits) > 1 else f"{bits[0]} bits"
    steps = "power-of-two steps" if power_of_two else "free steps"
    return Target(
        name=name,
        description=f"LiteRT's int8 kernels ({engine}); weights per tensor or per channel, {spread}, {steps}",
        ops=ops,
        runtime=Runtime(framework="tfmot", engine=engine),
    )


@hookimpl
def mpq_register_targets(register: Callable[[Target], None]) -> None:
    """Register litert-po2, litert-po2-reference and litert-int8."""
    every = tuple(range(2, 9))
    register(litert("litert-po2", "xnnpack", "half_up", True, every))
    register(litert("litert-po2-reference", "builtin", "half_away", True, every))
    register(litert("litert-int8", "xnnpack", "half_up", False, (8,)))
