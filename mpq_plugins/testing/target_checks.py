"""What a target must hold to: grids that exist and are legal, by its own words and by those of what stores them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from mpq_plugins.errors import MPQError, UnsupportedOp
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Site
from mpq_plugins.testing.nonconforming import Nonconforming, require
from mpq_plugins.testing.sample_inventory import has_weight, ops_of, weight_shape

EXPONENTS = (-20, -3, 0, 5)
FREE_STEP = 0.3


def check_saving(target: Target) -> None:
    """Its JSON gives the same target again."""
    again = Target.from_json(target.to_json())
    require(again == target, f"target {target.name!r} is not what it was after to_json and from_json")


def check_ops(target: Target) -> None:
    """A model's input has a grid, and so has the output of every op, and the weight of every op that owns one."""
    word = f"target {target.name!r}"
    ops = ops_of(target)
    require(ops, f"{word} runs no op but 'input'; give the ops that it runs, or '*' for all")
    for op in ("input", *ops):
        what = "a model's input" if op == "input" else f"the output of {op}"
        _exists(partial(target.activation_candidates, op, _can_be_signed(target, op)), f"{word}: {what}")
        if has_weight(target, op):
            _exists(partial(target.weight_candidates, op, True), f"{word}: the weight of {op}")
            require(
                target.weight_candidates(op, vnni=False),
                f"{word}: without VNNI no weight of {op} is left; every bit-width saturates",
            )
        require(
            not (has_weight(target, op) and target.keeps_input_grid(op)),
            f"{word}: {op} has a weight, so its output cannot keep the grid of its input; drop keeps_input_grid",
        )


def check_grids(target: Target) -> None:
    """Every candidate gives a grid that the target accepts; grids that it does not offer are refused."""
    for op in ops_of(target):
        if has_weight(target, op):
            shape, axis = weight_shape(op), 1 if "transpose" in op else 0
            site = Site(f"{op}.weight", "weight", op, shape, channel_axis=axis)
            for vnni in (True, False):
                for candidate in target.weight_candidates(op, vnni):
                    for exponent in EXPONENTS:
                        _accepts(target, site, _grid(candidate, exponent, site))
            _refuses_others(target, site, target.weight_candidates(op, True))
        for signed in (True, False) if _can_be_signed(target, op) else (False,):
            site = Site(op, "activation", op, (8, 4, 4), signed=signed)
            for candidate in target.activation_candidates(op, signed):
                require(
                    candidate.signed or not signed,
                    f"target {target.name!r}: {op} has values below zero and gets the unsigned grid {candidate}",
                )
                fixed = candidate.exponent
                for exponent in EXPONENTS if fixed is None else (fixed,):
                    _accepts(target, site, _grid(candidate, exponent, site))
            _refuses_others(target, site, target.activation_candidates(op, signed))


def check_containers(target: Target) -> None:
    """Codes fit the integers that store them, and products of the widest the accumulator."""
    word = f"target {target.name!r}"
    widest_weight = widest = 0
    for op in ops_of(target):
        support = target.support(op)
        for kind, grids in (("weight", support.weight), ("activation", support.activation)):
            if grids is None or (kind == "weight" and not has_weight(target, op)):
                continue
            require(
                grids.bits[-1] <= grids.container_bits,
                f"{word}: the {kind} of {op} may have {grids.bits[-1]} bits and is stored in {grids.container_bits} "
                "(container_bits)",
            )
            widest_weight = max(widest_weight, grids.bits[-1] if kind == "weight" else 0)
            widest = max(widest, grids.bits[-1] if kind == "activation" else 0)
    require(
        widest_weight + widest <= target.accumulator_bits,
        f"{word}: a product of {widest_weight}-bit weights and {widest}-bit activations takes "
        f"{widest_weight + widest} bits, and the accumulator has {target.accumulator_bits} (accumulator_bits)",
    )


def check_shared_grids(target: Target) -> None:
    """An op that keeps its input's grid has bits in common with every op that may feed it."""
    ops = ops_of(target)
    keeping = [op for op in ops if target.keeps_input_grid(op)]
    for op, source in itertools.product(keeping, ["input", *ops]):
        own, fed = ({c.bits for c in target.activation_candidates(o, _can_be_signed(target, o))} for o in (op, source))
        require(
            own & fed,
            f"target {target.name!r}: {op} keeps its input's grid of {_words(own)} bits, and the output of {source} "
            f"has {_words(fed)}; a model with {op} after {source} has no grid for both",
        )


def _accepts(target: Target, site: Site, grid: Grid) -> None:
    try:
        target.check(site, grid)
    except MPQError as error:
        raise Nonconforming(
            f"target {target.name!r} offers the {site.kind} of {site.op} the grid {grid} and refuses it: {error}"
        ) from error


def _refuses_others(target: Target, site: Site, candidates: tuple[Candidate, ...]) -> None:
    """Bits that no candidate has, free steps where steps are powers of two, wide codes where they are narrow."""
    first = candidates[0]
    others = [b for b in range(2, 17) if b not in {c.bits for c in candidates}][:1]
    wrong = {
        f"{bits} bits": _grid(Candidate(bits, first.signed, first.per_channel, first.narrow), 0, site)
        for bits in others
    }
    if first.power_of_two:
        wrong["a step that is no power of two"] = _free(first, site)
    if first.narrow:
        wrong["codes that are not symmetric"] = _grid(Candidate(first.bits, True, first.per_channel), 0, site)
    if first.exponent is not None:
        wrong["another threshold"] = _grid(first, first.exponent + 1, site)
    for what, grid in wrong.items():
        require(
            not target.allows(site, grid),
            f"target {target.name!r} offers the {site.kind} of {site.op} no grid with {what}, and accepts {grid}",
        )


def _grid(candidate: Candidate, exponent: int, site: Site) -> Grid:
    axis = site.channel_axis if candidate.per_channel else None
    return candidate.grid(exponent if axis is None else np.arange(site.shape[axis]) + exponent, axis)


def _free(candidate: Candidate, site: Site) -> Grid:
    axis = site.channel_axis if candidate.per_channel else None
    steps = (FREE_STEP,) * (1 if axis is None else site.shape[axis])
    return Grid(candidate.bits, steps, candidate.signed, candidate.narrow, axis)


def _can_be_signed(target: Target, op: str) -> bool:
    try:
        grids = target.support(op).activation
    except UnsupportedOp:
        return True
    return grids is None or grids.signed


def _exists(candidates: Callable[[], Sequence[Candidate]], what: str) -> None:
    try:
        found = candidates()
    except UnsupportedOp as error:
        raise Nonconforming(f"{what} has no grid: {error}; give it one, or put one under '*'") from error
    require(found, f"{what} has no grid")


def _words(bits: set[int]) -> str:
    return ", ".join(map(str, sorted(bits)))
