"""LiteRT (TensorFlow Lite) on int8 kernels: what they run exactly, and how each op rounds.

How they round is the table of the runtime (graph.runtimes.litert). Biases are integers on the accumulator's
grid. Activations are int8, unsigned ones with zero point -128; weights are int8, or packed int4.
"""

from __future__ import annotations

from collections.abc import Callable

from mpq_plugins.builtin.generic import SAME_GRID_OPS
from mpq_plugins.exporters.litert import requirements
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.graph.runtimes import rule_in_words
from mpq_plugins.graph.runtimes.litert import BUILTIN, OPTIMIZED, XNNPACK
from mpq_plugins.graph.runtimes.runtime import Runtime as Table
from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.op_support import WEIGHTED_OPS, ActivationGrids, OpSupport, WeightGrids
from mpq_plugins.hardware.target import Runtime, Target
from mpq_plugins.hardware.workload import Workload
from mpq_plugins.plugins.hookspecs import hookimpl

FUNCTIONS = ("hardswish", "lookup")
"""Functions of one element, which run as tables of 256 codes."""

ROWS = ("normalize", "softmax")
"""What is written in 32-bit integers."""


def litert(name: str, runtime: Table, power_of_two: bool, bits: tuple[int, ...]) -> Target:
    """A target of the LiteRT interpreter, which rounds as the runtime's table says."""
    weights = WeightGrids(bits=bits, granularity=("tensor", "channel"), power_of_two=power_of_two)
    activation = ActivationGrids(bits=bits, power_of_two=power_of_two)
    ops = {
        op: OpSupport(weight=weights, activation=activation, rounding=rule_in_words(runtime, op), bias="accumulator")
        for op in WEIGHTED_OPS
    }
    # those of two activations round as an accumulator does but for the add
    of_two = [word for word, op in all_ops().items() if op.arity == 2 and "litert" in op.spellings]
    for op in ("input", *of_two, *FUNCTIONS, *ROWS):
        ops[op] = OpSupport(activation=activation, rounding=rule_in_words(runtime, op))
    for op in SAME_GRID_OPS:
        ops[op] = OpSupport(activation=activation, rounding=rule_in_words(runtime, op), keeps_input_grid=True)
    spread = f"{bits[0]} to {bits[-1]} bits" if len(bits) > 1 else f"{bits[0]} bits"
    steps = "power-of-two steps" if power_of_two else "free steps"
    return Target(
        name=name,
        description=f"LiteRT's int8 kernels ({runtime.engine}); weights per tensor or per channel, {spread}, {steps}",
        ops=ops,
        runtime=Runtime(framework=runtime.framework, engine=runtime.engine),
    )


@hookimpl
def mpq_register_targets(register: Callable[[Target], None]) -> None:
    """Register litert-po2, litert-po2-reference, litert-po2-optimized and litert-int8."""
    every = tuple(range(2, 9))
    register(litert("litert-po2", XNNPACK, True, every))
    register(litert("litert-po2-reference", BUILTIN, True, every))
    register(litert("litert-po2-optimized", OPTIMIZED, True, every))
    register(litert("litert-int8", XNNPACK, False, (8,)))


@hookimpl
def mpq_measure_latency(target: Target, workload: Workload) -> float | None:
    """Time LiteRT's own kernels, on targets that run on them, where LiteRT is installed."""
    if not _runs(target):
        return None
    from mpq_plugins.builtin import litert_device

    return litert_device.seconds(target, workload)


@hookimpl
def mpq_describe_device(target: Target) -> Device | None:
    """This machine with LiteRT and the kernels of the target."""
    if not _runs(target):
        return None
    from mpq_plugins.builtin import litert_device

    return litert_device.describe(target)


def _runs(target: Target) -> bool:
    runtime = target.runtime
    return runtime is not None and runtime.framework == XNNPACK.framework and requirements.installed()
