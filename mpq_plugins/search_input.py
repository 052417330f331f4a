"""What a post-training method is given: the model as numbers, what the target allows, what it may cost."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from numbers import Integral
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.costs.budget import Budget, limits_of
from mpq_plugins.costs.cost_models import CostModel
from mpq_plugins.errors import BudgetError, ProcessorLimit, TargetError, UnmatchedName, UnsupportedOp
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.rounding.moments.layer_moments import Array, FewColumns
from mpq_plugins.thresholds.histogram import Histogram

Bits = int | Sequence[int] | Mapping[str, "int | Sequence[int]"] | None
"""Bit-widths that a user allows: one, several, or either by pattern of site names ({"fc*": 8})."""


Change = Callable[[Array], Array]
PROBES = 64
"""Samples, at most, on which ``MeasuredModel.outputs`` runs the model."""


class MeasuredModel(Protocol):
    """What an adapter measures of the float model on the calibration data; arrays are float64.

    Weights are in matrix form: [out, in], the rows of all groups one after another.
    """

    inventory: Inventory

    def weight(self, site: str) -> NDArray[np.floating[Any]]:
        """The weight of a layer, [out, in]: float32, where that holds it. Nobody writes to it."""

    def bias(self, site: str) -> Array:
        """The bias of a weight's layer, [out]; zeros where it has none."""

    def covariance(self, site: str) -> Array:
        """Covariance of the columns that the weight multiplies, [groups, in, in]."""

    def output_fisher(self, site: str) -> Array:
        """Second moment of the loss gradient at the output of the weight's layer, [out, out].

        Summed over the positions of a sample, averaged over samples (sensitivity.predicted_loss). Between outputs of
        different groups it may be zero: no loss of a weight asks for these.
        """

    def histogram(self, site: str) -> Histogram:
        """The values of an activation."""

    def gradient_energy(self, site: str) -> float:
        """Squared loss gradient at an activation, summed over its elements, averaged over samples."""


@runtime_checkable
class KeepsColumns(Protocol):
    """A measured model that gives a covariance of few positions as what it comes of: no [in, in] matrix is made."""

    def few_columns(self, site: str) -> FewColumns | None:
        """``covariance`` of a weight's site as a product of few columns; None where they are many."""


@runtime_checkable
class RatedSideBySide(Protocol):
    """A measured model that may be asked by several threads at once."""

    workers: int
    """How many of its layers there is memory to rate at once."""


class RunnableModel(MeasuredModel, Protocol):
    """A measured model that can still be run, which sensitivities by trial need."""

    def outputs(self, changes: Mapping[str, Change]) -> tuple[Array, ...]:
        """The outputs of the float model on some of the calibration data, with some tensors changed.

        changes: by site, a function of the weight in matrix form, or of an activation on one batch, that
        returns what shall be there instead. The weights are what they were before, to the bit, afterwards.
        """


@dataclass(frozen=True)
class Problem:
    """A search, in numbers.

    candidates: site -> kinds of grids that it may get, one per bit-width, in increasing bits.
    budget: None when every site has one candidate. progress: as progress.track takes it.
    """

    model: MeasuredModel
    target: Target
    candidates: Mapping[str, tuple[Candidate, ...]]
    budget: Budget | None
    cost_models: Mapping[str, CostModel]
    meta: Mapping[str, str] = field(default_factory=dict)
    progress: bool | None = None


def candidates_for(
    inventory: Inventory,
    target: Target,
    weight_bits: Bits = None,
    activation_bits: Bits = None,
    per_channel: bool | None = None,
) -> dict[str, tuple[Candidate, ...]]:
    """The grids that every site may get: what the target has, narrowed by what the user allows.

    weight_bits, activation_bits: one mapping for both may name sites of both kinds.
    per_channel: one step per output channel; None takes it wherever the target has it.
    Raises UnsupportedOp or TargetError naming the site, the bits asked for and those there are, and UnmatchedName for a
    pattern that matches no site.
    """
    both = weight_bits is activation_bits
    for argument, bits in (("weight_bits", weight_bits), ("activation_bits", activation_bits)):
        kind = argument.removesuffix("_bits")
        _check_patterns(argument, bits, [site.name for site in inventory if both or site.kind == kind])
    every = {}
    for site in inventory:
        argument, bits = ("weight_bits", weight_bits) if site.kind == "weight" else ("activation_bits", activation_bits)
        asked = _allowed(argument, bits, site.name)
        found = _offered(site, target, per_channel)
        kept = tuple(c for c in found if asked is None or c.bits in asked or c.exponent is not None)
        if not kept:
            _refuse(site, target, asked or (), found)
        every[site.name] = kept
    for group in inventory.groups().values():
        fixed = [site for site in group if every[site.name][0].exponent is not None]
        if fixed:
            _check_shareable(group, every, target, fixed[0])
            every |= {site.name: every[fixed[0].name] for site in group}
        shared = set.intersection(*({c.bits for c in every[site.name]} for site in group))
        if not shared:
            raise TargetError(f"sites {', '.join(s.name for s in group)} must share one grid and have no common bits")
        for site in group:
            every[site.name] = tuple(c for c in every[site.name] if c.bits in shared)
    return every


