"""Request: what a user asks of a post-training search, the same words in every adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpq_plugins import plugins
from mpq_plugins.budget import Budget
from mpq_plugins.errors import MPQError
from mpq_plugins.headroom import with_headroom
from mpq_plugins.inventory import Inventory
from mpq_plugins.latency_table import LatencyTable
from mpq_plugins.problem import Bits, MeasuredModel, Problem, candidates_for, check_budget
from mpq_plugins.recipe import Recipe
from mpq_plugins.targets import Target

FLOAT_OPS = "float_ops"
"""Entry of ``Recipe.meta`` that lists the ops which stay float."""


@dataclass(frozen=True)
class Request:
    """Target and method by name (or value), budget, and the candidates that the user allows.

    weight_bits, activation_bits: candidates: a number, several, or a mapping from patterns of site
        names to either; None for all that the target has. per_channel: None takes one step per
        output channel wherever the target has it. latency: what ``Budget(latency_ms=...)`` counts.

    Raises TargetError, PluginError or MPQError for a name that is not registered or trains.
    """

    target: str | Target
    method: str = "msqe"
    budget: Budget | None = None
    weight_bits: Bits = None
    activation_bits: Bits = None
    per_channel: bool | None = None
    latency: LatencyTable | None = None
    progress: bool | None = None

    __hash__ = None  # type: ignore[assignment]  # holds mappings

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", plugins.target(self.target))
        kind = getattr(plugins.method(self.method), "kind", None)
        if kind != "post-training":
            raise MPQError(f"method {self.method!r} is of kind {kind!r}; a search takes post-training methods")

    def check(self, inventory: Inventory) -> None:
        """Refuse what cannot work before anything is measured; raises as candidates_for does."""
        check_budget(self._candidates(inventory), self.budget)

    def search(self, measured: MeasuredModel, framework: str, float_ops: tuple[str, ...] = ()) -> Recipe:
        """The recipe that the method finds. framework: name and version, for the record."""
        candidates = self._candidates(measured.inventory)
        check_budget(candidates, self.budget)
        costs = dict(plugins.cost_models()) | ({} if self.latency is None else {"latency_ms": self.latency})
        meta = {"framework": framework} | ({FLOAT_OPS: ", ".join(float_ops)} if float_ops else {})
        assert isinstance(self.target, Target)
        problem = Problem(measured, self.target, candidates, self.budget, costs, meta, self.progress)
        recipe: Recipe = plugins.method(self.method).search(problem)
        biases = {site.name: measured.bias(site.name) for site in measured.inventory.weights}
        return with_headroom(recipe, measured.inventory, biases)

    def _candidates(self, inventory: Inventory) -> dict[str, Any]:
        assert isinstance(self.target, Target)
        return candidates_for(inventory, self.target, self.weight_bits, self.activation_bits, self.per_channel)


def float_ops_of(meta: Mapping[str, str]) -> tuple[str, ...]:
    """The ops that a recipe with this meta leaves in float.

    >>> float_ops_of({"float_ops": "gelu, softmax"}), float_ops_of({})
    (('gelu', 'softmax'), ())
    """
    return tuple(name for name in meta.get(FLOAT_OPS, "").split(", ") if name)
