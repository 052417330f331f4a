"""Reach: whether a search gets down to its budget before its choices become final, and what that would take.

A search ends within its budget in any case: what is over it where choices become final is taken by predicted loss
(training.plan). But then nothing was learned about it, and whoever trains should know early.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.costs.budget import limits_of
from mpq_plugins.errors import BudgetWarning
from mpq_plugins.training.best import share_of_budget
from mpq_plugins.training.history import Record
from mpq_plugins.training.method import TrainingMethod
from mpq_plugins.training.plan import TrainingPlan
from mpq_plugins.training.settling import settling_step

LOOKS = (0.5, 0.75)
"""Shares of the way to the final choices at which the pace is looked at; a pace is that of the last quarter."""
SLACK = 1.05
"""Of the budget; what is nearer than this is not worth a word."""
_INSTEAD = "what is over it by then is taken by predicted loss instead of being learned"


def notice_at_start(plan: TrainingPlan, steps: int) -> str | None:
    """What to say of a search too short for its budget at the fastest pace of its method; None where it is not."""
    if plan.budget is None or settling_step(plan.method, steps) is None:
        return None
    wanted = uniform_bits(plan)
    needed = max((plan.method.least_steps(s.bits, wanted) for s in plan.slots.values() if len(s.bits) > 1), default=0)
    if steps >= needed:
        return None
    return (
        f"a search of {steps} steps with {plan.method.name} cannot reach the budget ({plan.budget}, about {wanted:.2g} "
        f"bits everywhere) before its choices become final: at its fastest it needs {needed} steps; {_INSTEAD}; give "
        f"steps={needed} or more"
    )


def notice_on_the_way(
    method: TrainingMethod, limits: Mapping[str, float], records: Sequence[Record], steps: int
) -> str | None:
    """What the newest record gives reason to say; None where it is no time to look, or the pace suffices.

    records: of the search so far, in order. steps: of the whole search.
    """
    final = settling_step(method, steps)
    if final is None or not limits or len(records) < 2:
        return None
    before, now = records[-2], records[-1]
    if now.step >= final or not any(before.step < look * final <= now.step for look in LOOKS):
        return None
    past = max((r for r in records[:-1] if r.step <= now.step - 0.25 * final), key=lambda r: r.step, default=records[0])
    used, was = (share_of_budget(record.resources, limits) for record in (now, past))
    pace, left = (was - used) / (now.step - past.step), final - now.step
    if used - pace * left <= SLACK:
        return None
    worst = max(limits, key=lambda name: now.resources[name] / limits[name])
    stands = (
        f"after {now.step} of the {final} steps before its choices become final, {method.name} stands at "
        f"{now.resources[worst]:.4g} of {worst} <= {limits[worst]:g}"
    )
    stronger = f"raise {method.pressure}" if method.pressure else "press harder"
    if pace <= 0:
        return f"{stands} and does not come nearer; {_INSTEAD}; {stronger}, or give more than {steps} steps"
    more = math.ceil((used - 1.0) / pace)
    enough = math.ceil(steps * (now.step + more) / final)
    return (
        f"{stands} and comes down by {pace * limits[worst]:.3g} a step: at this pace it needs {more} more steps, and "
        f"has {left}; {_INSTEAD}; give steps={enough} or more, or {stronger}"
    )


def warn(message: str | None) -> None:
    """Warn of what there is to say."""
    if message is not None:
        warnings.warn(message, BudgetWarning, stacklevel=3)


def uniform_bits(plan: TrainingPlan) -> float:
    """The most bits that all slots could have alike within the budget, each among its candidates; 0 if none.

    Between candidates costs are taken to change linearly, as in training.
    """
    limits = limits_of(plan.budget)
    slots = [plan.slots[name] for name in plan.costs.slots]
    fewest, most = (np.array([slot.bits[end] for slot in slots], np.float64) for end in (0, -1))
    tables = plan.costs.tables()

    def fits(bits: float) -> bool:
        spent = plan.costs.spent(NUMPY, np.clip(bits, fewest, most), tables)
        return all(float(s.cost) <= limits[s.resource] * (1 + 1e-9) for s in spent)

    low, high = float(fewest.min()), float(most.max())
    if fits(high):
        return high
    if not fits(low):
        return 0.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
