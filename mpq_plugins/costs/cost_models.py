"""Cost models: what a choice of bits costs, in a form that the allocation can solve for.

A cost model says what one resource costs as rows of terms: the resource's value is the maximum over
its rows of the sum of their terms, and a term is a function of the bits of one site, or of two sites
whose choices multiply (weight and input activation of one op). A sum, such as bytes, is one row; a
peak is a row for each moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from mpq_plugins.errors import CostError, MPQError
from mpq_plugins.inventory import FLOAT_BITS, Inventory, Site


@dataclass(frozen=True)
class CostTerm:
    """A part of a row: what the bits of ``sites`` cost.

    sites: no site (a constant), one site, or two different sites whose choices act together.
    cost: takes the bits of each site, in the order of ``sites``; returns a finite cost of 0 or more.
    """

    sites: tuple[str, ...]
    cost: Callable[..., float]

    def __post_init__(self) -> None:
        if isinstance(self.sites, str):
            raise CostError(f"the sites of a cost term are a tuple of names, got {self.sites!r}")
        object.__setattr__(self, "sites", tuple(self.sites))
        if len(self.sites) > 2 or len(set(self.sites)) < len(self.sites):
            raise CostError(f"a cost term takes at most two sites, each once, got {', '.join(self.sites)}")

    def __call__(self, *bits: int) -> float:
        """The cost at these bits; raises CostError unless it is finite and not negative."""
        value = float(self.cost(*bits))
        if not (math.isfinite(value) and value >= 0):
            at = " and ".join(f"{b} bits of {site}" for b, site in zip(bits, self.sites, strict=True))
            raise CostError(f"a cost is a finite number of 0 or more; the cost model gives {value} for {at}")
        return value


@dataclass(frozen=True)
class CostRow:
    """A sum of terms; ``label`` says which, for a resource with several rows ("step 3", "bank 1")."""

    label: str
    terms: tuple[CostTerm, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(self.terms))


class CostModel(Protocol):
    """What one resource costs. A plug-in registers one by name: ``register(name, cost_model)``.

    >>> class Energy:
    ...     unit = "pJ"
    ...     def rows(self, inventory):
    ...         terms = [CostTerm((w.name,), lambda bits, macs=w.macs: 0.2 * macs * bits) for w in inventory.weights]
    ...         return [CostRow("all ops", tuple(terms))]
    >>> inventory = Inventory([Site("fc.weight", "weight", "linear", (2, 3), macs=6)])
    >>> round(cost_of(Energy(), inventory, {"fc.weight": 4}), 3)
    4.8
    """

    @property
    def unit(self) -> str:
        """Unit of the resource, as it is printed."""

    def rows(self, inventory: Inventory) -> Sequence[CostRow]:
        """The rows whose maximum is the resource's value."""


class WeightBytes:
    """Bytes of all weights, each at its own bits, and of those that stay float; biases and scales are not counted."""

    unit = "bytes"

    def rows(self, inventory: Inventory) -> Sequence[CostRow]:
        """One row: the sum of elements * bits / 8."""
        terms = [_linear(w, w.elements / 8) for w in inventory.weights]
        return (CostRow("all weights", (*terms, *_float_weights(inventory, 1 / 8))),)


class AverageWeightBits:
    """Bits per weight, averaged over weight elements, those that stay float among them."""

    unit = "bits"

    def rows(self, inventory: Inventory) -> Sequence[CostRow]:
        """One row: the sum of bits * elements / all elements."""
        total = sum(w.elements for w in inventory.weights) + sum(inventory.float_weights.values())
        terms = [_linear(w, w.elements / total) for w in inventory.weights if w.elements]
        return (CostRow("all weights", (*terms, *_float_weights(inventory, 1 / total if total else 0.0))),)


class AverageActivationBits:
    """Bits per activation element of one sample, averaged over the elements of all sites, inputs and outputs too."""

    unit = "bits"

    def rows(self, inventory: Inventory) -> Sequence[CostRow]:
        """One row: the sum of bits * elements / all elements."""
        total = sum(a.elements for a in inventory.activations)
        terms = [_linear(a, a.elements / total) for a in inventory.activations if a.elements]
        return (CostRow("all activations", tuple(terms)),)


