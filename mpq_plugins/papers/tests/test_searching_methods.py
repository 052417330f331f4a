"""hmq, sdq and fdqmp on every kind of slot: what a search may rely on, whatever the method."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.papers.fdqmp import Fdqmp
from mpq_plugins.papers.hmq import Hmq
from mpq_plugins.papers.sdq import Sdq
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.tests.training_cases import CASES, at, begin, slot, wander
from mpq_plugins.training.method import Progress, Spent

METHODS = {
    "hmq": Hmq(),
    "hmq-paper-start": Hmq(error_prior=0.0),
    "hmq-mirrored": Hmq(mirrored=True),
    "sdq": Sdq(),
    "sdq-kernel": Sdq(granularity="kernel"),
    "fdqmp": Fdqmp(),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
every_case = pytest.mark.parametrize(("case", "x"), CASES.values(), ids=CASES)


@every_method
@every_case
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**16), steps=st.sampled_from([1, 7, 60]))
def test_evaluation_is_exactly_on_the_hardened_grid(method, case, x, seed, steps):
    parameters, state = wander(method, case, x, steps, seed)
    y, updates = OneGroup(method, case).quantize(x, parameters, state, False)
    grid = method.harden(case, parameters, state)
    assert not updates
    assert grid.is_power_of_two
    assert grid.bits in case.bits
    np.testing.assert_array_equal(y, grid.project(x))


@every_method
@every_case
def test_shapes_and_types_stay_as_they_are(method, case, x):
    start = begin(method, case, x)
    end = wander(method, case, x, 9, 3)
    for before, after in zip(start, end, strict=True):
        assert {k: np.shape(v) for k, v in before.items()} == {k: np.shape(v) for k, v in after.items()}
        assert all(np.all(np.isfinite(v)) for v in after.values())
    assert all(v.dtype == np.float32 for v in start[0].values())


@every_method
@every_case
def test_the_own_choice_costs_nothing_and_every_other_more(method, case, x):
    for seed in range(4):
        parameters, state = wander(method, case, x, 30, seed)
        preferences = method.preferences(case, parameters, state)
        own = method.harden(case, parameters, state).bits
        assert sorted(preferences) == list(case.bits)
        assert preferences[own] == 0
        assert all(cost > 0 and np.isfinite(cost) for b, cost in preferences.items() if b != own)


@pytest.mark.parametrize("method", [METHODS["sdq"], METHODS["fdqmp"]], ids=["sdq", "fdqmp"])
@every_case
def test_preferences_grow_with_the_distance_from_the_own_choice(method, case, x):
    for seed in range(4):
        parameters, state = wander(method, case, x, 30, seed)
        preferences = method.preferences(case, parameters, state)
        own = method.harden(case, parameters, state).bits
        below = [preferences[b] for b in case.bits if b <= own]
        above = [preferences[b] for b in case.bits if b >= own]
        assert below == sorted(below, reverse=True)
        assert above == sorted(above)


@every_method
@every_case
def test_any_candidate_can_be_hardened(method, case, x):
    parameters, state = wander(method, case, x, 20, 1)
    for bits in case.bits:
        grid = method.harden(case, parameters, state, bits)
        assert (grid.bits, grid.axis, grid.signed, grid.narrow) == (bits, case.axis, case.signed, case.narrow)
        assert grid.is_power_of_two
    with pytest.raises(MPQError, match=r"site 'site' has the candidates .* not 5 bits"):
        method.harden(case, parameters, state, 5)


@every_method
@every_case
def test_once_frozen_nothing_moves_and_training_is_on_the_hardened_grid(method, case, x):
    if method.__class__ is Hmq and method.mirrored:
        return
    parameters, state = wander(method, case, x, 30, 5)
    assert state["frozen"] == 1
    grid = method.harden(case, parameters, state)
    y, _ = OneGroup(method, case).quantize(x, parameters, state, True)
    np.testing.assert_array_equal(y, grid.project(x))
    moved = {name: value + np.float32(0.1) for name, value in parameters.items()}
    kept, updates = OneGroup(method, case).after_step(moved, parameters, state)
    assert all(np.array_equal(kept[name], parameters[name]) for name in parameters)
    assert method.harden(case, parameters, state | updates) == grid
    assert float(np.mean(OneGroup(method, case).expected_bits(parameters, state))) <= grid.bits


@every_method
def test_the_choice_costs_its_own_bits_once_frozen(method):
    case, x = CASES["tensor"]
    parameters, state = wander(method, case, x, 40, 11)
    assert OneGroup(method, case).expected_bits(parameters, state) == method.harden(case, parameters, state).bits


@every_method
def test_expected_bits_lie_between_the_candidates(method):
    for case, x in CASES.values():
        for step in (0, 200, 400):
            parameters, state = wander(method, case, x, 20, step)
            state = at(method, case, state, Progress(step, 1000, 100))
            bits = np.asarray(OneGroup(method, case).expected_bits(parameters, state))
            assert bits.shape in {(), case.step_shape}
            assert np.all((bits >= case.bits[0] - 1e-4) & (bits <= case.bits[-1] + 1e-4))


@every_method
def test_the_penalty_is_zero_within_the_budget_and_grows_beyond(method):
    case, x = CASES["tensor"]
    for step in (150, 550):
        state = at(method, case, begin(method, case, x)[1], Progress(step, 1000, 100))

        def penalty(cost, state=state):
            return float(method.penalty(NUMPY, [Spent("average_weight_bits", np.float64(cost), 3.0, 32.0)], state))

        assert penalty(3.0) == penalty(2.0) == 0
        assert 0 < penalty(8.5) < penalty(12.0)
    assert penalty(3.5) > 0
    assert method.penalty(NUMPY, [], state) == 0


@every_method
def test_a_weight_that_is_not_finite_is_refused(method):
    case, x = CASES["tensor"]
    bad = x.copy()
    bad[0, 0, 0, 0] = np.nan
    with pytest.raises(NonFiniteValues, match="NaN"):
        method.start(case, bad)


@every_method
def test_fixed_bits_of_activations_have_whole_numbers_as_codes(method):
    case, x = CASES["activation"]
    seen = []

    class Recording(type(NUMPY)):
        def fake_quantize(self, x, step, low, high, *more, **options):
            seen.append((low, high))
            return super().fake_quantize(x, step, low, high, *more, **options)

    parameters, state = begin(method, case, x)
    OneGroup(method, case).quantize(x, parameters, state, True, Recording())
    low, high = seen[0]
    assert not np.signbit(low)
    assert (low, high) == ((0, 256) if getattr(method, "mirrored", False) else (0, 255))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Hmq(thresholds=0), "thresholds"),
        (lambda: Hmq(top_probability=1.0), "top_probability"),
        (lambda: Hmq(search_share=1.5), "search_share"),
        (lambda: Sdq(initial_share=0.2), "initial_share"),
        (lambda: Sdq(quantizer="lsq"), "quantizer"),
        (lambda: Sdq(granularity="filter"), "granularity"),
        (lambda: Fdqmp(pretrain=0.8, search=0.5), r"pretrain \+ search"),
        (lambda: Fdqmp(update_every=0), "update_every"),
        (lambda: Fdqmp(weight_rounding="floor"), "floor"),
        (lambda: Fdqmp(rate=float("nan")), "rate"),
    ],
)
def test_a_wrong_hyper_parameter_is_named(make, field):
    with pytest.raises(MPQError, match=field):
        make()


@pytest.mark.parametrize(("bits", "message"), [((), "no candidate"), ((4, 3), "must increase"), ((3, 3), "increase")])
def test_candidates_must_be_there_and_increase(bits, message):
    with pytest.raises(MPQError, match=message):
        slot(bits=bits)
