"""total_activation_bytes: what all activations of a sample take together, FDQMP's measure beside the peak."""

from __future__ import annotations

from collections.abc import Sequence

from mpq_plugins.costs.cost_models import CostRow, CostTerm
from mpq_plugins.inventory import Inventory


class TotalActivationBytes:
    """Bytes of all activations together, for one sample."""

    unit = "bytes"

    def rows(self, inventory: Inventory) -> Sequence[CostRow]:
        """One row: the sum of elements * bits / 8 over activations."""

        def term(name: str, elements: int) -> CostTerm:
            return CostTerm((name,), lambda bits: elements / 8 * bits)

        return (CostRow("all activations", tuple(term(a.name, a.elements) for a in inventory.activations)),)
