"""The integer kernels of torch's quantized engines: what they run exactly, and how each op rounds.

How they round is the table of the runtime (graph.runtimes.torch_kernels); x86 and onednn add biases as floats,
qnnpack rounds them to step_input * step_weight first. The step of a sigmoid's output is 1/256 in every kernel.
Concat, pooling and moving ops compute on their input's grid.
Activations are stored as quint8, signed ones with zero point 128; weights as qint8.

torchao's PT2E flow (torchao 0.18) computes in float between quantize and dequantize ops, which round half
to even, before the zero point is added, and clip to quant_min and quant_max. Inductor's int8 kernels for
x86 (onednn) give the same numbers; they clip to their container only, and saturate without VNNI.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from mpq_plugins.builtin.generic import SAME_GRID_OPS
from mpq_plugins.graph.runtimes import rule_in_words
from mpq_plugins.graph.runtimes.torch_kernels import RUNTIMES
from mpq_plugins.hardware.op_support import WEIGHTED_OPS, ActivationGrids, OpSupport, WeightGrids
from mpq_plugins.hardware.saturation import PairSaturation
from mpq_plugins.hardware.target import Runtime, Target
from mpq_plugins.plugins.hookspecs import hookimpl

UNIT = ActivationGrids(bits=(8,), signed=False, exponent=0)
"""What torch's kernels of sigmoids fix: 1/256 and zero point 0."""
SIGNED_UNIT = ActivationGrids(bits=(8,), unsigned=False, exponent=0)
"""What their kernel of tanh fixes: 1/128."""
ENGINES = {table.engine: table for table in RUNTIMES}


def torch_engine(engine: str, bias: Literal["accumulator", "float"], saturation: PairSaturation | None) -> Target:
    """The target of one engine of torch.backends.quantized, which rounds as the runtime's table says."""
    runtime = ENGINES[engine]
    weights = WeightGrids(granularity=("tensor", "channel"))
    # The x86 and onednn kernels refuse per-channel transposed convolutions, and torch.ao has no observer for them.
    transposed = WeightGrids(granularity=("tensor",))
    activation = ActivationGrids()
    ops = {
        op: OpSupport(
            weight=transposed if "transpose" in op else weights,
            activation=activation,
            rounding=rule_in_words(runtime, op),
            bias=bias,
        )
        for op in WEIGHTED_OPS
    }
    for op in ("input", "add", "mul", "matmul", "hardswish", "leaky_relu", "elu"):
        ops[op] = OpSupport(activation=activation, rounding=rule_in_words(runtime, op))
    for op in ("sigmoid", "hardsigmoid"):
        ops[op] = OpSupport(activation=UNIT, rounding=rule_in_words(runtime, op))
    ops["tanh"] = OpSupport(activation=SIGNED_UNIT, rounding=rule_in_words(runtime, "tanh"))
    for op in SAME_GRID_OPS:
        ops[op] = OpSupport(activation=activation, rounding=rule_in_words(runtime, op), keeps_input_grid=True)
    return Target(
        name=f"torch-{engine}",
        description=f"torch's int8 kernels, {engine} engine; weights per tensor or per channel, 2 to 8 bits",
        ops=ops,
        runtime=Runtime(framework="torch", engine=engine),
        saturation=saturation,
        float_arithmetic=True,
    )


def torchao_flow(name: str, description: str, saturation: PairSaturation | None) -> Target:
    """A target of torchao's PT2E flow: as the onednn engine, but inputs are rounded before the zero point is added."""
    engine = torch_engine("pt2e", "float", saturation)
    functions = OpSupport(activation=ActivationGrids(), rounding="half_even")
    ops = {op: support for op, support in engine.ops.items() if support.activation not in (UNIT, SIGNED_UNIT)} | {
        "lookup": functions
    }
    described = f"{description}; weights per tensor or per channel, 2 to 8 bits"
    return engine.model_copy(update={"name": name, "description": described, "ops": ops})


@hookimpl
def mpq_register_targets(register: Callable[[Target], None]) -> None:
    """Register torch-x86, torch-onednn, torch-qnnpack, torch-pt2e and torch-pt2e-x86."""
    # the x86 engine takes FBGEMM's saturating kernels unless it finds AVX-512 VNNI; AVX-VNNI is not enough
    register(torch_engine("x86", "float", PairSaturation(unless_flags=("avx512_vnni",))))
    register(torch_engine("onednn", "float", PairSaturation()))
    register(torch_engine("qnnpack", "accumulator", None))
    register(torchao_flow("torch-pt2e", "torchao's PT2E flow, quantize and dequantize ops in float", None))
    register(torchao_flow("torch-pt2e-x86", "torchao's PT2E flow on inductor's int8 kernels", PairSaturation()))
