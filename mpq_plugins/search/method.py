"""PostTrainingMethod: what a method that searches grids consists of. A new paper is one subclass in one file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from mpq_plugins.allocation.allocator import Allocation, allocate
from mpq_plugins.costs.budget import limits_of
from mpq_plugins.costs.cost_models import known_costs
from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.inventory import Site
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search.workers import side_by_side
from mpq_plugins.search_input import Problem, RatedSideBySide
from mpq_plugins.sensitivity.ratings import Rated, Ratings, losses
from mpq_plugins.terminal.progress import stage
from mpq_plugins.training.method import TrainingMethod


class PostTrainingMethod:
    """A way to find the grids of a trained model from what was measured of it; a value without state.

    Subclass it as a frozen dataclass whose fields are hyper-parameters, give ``name``, ``summary`` and ``paper``, and
    override ``search``. A method that gives each candidate of each site a loss is a RatingMethod, which has more.

    training: the same paper's method while training, where there is one.
    remeasures: whether the converted model's latency should be measured beside what the table predicts.
    """

    name: str
    summary: str
    paper: str = ""
    kind: ClassVar[str] = "post-training"
    training: TrainingMethod | None = None
    remeasures: ClassVar[bool] = False

    def search(self, problem: Problem) -> Recipe:
        """A recipe within the budget, with a grid among the candidates for every site, and a reason for each.

        ``Recipe.from_inventory`` makes one. Raises InfeasibleBudget, as ``allocation.allocate`` does, where nobody can
        meet the budget, and NonFiniteValues, naming the site, for values that are no numbers.
        """
        raise NotImplementedError


AHEAD = 8
"""Times the number of threads, groups that are begun, or rated and not yet taken: activations cost little."""


class RatingMethod(PostTrainingMethod):
    """A method that rates the candidates of each site by a loss that adds up, and chooses bits by the sum.

    Override ``rate_group``. What is here does the rest: the choice of least total loss within the budget, searches
    that go on after an interruption (``known`` and ``keep``), and fronts (``mpq pareto``).

    rates_side_by_side: whether several threads may call ``rate_group`` at once.
    """

    rates_side_by_side: ClassVar[bool] = False

    def rate_group(self, problem: Problem, group: Sequence[Site]) -> Mapping[str, Mapping[int, Rated]]:
        """For each site of the group, by bits of its candidates in their order: the grid, and what it would lose.

        group: sites that must share one grid, all weights or all activations; most are alone. A weight's grid is for
        its shape in the framework (``Site.channel_axis``). Losses are finite, 0 or more, and add up between sites.
        Raises NonFiniteValues.
        """
        raise NotImplementedError

    def effort(self, problem: Problem, group: Sequence[Site]) -> float:
        """What ``rate_group`` costs beside other groups, above 0, in any unit; it tells how much time is left."""
        return 1.0

    def search(self, problem: Problem) -> Recipe:
        """Rate every candidate of every site, and allocate bits under the budget.

        Raises InfeasibleBudget, and NonFiniteValues naming the site.
        """
        return self.choose(problem, self.rate(problem))

    def rate(
        self, problem: Problem, known: Ratings = MappingProxyType({}), keep: Callable[[Ratings], None] | None = None
    ) -> Ratings:
        """The grid and the loss of every candidate of every site; the budget plays no part.

        known: ratings from before; sites that they hold are not rated again. keep: is given the ratings of
        each group of sites as soon as they are there.
        Raises NonFiniteValues naming the site, and MPQError for losses that are no numbers.
        """
        rated: dict[str, Mapping[int, Rated]] = dict(known)
        groups = [g for g in problem.model.inventory.groups().values() if any(site.name not in known for site in g)]
        efforts = [self.effort(problem, group) for group in groups]

        def rate(group: Sequence[Site]) -> Mapping[str, Mapping[int, Rated]]:
            try:
                new = dict(self.rate_group(problem, group))
            except NonFiniteValues as error:
                raise NonFiniteValues(f"site {group[0].name!r}: {error}") from None
            self._check(problem, group, new)
            return new

        model = problem.model
        several = model.workers if self.rates_side_by_side and isinstance(model, RatedSideBySide) else 1
        with (
            stage("rating candidates", problem.progress, sum(efforts)) as advance,
            side_by_side(several) as workers,
        ):
            for new, effort in zip(workers.ordered(rate, groups, AHEAD), efforts, strict=True):
                rated |= new
                if keep is not None:
                    keep(new)
                advance(effort)
        return {site.name: rated[site.name] for site in problem.model.inventory}

    def choose(self, problem: Problem, ratings: Ratings, allocation: Allocation | None = None) -> Recipe:
        """The recipe of lowest total loss within the budget, or of an allocation. Raises InfeasibleBudget."""
        inventory, table = problem.model.inventory, losses(ratings)
        if problem.budget is not None and allocation is None:
            bits = {name: list(by_bits) for name, by_bits in ratings.items()}
            with stage("choosing bits", problem.progress):
                allocation = allocate(inventory, bits, table, problem.budget, problem.cost_models)
        if allocation is None:
            chosen = {name: next(iter(by_bits)) for name, by_bits in ratings.items()}
            reasons: Mapping[str, str] = {name: f"{b} bits: the only candidate" for name, b in chosen.items()}
        else:
            chosen, reasons = dict(allocation.bits), allocation.reasons
        limits = limits_of(problem.budget)
        loss = math.fsum(dict(zip(ratings[name], table[name], strict=True))[b] for name, b in chosen.items())
        return Recipe.from_inventory(
            inventory,
            {name: ratings[name][b][0] for name, b in chosen.items()},
            problem.target.name,
            self.name,
            reasons=reasons,
            budget=limits,
            costs=known_costs(problem.cost_models, inventory, chosen, limits),
            shadow_prices={} if allocation is None else allocation.shadow_prices,
            predicted={"loss": loss},
            meta=problem.meta,
        )

    def _check(self, problem: Problem, group: Sequence[Site], new: Mapping[str, Mapping[int, Rated]]) -> None:
        """Raise MPQError unless what ``rate_group`` gave has all candidates of all sites, with finite losses."""
        for site in group:
            wanted = [candidate.bits for candidate in problem.candidates[site.name]]
            found = list(new.get(site.name, ()))
            if found != wanted:
                raise MPQError(f"method {self.name!r} rates {found} bits for site {site.name!r}, which has {wanted}")
            wrong = {b: loss for b, (_, loss) in new[site.name].items() if not (math.isfinite(loss) and loss >= 0)}
            if wrong:
                raise MPQError(f"method {self.name!r} gives site {site.name!r} the losses {wrong}, by bits")


def check_contract(method: PostTrainingMethod) -> str | None:
    """What is missing of a post-training method; None where it keeps the contract."""
    own = type(method)
    if own.search is PostTrainingMethod.search:
        return "it overrides neither PostTrainingMethod.search nor RatingMethod.rate_group"
    rates = isinstance(method, RatingMethod) and (type(method).rate, type(method).rate_group)
    if rates == (RatingMethod.rate, RatingMethod.rate_group):
        return "it does not override RatingMethod.rate_group"
    return None
