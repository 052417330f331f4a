"""What a target says about torchao's flow: whether it computes the target exactly, and on which kernels."""

from __future__ import annotations

from mpq_plugins.graph.runtimes import all_runtimes, check_rounds_as
from mpq_plugins.hardware.target import Target

ENGINE = "pt2e"
"""The engine of targets whose runtime is torchao's flow: q/dq ops in float, or inductor's int8 kernels."""


def check_rounding(target: Target) -> None:
    """Raise TargetError unless the target rounds every op half to even, as torchao's quantize op does."""
    check_rounds_as(
        target,
        all_runtimes()["torch", ENGINE],
        "torchao's flow rounds half to even; search for torch-pt2e, or run the recipe on its own runtime",
    )


def accumulates_in_integers(target: Target) -> bool:
    """Whether the target is inductor's int8 kernels, which add products in int32."""
    runtime = target.runtime
    return runtime is not None and runtime.engine == ENGINE and target.saturation is not None
