"""msqe in training and po2_gradient: steps follow the weights, freeze, and are those that harden returns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.papers.msqe_training import MsqeTraining
from mpq_plugins.papers.po2_gradient import Po2Gradient
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import Progress
from mpq_plugins.training.slot import Slot

X = np.array([[6.0, 5, 1], [8, 3, -8]])
PAPER = Candidate(4, True, False, narrow=True)
LAYER = Slot("w", "weight", (2, 3), (PAPER,))
CHANNELS = Slot("w", "weight", (2, 3), (Candidate(4, True, True, narrow=True),), axis=1)
ACTIVATION = Slot("x", "activation", (3,), (Candidate(4, False, False),))
METHODS = [MsqeTraining(), Po2Gradient(), Po2Gradient(rounding="ceil"), Po2Gradient(rounding="round")]
IDS = ["msqe", "po2_gradient", "po2_gradient-ceil", "po2_gradient-round"]


def begin(method, slot=LAYER, observed=X, progress=None):
    made = method.start(slot, observed)
    controls = method.controls(Bank.of([slot]), progress or Progress(0, 100, 100))
    return dict(made.parameters), dict(made.state) | {k: np.asarray(v) for k, v in controls.items()}


def step(method, slot, x, parameters, state):
    y, updates = OneGroup(method, slot).quantize(x, parameters, state, True)
    return y, state | dict(updates)


def test_msqe_starts_where_nothing_is_clipped():
    assert begin(MsqeTraining())[1]["exponent"] == 0
    sixteen = np.array([[6.0, 5, 1], [16, 3, -8]])
    assert begin(MsqeTraining(), observed=sixteen)[1]["exponent"] == 1
    channels = np.array([[6.0, 2, 1], [8, 3, -16]])
    assert begin(MsqeTraining(), CHANNELS, channels)[1]["exponent"].tolist() == [0, -1, 1]


def test_po2_gradient_starts_at_three_standard_deviations():
    assert begin(Po2Gradient())[0]["exponent"] == pytest.approx(1.152822, abs=1e-6)
    other = np.array([[6.0, 5, 1], [1, 3, -1]])
    assert begin(Po2Gradient(), observed=other)[0]["exponent"] == pytest.approx(0.06, abs=5e-3)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
@pytest.mark.parametrize("slot", [LAYER, CHANNELS], ids=["layer", "channels"])
def test_evaluation_is_on_the_hardened_grid_and_that_of_the_last_step(method, slot):
    parameters, state = begin(method, slot)
    y, state = step(method, slot, X, parameters, state)
    evaluated, updates = OneGroup(method, slot).quantize(X, parameters, state, False)
    grid = method.harden(slot, parameters, state)
    assert not updates
    assert grid.is_power_of_two
    np.testing.assert_array_equal(evaluated, grid.project(X))
    np.testing.assert_array_equal(y, evaluated)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_an_all_zero_weight_gets_a_grid(method):
    parameters, state = begin(method, observed=np.zeros((2, 3)))
    y, state = step(method, LAYER, np.zeros((2, 3)), parameters, state)
    assert np.all(y == 0)
    assert np.isfinite(method.harden(LAYER, parameters, state).step)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_a_weight_that_is_not_finite_is_named(method):
    with pytest.raises(NonFiniteValues, match="site 'w'"):
        method.start(LAYER, np.array([[1.0, np.nan, 0], [0, 0, 0]]))


@pytest.mark.parametrize("method", [*METHODS, MsqeTraining(learned_up_to=4)], ids=[*IDS, "msqe-learned"])
def test_an_activation_starts_at_the_step_of_least_error_of_its_calibration(method):
    histogram = Histogram()
    values = np.random.default_rng(0).exponential(size=4096).astype(np.float32)
    histogram.update(values)
    parameters, state = begin(method, ACTIVATION, histogram)
    _, state = step(method, ACTIVATION, values[:3], parameters, state)
    errors = {e: np.square(ACTIVATION.grid(4, 2.0**e).project(values) - values).sum() for e in range(-8, 2)}
    assert method.harden(ACTIVATION, parameters, state).step == 2.0 ** min(errors, key=errors.get)


@pytest.mark.parametrize(
    "method",
    [MsqeTraining(learned_up_to=4), Po2Gradient(activation_rate=0.1)],
    ids=["msqe", "po2_gradient"],
)
@pytest.mark.parametrize(("sign", "octaves"), [(1.0, -1), (-1.0, 1)])
def test_an_activations_exponent_follows_its_gradient_at_its_own_pace_and_stays_without_one(method, sign, octaves):
    """It starts half an octave below the step in use: at .1 octaves a step, 6 steps lead to the next or past it."""
    histogram = Histogram()
    histogram.update(np.random.default_rng(0).exponential(size=4096).astype(np.float32))
    parameters, state = begin(method, ACTIVATION, histogram)
    first, x = method.harden(ACTIVATION, parameters, state).step, np.zeros(3)
    for gradient in [np.nan, *[sign] * 6]:
        moved = {"exponent": parameters["exponent"] - 1e-3 * gradient}
        found, updates = OneGroup(method, ACTIVATION).after_step(moved, parameters, state)
        parameters, state = dict(found), state | dict(updates)
    _, state = step(method, ACTIVATION, x, parameters, state)
    assert method.harden(ACTIVATION, parameters, state).step == first * 2.0**octaves
    assert not begin(MsqeTraining(), ACTIVATION, histogram)[0]  # 4 bits, one more than are learned


@pytest.mark.parametrize(
    "method", [MsqeTraining(outlier_sigma=None), Po2Gradient(outlier_mask=False)], ids=["msqe", "po2"]
)
def test_an_exponent_is_frozen_at_its_moving_average_for_the_end_of_the_training(method):
    parameters, state = begin(method)
    for scale in (1.0, 2.0, 2.0, 2.0):
        _, state = step(method, LAYER, X * scale, parameters, state)
    stable = float(state["stable"])
    late = {k: np.asarray(v) for k, v in method.controls(Bank.of([LAYER]), Progress(80, 100, 100)).items()}
    _, state = step(method, LAYER, X * 64, parameters, state | late)
    assert method.harden(LAYER, parameters, state).step == 2.0 ** np.rint(stable)
    assert float(state["stable"]) == stable


def test_the_stable_exponent_averages_with_the_first_value_copied():
    # the published example: exponents 0, 1, 2 by channel, then 0 in each, with a decay of 0.99
    method = MsqeTraining(outlier_sigma=None, second_moments=False)
    ones = np.tile([[7.0], [-7.0]], (1, 3))
    parameters, state = begin(method, CHANNELS, ones * [1, 2, 4])
    _, state = step(method, CHANNELS, ones * [1, 2, 4], parameters, state)
    assert state["stable"].tolist() == [0, 1, 2]
    _, state = step(method, CHANNELS, ones, parameters, state)
    np.testing.assert_allclose(state["stable"], [0, 0.99, 1.98])
    assert state["exponent"].tolist() == [0, 0, 0]


@given(st.integers(-6, 6))
def test_scaling_a_weight_by_a_power_of_two_scales_its_step(shift):
    method = MsqeTraining(outlier_sigma=None)
    grids = []
    for x in (X, X * 2.0**shift):
        parameters, state = begin(method, observed=x)
        _, state = step(method, LAYER, x, parameters, state)
        grids.append(method.harden(LAYER, parameters, state))
    assert grids[1].step == grids[0].step * 2.0**shift


def test_hyper_parameters_that_mean_nothing_are_refused():
    with pytest.raises(MPQError, match="no rounding 'floor'"):
        Po2Gradient(rounding="floor")
    with pytest.raises(MPQError, match="outlier_sigma"):
        MsqeTraining(outlier_sigma=-1)


@pytest.mark.parametrize(("push", "moved"), [(0.1, 0.1), (-0.2, -0.2), (7.0, 0.25), (-1e9, -0.25), (np.nan, 0.0)])
def test_an_exponent_moves_no_further_than_its_rate_and_not_at_all_by_no_number(push, moved):
    parameters, state = begin(Po2Gradient())
    before = {"exponent": np.float32(parameters["exponent"])}
    pushed = {"exponent": before["exponent"] + np.float32(push)}
    kept, _ = OneGroup(Po2Gradient(), LAYER).after_step(pushed, before, state)
    assert kept["exponent"] - before["exponent"] == pytest.approx(moved, abs=1e-6)


@pytest.mark.parametrize("method", [MsqeTraining(outlier_sigma=None), Po2Gradient(outlier_mask=False)], ids=IDS[:2])
def test_second_moments_act_from_the_first_gradient_on_whatever_its_size(method):
    """By brute force: the exponent of least error weighed by the size of the gradients, of the two or all there are."""
    x = np.array([[6.6, 5, 1], [8.5, 3, -8]])
    parameters, state = begin(method, observed=x)
    _, state = step(method, LAYER, x, parameters, state)
    for size in (1e-6, 1.0, 1e3):
        gradient = size * np.array([[1e-3, 1, 1], [1e-3, 1, 1e-3]])
        state |= dict(OneGroup(method, LAYER).after_backward(x, gradient, parameters, state))
        if isinstance(method, Po2Gradient):
            parameters = {"exponent": np.array(0.5)}
        _, found = step(method, LAYER, x, parameters, state | {"exponent": np.array(0.0)})
        errors = {e: (np.abs(gradient) * (PAPER.grid(e + 3).project(x) - x) ** 2).sum() for e in (-1, 0, 1)}
        assert found["rounded" if isinstance(method, Po2Gradient) else "exponent"] == min(errors, key=errors.get) == 0
        state["moments"] = np.zeros((2, 3))


def test_rounding_to_lower_error_may_begin_later():
    method = Po2Gradient(msqe_from=0.5, second_moments=False, outlier_mask=False, stable_from=None)
    for share, expected in ((10, 1.0), (60, 0.0)):
        parameters, state = begin(method, observed=X, progress=Progress(share, 100, 100))
        parameters = {"exponent": np.array(np.log2(1.5))}
        assert step(method, LAYER, X, parameters, state)[1]["rounded"] == expected
