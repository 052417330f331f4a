"""Generic hardware with power-of-two grids and shift-only requantization, named after nobody's chip."""

from __future__ import annotations

from collections.abc import Callable

from mpq_plugins.hardware.op_support import ActivationGrids, Granularity, OpSupport, WeightGrids
from mpq_plugins.hardware.target import Target
from mpq_plugins.plugins.hookspecs import hookimpl

SAME_GRID_OPS = ("relu", "relu6", "clamp", "max_pool", "avg_pool", "global_avg_pool", "pad", "reshape", "concat")
"""Ops that compute on the grid of their input, which for concat is the grid of all inputs."""


def generic(name: str, granularity: Granularity, narrow: bool = False) -> Target:
    """Every op, weights and activations of 2 to 8 bits, power-of-two, biases as accumulator integers.

    narrow: weights have codes from -(2**(b-1) - 1) to 2**(b-1) - 1, as "A Closer Look" (2210.03671) has them.
    """
    symmetric = " with as many codes below zero as above" if narrow else ""
    return Target(
        name=name,
        description=f"power-of-two grids of 2 to 8 bits, weights per {granularity}{symmetric}, activations per tensor",
        ops={
            "*": OpSupport(
                weight=WeightGrids(granularity=(granularity,), narrow=narrow),
                activation=ActivationGrids(),
                rounding="half_even",
                bias="accumulator",
            ),
            **{op: OpSupport(keeps_input_grid=True) for op in SAME_GRID_OPS},
        },
    )


@hookimpl
def mpq_register_targets(register: Callable[[Target], None]) -> None:
    """Register generic-po2 (one step per weight), generic-po2-per-channel, and generic-po2-narrow."""
    register(generic("generic-po2", "tensor"))
    register(generic("generic-po2-per-channel", "channel"))
    register(generic("generic-po2-narrow", "tensor", narrow=True))
