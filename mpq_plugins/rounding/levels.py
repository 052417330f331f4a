"""The codes that rows of a weight may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.rounding.moments.layer_moments import Array


@dataclass(frozen=True)
class Levels:
    """Step, lowest and highest code of every row, [groups, rows]."""

    step: Array
    low: Array
    high: Array

    def nearest(self, values: NDArray[Any]) -> NDArray[Any]:
        """Codes of values [..., groups, rows]: half to even, clipped."""
        return np.clip(np.rint(values / self.step), self.low, self.high)

    def rows(self, part: slice) -> Levels:
        """Those of some rows of every group."""
        return Levels(self.step[:, part], self.low[:, part], self.high[:, part])
