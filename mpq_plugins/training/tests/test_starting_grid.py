"""Whether training begins on grids that hold what the network computes."""

import numpy as np
import pytest

from mpq_plugins import Grid
from mpq_plugins.errors import MPQError
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.starting_grid import check_holds, saturating


def histogram(values):
    found = Histogram()
    found.update(np.asarray(values, np.float64))
    return found


SEEN = {"wide": histogram([0, 0, 0, 3.0, 5.0, 9.0]), "narrow": histogram([0, 0.5, -0.5, 9.0])}
GRIDS = {"wide": Grid.power_of_two(4, 1), "narrow": Grid.power_of_two(4, 1)}  # up to 2


def test_those_of_which_more_than_half_the_values_beside_zeros_are_clipped_saturate():
    assert saturating(GRIDS, SEEN) == ["wide"]


def test_the_first_of_them_is_refused_by_name():
    check_holds({**GRIDS, "wide": Grid.power_of_two(4, 3)}, SEEN)
    with pytest.raises(MPQError, match=r"site 'wide': 100% of its values in training lie beyond .*threshold 2\^1"):
        check_holds(GRIDS, SEEN)
