"""What a target's cost models and the allocation under them must hold to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpq_plugins import plugins
from mpq_plugins.allocation.allocator import allocate
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import CostModel, cost_of
from mpq_plugins.errors import InfeasibleBudget, MPQError
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory
from mpq_plugins.search_input import candidates_for
from mpq_plugins.testing.nonconforming import Nonconforming, require
from mpq_plugins.testing.sample_inventory import sample_inventory

MEASURED = ("latency_ms", "energy_mj")
"""Resources whose cost model is a measured table, which belongs to a model and not to a target."""
ROUNDING = 1e-9

Bits = Mapping[str, int]


def cost_models_of(target: Target) -> dict[str, CostModel]:
    """The cost models that a target names; raises Nonconforming for a name that nobody registered."""
    registered = plugins.cost_models()
    for name in target.cost_models:
        require(
            name in registered or name in MEASURED,
            f"target {target.name!r} names the cost model {name!r}, and no plug-in registers it; there are "
            f"{', '.join(registered)}",
        )
    return {name: registered[name] for name in target.cost_models if name in registered}


def check_costs_grow(target: Target) -> None:
    """No cost falls when one tensor gets more bits, whatever the others have."""
    inventory = sample_inventory(target)
    bits = _bits(inventory, target)
    for name, model in cost_models_of(target).items():
        for others in (0, -1):
            base = {site: options[others] for site, options in bits.items()}
            for site, options in bits.items():
                before, least = options[0], _cost(name, model, inventory, {**base, site: options[0]})
                for b in options[1:]:
                    cost = _cost(name, model, inventory, {**base, site: b})
                    require(
                        cost >= least * (1 - ROUNDING),
                        f"cost model {name!r} falls from {least:g} to {cost:g} {model.unit} when {site} gets {b} bits "
                        f"instead of {before}; more bits may never cost less",
                    )
                    before, least = b, cost


def check_allocation(target: Target) -> None:
    """Under a budget between the least and the most, and at the least itself, an allocation exists and keeps it."""
    inventory = sample_inventory(target)
    bits = _bits(inventory, target)
    models = cost_models_of(target)
    least, most = (
        {name: _cost(name, model, inventory, {site: options[at] for site, options in bits.items()})
         for name, model in models.items()}
        for at in (0, -1)
    )  # fmt: skip
    for name in models:
        for limit in dict.fromkeys([0.5 * (least[name] + most[name]), least[name]]):
            _keeps(target, inventory, bits, {name: limit}, models)
        if least[name] > 0 and least[name] < most[name]:
            _is_refused(target, inventory, bits, name, least[name], models)
    _keeps(target, inventory, bits, least, models)


def _keeps(
    target: Target,
    inventory: Inventory,
    bits: Mapping[str, Sequence[int]],
    limits: Mapping[str, float],
    models: Mapping[str, CostModel],
) -> None:
    limits = {name: limit * (1 + ROUNDING) for name, limit in limits.items() if limit > 0}
    if not limits:
        return
    asked = ", ".join(f"{name} <= {limit:g}" for name, limit in limits.items())
    try:
        found = allocate(inventory, bits, _losses(bits), _budget(limits), models)
    except MPQError as error:
        raise Nonconforming(f"target {target.name!r}: no allocation keeps {asked}, and some can: {error}") from error
    for name, limit in limits.items():
        cost = _cost(name, models[name], inventory, found.bits)
        require(
            cost <= limit * (1 + ROUNDING),
            f"target {target.name!r}: the allocation under {asked} costs {cost:g} {models[name].unit} of {name}; does "
            "the cost model give the same rows each time?",
        )
    for site, options in bits.items():
        require(found.bits[site] in options, f"target {target.name!r}: {site} got {found.bits[site]} bits")


def _is_refused(
    target: Target,
    inventory: Inventory,
    bits: Mapping[str, Sequence[int]],
    name: str,
    least: float,
    models: Mapping[str, CostModel],
) -> None:
    try:
        allocate(inventory, bits, _losses(bits), _budget({name: 0.9 * least}), models)
    except InfeasibleBudget as error:
        reachable = error.reachable[name]
        require(
            abs(reachable - least) <= 1e-6 * least,
            f"target {target.name!r}: the fewest bits cost {least:g} of {name}, and {reachable:g} is reachable",
        )
    else:
        raise Nonconforming(
            f"target {target.name!r}: the fewest bits cost {least:g} of {name}, and a budget of {0.9 * least:g} is met"
        )


def _bits(inventory: Inventory, target: Target) -> dict[str, list[int]]:
    """Candidates of each site: the fewest, the most, and the one in the middle."""
    try:
        every = candidates_for(inventory, target)
    except MPQError as error:
        raise Nonconforming(f"target {target.name!r} has no grids for a small network: {error}") from error
    bits = {name: sorted({c.bits for c in kinds}) for name, kinds in every.items()}
    return {name: sorted({b[0], b[len(b) // 2], b[-1]}) for name, b in bits.items()}


def _losses(bits: Mapping[str, Sequence[int]]) -> dict[str, list[float]]:
    return {name: [4.0**-b for b in options] for name, options in bits.items()}


def _budget(limits: Mapping[str, float]) -> Budget:
    own = {name: limit for name, limit in limits.items() if name in Budget.__dataclass_fields__}
    return Budget(**own, other={name: limit for name, limit in limits.items() if name not in own})


def _cost(name: str, model: CostModel, inventory: Inventory, bits: Bits) -> float:
    try:
        return cost_of(model, inventory, bits)
    except Exception as error:
        raise Nonconforming(f"cost model {name!r} fails on a small network: {type(error).__name__}: {error}") from error
