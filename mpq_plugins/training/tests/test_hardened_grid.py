"""A slot keeps what its method learned at its own bits; a weight moved to others gets the grid that fits it now."""

import numpy as np
import pytest

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.training.hardened_grid import hardened_grid
from mpq_plugins.training.plan import own_bits, trainable
from mpq_plugins.training.slot import Slot

BITS = (2, 3, 4, 8)
SEARCHING = ("hmq", "sdq", "fdqmp")


def slot(axis=None, kind="weight"):
    return Slot("w", kind, (8, 4, 3, 3), tuple(Candidate(b, True, axis is not None, False) for b in BITS), axis, 1)


def started(method, where, weight):
    start = method.start(where, weight)
    state = {name: np.asarray(value, dtype=np.float64) for name, value in start.state.items()}
    return {name: np.asarray(value, dtype=np.float64) for name, value in start.parameters.items()}, state


def least_error(weight, bits, axis):
    """By brute force over thresholds, per channel where there is an axis."""
    rows = weight.reshape(1, -1) if axis is None else np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    errors = [[np.sum((Grid.power_of_two(bits, e).project(row) - row) ** 2) for e in range(-20, 5)] for row in rows]
    return np.min(errors, axis=1).sum()


@pytest.mark.parametrize("axis", [None, 0], ids=["tensor", "channel"])
@pytest.mark.parametrize("name", SEARCHING)
def test_a_weight_that_was_moved_gets_the_least_error_of_what_it_has_become(name, axis):
    method, where = trainable(name), slot(axis)
    weight = np.random.default_rng(0).normal(0, 0.3, where.shape)
    numbers = started(method, where, weight)
    own = own_bits(method.preferences(where, *numbers))
    now = weight / 64  # at the thresholds of the start all of it would round to zero at 2 bits
    for bits in set(BITS) - {own}:
        grid = hardened_grid(method, where, *numbers, bits, now)
        assert grid.bits == bits
        assert grid.axis == axis
        assert np.sum((grid.project(now) - now) ** 2) == pytest.approx(least_error(now, bits, axis), rel=1e-9)


@pytest.mark.parametrize("name", SEARCHING)
def test_at_its_own_bits_and_for_activations_the_method_has_the_word(name):
    method, where = trainable(name), slot()
    weight = np.random.default_rng(0).normal(0, 0.3, where.shape)
    numbers = started(method, where, weight)
    own = own_bits(method.preferences(where, *numbers))
    assert hardened_grid(method, where, *numbers, own, weight / 64) == method.harden(where, *numbers, own)
    for bits in BITS:
        assert hardened_grid(method, where, *numbers, bits, None) == method.harden(where, *numbers, bits)


def test_a_moved_weight_that_is_not_finite_is_refused():
    method, where = trainable("hmq"), slot()
    weight = np.ones(where.shape)
    numbers = started(method, where, weight)
    own = own_bits(method.preferences(where, *numbers))
    with pytest.raises(NonFiniteValues):
        hardened_grid(method, where, *numbers, min(set(BITS) - {own}), weight * np.nan)