class ActivationBytes:
    """The most bytes of activations in memory at once, for one sample, by ``Inventory.live``.

    Every site of a live set counts once, sites of one group too: they share a grid, not a buffer.
    """

    unit = "bytes"

    def rows(self, inventory: Inventory) -> Sequence[CostRow]:
        """A row for every step of the execution: the sum of elements * bits / 8 of its live set.

        Raises CostError where the inventory has activations and does not say which live together.
        """
        if inventory.activations and not inventory.live:
            raise CostError(
                f"the inventory has {len(inventory.activations)} activations but no live sets, so their peak is "
                "unknown; give Inventory(sites, live=...), or budget another resource"
            )
        terms = {a.name: _linear(a, a.elements / 8) for a in inventory.sites}
        return tuple(
            CostRow(f"step {step}", tuple(terms[name] for name in dict.fromkeys(names)))
            for step, names in enumerate(inventory.live)
        )


class BitOperations:
    """Bit operations of one sample: MACs * weight bits * input activation bits, or the bits of both activations.

    A weight whose site names no input multiplies floats: its activation counts FLOAT_BITS. Where a
    weight has several inputs (a shared module), its MACs are spread over them evenly.
    """

    unit = "bit operations"

    def rows(self, inventory: Inventory) -> Sequence[CostRow]:
        """One row: a term for each pair of weight and input activation, and for each product of two activations."""
        terms = []
        for weight in inventory.weights:
            if not weight.inputs:
                terms.append(_linear(weight, float(weight.macs * FLOAT_BITS)))
            for name in weight.inputs:
                terms.append(_product(weight.name, name, weight.macs / len(weight.inputs)))
        for product in inventory.activations:
            if product.macs:
                terms.append(_product(product.inputs[0], product.inputs[-1], product.macs))
        return (CostRow("all ops", tuple(terms)),)


def cost_of(model: CostModel, inventory: Inventory, bits_by_site: Mapping[str, int]) -> float:
    """What ``bits_by_site`` costs by ``model``, in the model's unit.

    Raises CostError when a site that the model counts has no bits.

    >>> sites = [Site("a.weight", "weight", "linear", (10, 8)), Site("b.weight", "weight", "linear", (4, 10))]
    >>> cost_of(WeightBytes(), Inventory(sites), {"a.weight": 4, "b.weight": 8})
    80.0
    """
    rows = model.rows(inventory)
    missing = sorted({s for row in rows for term in row.terms for s in term.sites} - set(bits_by_site))
    if missing:
        raise CostError(f"{len(missing)} sites that cost something have no bits: {', '.join(missing)}")
    sums = (math.fsum(term(*(bits_by_site[s] for s in term.sites)) for term in row.terms) for row in rows)
    return max(sums, default=0.0)


def known_costs(
    models: Mapping[str, CostModel],
    inventory: Inventory,
    bits_by_site: Mapping[str, int],
    limited: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """What a choice costs by every model that can say. limited: resources that have to; their errors are raised."""
    costs = {}
    for name, model in models.items():
        try:
            costs[name] = cost_of(model, inventory, bits_by_site)
        except MPQError:
            if limited and name in limited:
                raise
    return costs


def _float_weights(inventory: Inventory, per_bit: float) -> tuple[CostTerm, ...]:
    """What the weights that stay float cost, whatever is chosen."""
    elements = sum(inventory.float_weights.values())
    return (CostTerm((), lambda: per_bit * FLOAT_BITS * elements),) if elements else ()


def _linear(site: Site, per_bit: float) -> CostTerm:
    return CostTerm((site.name,), lambda bits: per_bit * bits)


def _product(first: str, second: str, macs: float) -> CostTerm:
    if first == second:
        return CostTerm((first,), lambda bits: macs * bits * bits)
    return CostTerm((first, second), lambda bits, others: macs * bits * others)


COST_MODELS: Mapping[str, CostModel] = MappingProxyType(
    {
        "weight_bytes": WeightBytes(),
        "activation_bytes": ActivationBytes(),
        "average_weight_bits": AverageWeightBits(),
        "average_activation_bits": AverageActivationBits(),
        "bops": BitOperations(),
    }
)
"""The cost models that need nothing but the inventory, by the Budget field that they serve."""
