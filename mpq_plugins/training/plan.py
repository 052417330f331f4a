"""TrainingPlan: what is trained, under which budget, and how it ends in a recipe. The same in every framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mpq_plugins import registry
from mpq_plugins.allocation.allocator import allocate, models_of
from mpq_plugins.costs.budget import Budget, limits_of
from mpq_plugins.costs.cost_models import CostModel, cost_of, known_costs
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.hardware import known_targets
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search_input import Bits, candidates_for
from mpq_plugins.training.best import share_of_budget
from mpq_plugins.training.expected_costs import ExpectedCosts
from mpq_plugins.training.fixed_grid import trains
from mpq_plugins.training.method import Numbers, TrainingMethod, check_contract, training_of
from mpq_plugins.training.predicting import Losses
from mpq_plugins.training.slot import Slot

WEIGHTS_ONLY = frozenset({"weight_bytes", "average_weight_bits"})
"""Resources that no activation counts in: under these alone, activations keep the most bits they may have."""

USED = 0.98
"""Share of a budget that a choice should use."""


@dataclass(frozen=True)
class TrainingPlan:
    """The slots of a model, what they cost, and the method that trains them.

    slots: by name, weights and activations. slot_of: site -> slot. budget: None where nothing is chosen.
    """

    inventory: Inventory
    target: Target
    method: TrainingMethod
    slots: Mapping[str, Slot]
    slot_of: Mapping[str, str]
    budget: Budget | None
    cost_models: Mapping[str, CostModel]
    costs: ExpectedCosts = field(repr=False)

    @classmethod
    def of(
        cls,
        inventory: Inventory,
        target: str | Target,
        method: str | TrainingMethod,
        budget: Budget | None = None,
        weight_bits: Bits = None,
        activation_bits: Bits = None,
        per_channel: bool | None = None,
        latency: LatencyTable | None = None,
    ) -> TrainingPlan:
        """The plan for a model.

        The arguments are those of a post-training search. Raises MPQError for a method that does not
        train or cannot choose bits, InfeasibleBudget, and what candidates_for raises.
        """
        target = known_targets.target(target)
        trained = trainable(method)
        LatencyTable.check(latency)
        models = dict(registry.host().cost_models()) | ({} if latency is None else {"latency_ms": latency})
        limits = limits_of(budget)
        candidates = candidates_for(inventory, target, weight_bits, activation_bits, per_channel)
        slots: dict[str, Slot] = {}
        slot_of: dict[str, str] = {}
        for group in inventory.groups().values():
            site = group[0]
            kinds = candidates[site.name]
            common = set.intersection(*({c.bits for c in candidates[s.name]} for s in group))
            kinds = tuple(c for c in kinds if c.bits in common)
            axis = site.channel_axis if kinds[0].per_channel else None
            slot = Slot(site.name, site.kind, site.shape, kinds, axis, _input_axis(site))
            slots[slot.name] = slot
            slot_of |= {s.name: slot.name for s in group}
        trained = trained.fitted(tuple(slots.values()))
        slots = _settled(trained, slots, limits)
        if set(limits) <= WEIGHTS_ONLY:
            slots = {name: _with_most_bits(slot) if slot.kind == "activation" else slot for name, slot in slots.items()}
        open_slots = [name for name, slot in slots.items() if len(slot.bits) > 1]
        if open_slots and not trained.searches_bits:
            raise MPQError(
                f"method {trained.name!r} trains at fixed bits, and {len(open_slots)} sites "
                f"({', '.join(open_slots[:3])}, ...) have several; give one number of bits, or the recipe of a search"
            )
        if open_slots and budget is None:
            raise MPQError(
                f"{len(open_slots)} sites have several candidate bit-widths and there is no budget to choose by; "
                "give a budget, or fix weight_bits and activation_bits"
            )
        trained.check_budget({name: model.unit for name, model in models_of(limits, models).items()})
        costs = ExpectedCosts.of(inventory, list(slots.values()), slot_of, limits, models_of(limits, models))
        plan = cls(inventory, target, trained, slots, slot_of, budget, models, costs)
        plan.choose({name: dict.fromkeys(slot.bits, 0.0) for name, slot in slots.items()})
        return plan

    def choose(
        self, preferences: Mapping[str, Mapping[int, float]], predicted: Losses | None = None
    ) -> tuple[dict[str, int], dict[str, str]]:
        """The bits of every slot, and reasons: each slot's own choice, and what the budget changes of it.

        What is over the budget is taken where it costs least, and what is left of it is handed out where it gains
        most, by the ``predicted`` loss of every candidate; where bits are too coarse for that to use USED of it, all
        are chosen by predicted loss. Without predictions the choice is that of least total
        preference within the budget, each slot's counted as often as it has elements, since so do its bits.
        Raises InfeasibleBudget with the smallest reachable values.
        """
        own = {name: own_bits(by_bits) for name, by_bits in preferences.items()}
        if self.budget is None:
            return own, {name: f"{bits} bits: the only candidate" for name, bits in own.items()}
        if predicted is None:
            counted = {n: {b: self.slots[n].elements * p for b, p in row.items()} for n, row in preferences.items()}
            chosen = self._cheapest(counted)
        else:
            allowed = {n: {b: predicted[n][b] for b in row} for n, row in preferences.items()}
            taken = self._cheapest({n: {b: p for b, p in row.items() if b <= own[n]} for n, row in allowed.items()})
            chosen = self._cheapest({n: {b: p for b, p in row.items() if b >= taken[n]} for n, row in allowed.items()})
            if share_of_budget(self.costs_of(chosen), self.budget.limits()) < USED:
                chosen = self._cheapest(allowed)
        return chosen, {name: _reason(self, name, own[name], chosen[name]) for name in chosen}

    def costs_of(self, bits: Mapping[str, int]) -> dict[str, float]:
        """What bits by slot cost of every limited resource."""
        by_site = {site: bits[slot] for site, slot in self.slot_of.items()}
        limits = limits_of(self.budget)
        return {name: cost_of(self.cost_models[name], self.inventory, by_site) for name in limits}

    def _cheapest(self, losses: Mapping[str, Mapping[int, float]]) -> dict[str, int]:
        """The bits of least total loss within the budget, by slot. losses: of what each slot may take."""
        assert self.budget is not None
        first = {slot: site for site, slot in reversed(list(self.slot_of.items()))}
        bits = {site: sorted(losses[slot]) for site, slot in self.slot_of.items()}
        rows = {
            site: [losses[slot][b] * (first[slot] == site) for b in bits[site]] for site, slot in self.slot_of.items()
        }
        solution = allocate(self.inventory, bits, rows, self.budget, self.cost_models)
        return {slot: solution.bits[site] for slot, site in first.items()}

    def recipe(self, grids: Mapping[str, Grid], reasons: Mapping[str, str], meta: Mapping[str, str]) -> Recipe:
        """The recipe of hardened grids, by slot."""
        bits = {site: grids[slot].bits for site, slot in self.slot_of.items()}
        limits = limits_of(self.budget)
        return Recipe.from_inventory(
            self.inventory,
            {site: grids[slot] for site, slot in self.slot_of.items()},
            known_targets.for_recipe(self.target),
            self.method.name,
            reasons={site: reasons[slot] for site, slot in self.slot_of.items()},
            budget=limits,
            costs=known_costs(self.cost_models, self.inventory, bits, limits),
            meta=dict(meta),
        )


def trainable(method: str | TrainingMethod) -> TrainingMethod:
    """The training method of this name, or the value itself; raises MPQError where it does not train."""
    found = training_of(registry.host().method(method))
    if not isinstance(found, TrainingMethod):
        known = [name for name, m in registry.host().methods().items() if training_of(m) is not None]
        raise MPQError(
            f"method {getattr(method, 'name', method)!r} does not train; those that do are {', '.join(known)}"
        )
    wrong = check_contract(found)
    if wrong:
        raise MPQError(f"method {found.name!r}: {wrong}")
    return found


def own_bits(preferences: Mapping[int, float]) -> int:
    """The bits that a slot would rather have than any others; the fewer of equal ones.

    >>> own_bits({2: 0.7, 4: 0.0, 8: 0.0})
    4
    """
    return min(preferences, key=lambda bits: (preferences[bits], bits))


def own_choices(
    plan: TrainingPlan, parameters: Mapping[str, Numbers], state: Mapping[str, Numbers]
) -> dict[str, dict[int, float]]:
    """What every slot would rather have: TrainingMethod.preferences, by slot."""
    return {
        name: dict(trains(plan.method, slot).preferences(slot, parameters[name], state[name]))
        for name, slot in plan.slots.items()
    }


def _input_axis(site: Site) -> int | None:
    """The axis of a weight's input channels: beside that of its outputs, which the framework's layout decides."""
    if site.channel_axis is None or site.op.startswith("depthwise") or len(site.shape) < 2:
        return None
    first, last = site.channel_axis == 0, site.channel_axis == len(site.shape) - 1
    if site.op.startswith("conv_transpose"):
        return 0 if site.channel_axis == 1 else len(site.shape) - 1
    return 1 if first else len(site.shape) - 2 if last else None


def _settled(method: TrainingMethod, slots: Mapping[str, Slot], limits: Mapping[str, float]) -> dict[str, Slot]:
    """The slots after the method's rule, if it has one, has fixed the bits of some."""
    fixed = method.settled_bits(tuple(slots.values()), limits)
    return {
        name: slot
        if name not in fixed
        else replace(slot, candidates=tuple(c for c in slot.candidates if c.bits == fixed[name]))
        for name, slot in slots.items()
    }


def _with_most_bits(slot: Slot) -> Slot:
    return replace(slot, candidates=slot.candidates[-1:])


def _reason(plan: TrainingPlan, slot: str, own: int, chosen: int) -> str:
    if len(plan.slots[slot].bits) == 1:
        return f"{chosen} bits: the only candidate"
    if own == chosen:
        return f"{chosen} bits: learned by {plan.method.name}"
    why = "moved to meet the budget" if chosen < own else "raised by what was left of the budget"
    return f"{chosen} bits: {plan.method.name} learned {own}, {why}"
