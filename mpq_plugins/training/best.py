"""The best state of a training that lies within its budget: what HMQ's and FDQMP's authors keep of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

State = TypeVar("State")


@dataclass
class BestWithinBudget(Generic[State]):
    """Keeps the state of highest accuracy whose costs are within their limits; of equal ones that which costs less.

    both: HMQ's rule instead (2007.09952, "Pareto best"): only what is more accurate and costs less than the kept.
    Costs count as their largest share of a limit. accuracy, used: of the kept state, None before there is one.

    >>> best = BestWithinBudget()
    >>> [best.offer(a, {"bits": b}, {"bits": 3.0}, name) for a, b, name in ((0.9, 3.2, "x"), (0.8, 3.0, "y"))]
    [False, True]
    >>> best.offer(0.8, {"bits": 2.9}, {"bits": 3.0}, "z"), best.state, round(best.used, 3)
    (True, 'z', 0.967)
    """

    both: bool = False
    accuracy: float | None = None
    used: float | None = None
    state: State | None = None

    def is_better(self, accuracy: float, costs: Mapping[str, float], limits: Mapping[str, float]) -> bool:
        """Whether a state of this accuracy and these costs would be kept."""
        used = share_of_budget(costs, limits)
        if not (accuracy == accuracy and used <= 1 + 1e-9):
            return False
        if self.accuracy is None or self.used is None:
            return True
        if self.both:
            return accuracy > self.accuracy and used < self.used
        return (accuracy, -used) > (self.accuracy, -self.used)

    def offer(self, accuracy: float, costs: Mapping[str, float], limits: Mapping[str, float], state: Any) -> bool:
        """Keep the state if it is better, which is returned. state: a value, or a function that copies it."""
        if not self.is_better(accuracy, costs, limits):
            return False
        self.accuracy, self.used = accuracy, share_of_budget(costs, limits)
        self.state = state() if callable(state) else state
        return True


def share_of_budget(costs: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """The largest share of a limit that is used; 0 without limits."""
    return max((costs[name] / limit for name, limit in limits.items()), default=0.0)
