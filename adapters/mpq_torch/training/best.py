"""KeepBest: the best moment of a search within its budget, and the way back to it."""

from __future__ import annotations

import copy
from typing import Any

from mpq_plugins.costs.budget import limits_of
from mpq_plugins.errors import MPQError
from mpq_plugins.training.best import BestWithinBudget
from mpq_torch.training.search import Search


class KeepBest:
    """To be told an accuracy whenever the loop has one: ``best.look(accuracy)``; at the end ``best.restore()``.

    both: HMQ's rule, accuracy and compression must both improve (mpq_plugins.training.best). The state of the search
    is kept in memory, that of the optimizer is not.
    """

    def __init__(self, search: Search, both: bool = False) -> None:
        self.search = search
        self.best: BestWithinBudget[dict[str, Any]] = BestWithinBudget(both)

    def look(self, accuracy: float) -> bool:
        """Keep the search as it is now, if it is within the budget and better than what is kept."""
        limits = limits_of(self.search.plan.budget)
        state = lambda: copy.deepcopy(self.search.state_dict())  # noqa: E731
        return self.best.offer(float(accuracy), self.search.costs(), limits, state)

    def restore(self) -> float:
        """Bring the search back to the best moment; its accuracy. Raises MPQError where there was none."""
        if self.best.state is None or self.best.accuracy is None:
            raise MPQError("no moment that was looked at lay within the budget; look later, or harden the search")
        self.search.load_state_dict(self.best.state)
        return self.best.accuracy
