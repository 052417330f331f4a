"""Tables of error by brute force, and the arrays on which they are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpq_plugins.grid import Grid

COSTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mse": np.square,
    "mae": np.abs,
    "lp": lambda error: np.abs(error) ** 2.4,
}
KINDS = [(True, False), (True, True), (False, False)]

# multiples of a small power of two fall on rounding boundaries and on grid values; the rest is beyond
# the clip, below the finest step, denormal, or anything
awkward = st.one_of(
    st.integers(-(2**9), 2**9).map(lambda k: k / 64),
    st.floats(-3.0, 3.0, width=32),
    st.sampled_from([0.0, -0.0, 1e-38, -3e-42, 2.0**-13, -(2.0**-14), 1e20, -1e19, 1.0, -1.0, 0.5]),
)
kinds = st.sampled_from(KINDS)


def arrays(shape: object = None, dtype: type = np.float32) -> st.SearchStrategy[np.ndarray]:
    where = shape or hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6)
    return hnp.arrays(dtype, where, elements=awkward.map(lambda v: float(np.float32(v))))


def brute_force(
    x: np.ndarray,
    bits: Iterable[int],
    exponents: Iterable[int],
    signed: bool,
    narrow: bool,
    metric: str = "mse",
    weights: np.ndarray | None = None,
) -> np.ndarray:
    wide = np.asarray(x, dtype=np.float64)

    def mean_error(b: int, e: int) -> float:
        error = COSTS[metric](wide - Grid.power_of_two(b, e, signed, narrow).project(wide))
        return float(np.average(error, weights=weights))

    return np.array([[mean_error(b, e) for e in exponents] for b in bits])