def _refuse(site: Site, target: Target, asked: Sequence[int], found: Sequence[Candidate]) -> NoReturn:
    """Raise TargetError for bits that a site cannot have; ProcessorLimit where it is this processor that lacks them."""
    refusal = (
        f"site {site.name!r}: none of {_words(asked)} bits is to be had for the {site.kind} of {site.op} "
        f"on target {target.name!r}, which offers {_words([c.bits for c in found])}"
    )
    if site.kind == "weight" and any(c.bits in asked for c in target.weight_candidates(site.op, vnni=True)):
        better = ", ".join(target.saturation.unless_flags) if target.saturation else ""
        raise ProcessorLimit(f"{refusal} here: wider ones saturate on a processor that has none of {better}")
    raise TargetError(refusal)


def _check_shareable(
    group: Sequence[Site], every: Mapping[str, tuple[Candidate, ...]], target: Target, fixed: Site
) -> None:
    """Raise TargetError unless all of a group can have the grid that a kernel fixes for one of it."""
    (candidate,) = every[fixed.name]
    grid = candidate.grid(candidate.exponent or 0)
    for site in group:
        if not target.allows(site, grid) or (site.signed and not grid.signed):
            raise TargetError(
                f"sites {', '.join(s.name for s in group)} must share one grid, which the kernel of {fixed.op} "
                f"({fixed.name}) fixes at {grid}, and {site.name} cannot have it"
            )


def check_budget(candidates: Mapping[str, tuple[Candidate, ...]], budget: Budget | None) -> None:
    """Raise BudgetError when there is something to choose and no budget to choose by."""
    open_sites = [name for name, kinds in candidates.items() if len(kinds) > 1]
    if not limits_of(budget) and open_sites:
        raise BudgetError(
            f"{len(open_sites)} sites ({', '.join(open_sites[:3])}, ...) have several candidate bit-widths and there "
            "is no budget; give a budget, or fix weight_bits and activation_bits"
        )


def _offered(site: Site, target: Target, per_channel: bool | None) -> tuple[Candidate, ...]:
    try:
        if site.kind == "activation":
            return target.activation_candidates(site.op, site.signed)
        found = target.weight_candidates(site.op)
    except UnsupportedOp as error:
        raise UnsupportedOp(f"site {site.name!r}: {error}") from None
    has_channel = any(c.per_channel for c in found) and site.channel_axis is not None
    has_tensor = any(not c.per_channel for c in found)
    wanted = has_channel if per_channel is None or not (has_channel and has_tensor) else per_channel
    return tuple(c for c in found if c.per_channel == wanted)


def _allowed(argument: str, bits: Bits, site: str) -> tuple[int, ...] | None:
    if isinstance(bits, Mapping):
        bits = next((value for pattern, value in bits.items() if fnmatchcase(site, pattern)), None)
    if bits is None:
        return None
    found = _listed(bits)
    if not all(isinstance(b, Integral) and not isinstance(b, bool) for b in found):
        raise _no_bits(argument, bits)
    return found


def _listed(bits: Any) -> tuple[Any, ...]:
    """Bits one by one; one number, an array without axes, or what only one site could go through, as it is."""
    if isinstance(bits, (str, Iterator)):
        return (bits,)
    try:
        return tuple(bits)
    except TypeError:
        return (bits,)


def _no_bits(argument: str, bits: object) -> TargetError:
    return TargetError(
        f"{argument} is a whole number, several, or a mapping from patterns of site names to either, got {bits!r}"
    )


def _check_patterns(argument: str, bits: Bits, sites: Sequence[str]) -> None:
    """Raise UnmatchedName, with the closest site, for a pattern that matches none; one that takes all is no mistake.

    sites: those that the argument is for.
    """
    for pattern in bits if isinstance(bits, Mapping) else ():
        if not isinstance(pattern, str):
            raise _no_bits(argument, bits)
        if set(pattern) != {"*"} and not any(fnmatchcase(site, pattern) for site in sites):
            own = [site for site in sites if site.startswith(f"{pattern}.")]
            close = own or difflib.get_close_matches(pattern, sites, n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sites[:8])}"
            raise UnmatchedName(
                f"{argument} names {pattern!r}, which matches no {argument.removesuffix('_bits')} site{hint}"
            )


def _words(bits: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(bits)))) or "no"
