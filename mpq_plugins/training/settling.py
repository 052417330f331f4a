"""Settling: what a host does once in a search, where the method's choices become final."""

from __future__ import annotations

from collections.abc import Mapping

from mpq_plugins.training.method import Progress, TrainingMethod
from mpq_plugins.training.predicting import MEASURED_STEPS


def settling_step(method: TrainingMethod, steps: int) -> int | None:
    """After how many steps of a search choices become final; None where nothing is chosen.

    >>> from mpq_plugins.papers.hmq import Hmq
    >>> settling_step(Hmq(search_share=0.6), 1000)
    600
    """
    share = method.settles_at()
    return None if share is None else max(1, min(steps, round(share * steps)))


def is_measured(method: TrainingMethod, progress: Progress) -> bool:
    """Whether the gradients of the step that comes next count for the prediction of losses."""
    at = settling_step(method, progress.steps)
    return at is not None and at - MEASURED_STEPS <= progress.step < at


def mean_energies(sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Squared gradients of a step by slot, from their sum and the number of steps; of those that were measured.

    >>> mean_energies({"a": (6.0, 3.0), "b": (0.0, 0.0)})
    {'a': 2.0}
    """
    return {name: total / steps for name, (total, steps) in sums.items() if steps}
