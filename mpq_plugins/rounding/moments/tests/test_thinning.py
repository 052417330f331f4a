"""Thinning, against positions counted on an array."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins.rounding.moments.thinning import Thinning

SIZES = st.integers(1, 20)


@given(SIZES, SIZES, st.integers(1, 500), st.integers(0, 300))
def test_every_grain_looks_at_some_position_and_at_no_more_than_the_first(height, width, samples, grain):
    image = np.zeros((height, width))
    seen, most = (
        image[t.offset[0] :: t.every, t.offset[1] :: t.every].size
        for t in (Thinning.to_at_most(64, height, width, samples, g) for g in (grain, 0))
    )
    assert 1 <= seen <= most


def test_grains_take_turns_at_all_offsets():
    found = {Thinning.to_at_most(16, 8, 8, 4, grain).offset for grain in range(16)}
    assert found == {(i, j) for i in range(4) for j in range(4)}
