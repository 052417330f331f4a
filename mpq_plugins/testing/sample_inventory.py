"""A small network of the ops that a target runs, as an inventory: what costs and allocations are checked on."""

from __future__ import annotations

import math

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.hardware.op_support import OPS, WEIGHTED_OPS
from mpq_plugins.hardware.target import ANY_OP, Target
from mpq_plugins.inventory import Inventory, Site

POSITIONS = 16
WEIGHTED, OTHERS = 3, 2
"""Ops with and without a weight in the network, at most."""


def ops_of(target: Target) -> tuple[str, ...]:
    """The ops that a target runs, those that it names first; ``input`` is left out.

    >>> ops_of(Target(name="npu", ops={"linear": {"weight": {}, "activation": {}}}))
    ('linear',)
    """
    every = [*target.ops, *(OPS if ANY_OP in target.ops else ())]
    return tuple(op for op in dict.fromkeys(every) if op not in ("input", ANY_OP) and _runs(target, op))


def has_weight(target: Target, op: str) -> bool:
    """Whether the op owns a weight: our words say so of theirs, a target of its own ops by giving it grids."""
    return op in WEIGHTED_OPS or (op not in OPS and op in target.ops and target.ops[op].weight is not None)


def sample_inventory(target: Target) -> Inventory:
    """An input and a chain of some of the target's ops; ops that keep their input's grid share it."""
    ops = ops_of(target)
    weighted = [op for op in ops if has_weight(target, op)][:WEIGHTED]
    computing = [op for op in ops if not has_weight(target, op) and not target.keeps_input_grid(op)][:OTHERS]
    keeping = [op for op in ops if not has_weight(target, op) and target.keeps_input_grid(op)][:OTHERS]
    sites = [Site("x", "activation", "input", (8, 4, 4), signed=_signed(target, "input"), group="of x")]
    for op in [*weighted, *computing, *keeping]:
        before = sites[-1]
        if has_weight(target, op):
            shape = weight_shape(op)
            macs = math.prod(shape) * POSITIONS
            axis = 1 if "transpose" in op else 0
            sites.insert(-1, Site(f"{op}.weight", "weight", op, shape, macs, axis, True, (before.name,)))
        group = before.group if op in keeping else f"of {op}"
        sites.append(Site(op, "activation", op, (8, 4, 4), 0, None, _signed(target, op), (before.name,), group))
    names = [site.name for site in sites if site.kind == "activation"]
    return Inventory(sites, live=[names[at : at + 2] for at in range(max(1, len(names) - 1))])


def weight_shape(op: str) -> tuple[int, ...]:
    """A shape for the weight of an op, output channels first.

    >>> weight_shape("conv2d"), weight_shape("depthwise_conv1d"), weight_shape("linear")
    ((8, 8, 3, 3), (8, 1, 3), (8, 8))
    """
    kernel = (3, 3) if op.endswith("2d") else (3,) if op.endswith("1d") else ()
    return (8, 1 if op.startswith("depthwise") else 8, *kernel)


def _signed(target: Target, op: str) -> bool:
    grids = target.support(op).activation
    return grids is None or grids.signed


def _runs(target: Target, op: str) -> bool:
    """Whether a target that names the op, or that has defaults, can run it: defaults without a weight do for some."""
    try:
        support = target.support(op)
    except UnsupportedOp:
        return False
    return op in target.ops or not (op in WEIGHTED_OPS and support.weight is None)
