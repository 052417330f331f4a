"""fisher: the rise of the loss that a Kronecker-factored Fisher matrix predicts; one backward pass for all sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpq_plugins.allocation.by_bits import non_increasing
from mpq_plugins.inventory import Site
from mpq_plugins.papers.msqe import Msqe
from mpq_plugins.search_input import Problem
from mpq_plugins.sensitivity.rating import Rates


@dataclass(frozen=True)
class SecondOrder:
    """``1/2 tr(F dW A dW^T)`` of each candidate (sensitivity.predicted_loss); what method msqe allocates by."""

    name: str = "fisher"

    def rate(self, problem: Problem, sites: Sequence[Site]) -> Rates:
        """See Sensitivity.rate."""
        rated = Msqe().rate(problem)
        return {s.name: non_increasing({bits: loss for bits, (_, loss) in rated[s.name].items()}) for s in sites}
