"""onnxruntime on the CPU, as QuantizeLinear / DequantizeLinear graphs run there.

Every op rounds half to even, with all graph optimizations and with none: integer kernels requantize an
int32 accumulator through float32, float kernels add grid values exactly and quantize the sum. Biases are
int32 on the accumulator's grid. Activations are stored in 8 bits, weights in 8, 4 or 2.

On x86 processors without VNNI a session takes kernels that saturate at 8-bit weights, unless its entry
"session.x64quantprecision" is "1"; weights of at most 7 bits are safe there.
"""

from __future__ import annotations

from collections.abc import Callable

from mpq_plugins.builtin.generic import SAME_GRID_OPS
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.graph.runtimes import rule_in_words
from mpq_plugins.graph.runtimes.onnxruntime import CPU, FRAMEWORK
from mpq_plugins.hardware.op_support import WEIGHTED_OPS, ActivationGrids, OpSupport, WeightGrids
from mpq_plugins.hardware.saturation import PairSaturation
from mpq_plugins.hardware.target import Runtime, Target
from mpq_plugins.plugins.hookspecs import hookimpl


def onnxruntime() -> Target:
    """Every op of a model, weights per tensor or per channel, 2 to 8 bits."""
    weights = WeightGrids(granularity=("tensor", "channel"))
    # the output channels of a grouped transposed convolution lie along no axis of its weight
    transposed = WeightGrids(granularity=("tensor",))
    activation = ActivationGrids()
    ops = {
        op: OpSupport(
            weight=transposed if "transpose" in op else weights,
            activation=activation,
            rounding=rule_in_words(CPU, op),
            bias="accumulator",
        )
        for op in WEIGHTED_OPS
    }
    of_two = [word for word, op in all_ops().items() if op.arity == 2 and "onnx" in op.spellings]
    for op in ("input", *of_two, "hardswish", "lookup"):
        ops[op] = OpSupport(activation=activation, rounding=rule_in_words(CPU, op))
    for op in SAME_GRID_OPS:
        ops[op] = OpSupport(activation=activation, rounding=rule_in_words(CPU, op), keeps_input_grid=True)
    return Target(
        name=FRAMEWORK,
        description="ONNX graphs on onnxruntime's CPU kernels; weights per tensor or per channel, 2 to 8 bits",
        ops=ops,
        runtime=Runtime(framework=CPU.framework, engine=CPU.engine),
        saturation=PairSaturation(),
        float_arithmetic=True,
    )


@hookimpl
def mpq_register_targets(register: Callable[[Target], None]) -> None:
    """Register onnxruntime."""
    register(onnxruntime())
