"""ExpectedBits: the bits of all slots at the moment, and what they cost, on the device of the banks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mpq_plugins.training.method import Spent
from mpq_plugins.training.plan import TrainingPlan
from mpq_torch.array_ops.ops import TORCH
from mpq_torch.training.grid_bank import GridBank

_ORDER, _TABLE = "place among all banks", "table "


class ExpectedBits:
    """The banks of a plan, put in the order of its cost tables, which the first bank carries about."""

    def __init__(self, plan: TrainingPlan, banks: Sequence[GridBank]) -> None:
        self._plan, self._banks = plan, tuple(banks)
        names = [slot.name for bank in banks for slot in bank.plain.slots]
        carrier = self._banks[0]
        carrier.hold(_ORDER, np.array([names.index(name) for name in plan.costs.slots], np.int64))
        for name, values in plan.costs.tables().items():
            carrier.hold(_TABLE + name, values)

    def now(self) -> Tensor:
        """Bits of every slot, [slots], with gradient, in the order of the plan's costs."""
        parts = [bank.expected_bits() for bank in self._banks]
        return torch.index_select(torch.cat(parts), 0, self._banks[0].held[_ORDER])

    def spent(self, expected: Tensor) -> tuple[Spent, ...]:
        """What every limited resource costs at these bits."""
        held = self._banks[0].held
        tables = {name.removeprefix(_TABLE): value for name, value in held.items() if name.startswith(_TABLE)}
        return self._plan.costs.spent(TORCH, expected, tables)
