"""fdqmp against its digest's numbers (2206.07741) and invariants."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.costs.cost_models import cost_of
from mpq_plugins.errors import MPQError
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.papers.fdqmp import Fdqmp
from mpq_plugins.papers.fdqmp_start import magnitude_quantile, start_range
from mpq_plugins.papers.total_activations import TotalActivationBytes
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.tests.training_cases import CASES, at, begin, slot
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import Progress, Spent

WIDE = tuple(range(1, 17))


def held(step, largest, case, power_of_two=True):
    parameters = {"step": np.asarray(step, np.float64), "range": np.asarray(largest, np.float64)}
    exponent = np.rint(np.log2(parameters["step"]))
    return parameters, {
        "exponent": exponent,
        "frozen": np.float64(0),
        "update": np.float64(1),
        "open": np.float64(1e30),
    }


def slice_bits(method, case, parameters, state):
    return OneGroup(method, case).ask(method.slice_bits, parameters, state).reshape(case.step_shape)


@pytest.mark.parametrize(
    ("largest", "step", "signed_bits"), [(1.75, 0.25, 4), (2.0, 0.25, 5), (15, 1, 5), (16, 1, 6), (0.2, 0.25, 2)]
)
def test_bits_follow_from_range_and_step(largest, step, signed_bits):
    for signed in (True, False):
        kind = "weight" if signed else "activation"
        case = slot(kind, WIDE, shape=(5,), signed=signed)
        bits = slice_bits(Fdqmp(), case, *held(step, largest, case))
        assert bits == signed_bits - (not signed)


@given(st.integers(-8, 8), st.floats(0.3, 100), st.integers(-3, 3))
def test_bits_rise_with_the_range_fall_with_the_step_and_ignore_the_scale(exponent, ratio, octaves):
    case, method = slot(bits=WIDE), Fdqmp()

    def bits(step, largest):
        return float(slice_bits(method, case, *held(step, largest, case)))

    step = 2.0**exponent
    base = bits(step, ratio * step)
    assert bits(step * 2.0**octaves, ratio * step * 2.0**octaves) == base
    assert bits(step, 1.5 * ratio * step) >= base >= bits(2 * step, ratio * step)


def test_values_within_the_range_are_rounded_and_others_clipped():
    case = slot(bits=(2, 4, 8), shape=(5,))
    y, _ = OneGroup(Fdqmp(), case).quantize(np.array([-2, -0.3, 0.1, 0.4, 1.9]), *held(0.25, 1.75, case), True)
    np.testing.assert_array_equal(y, [-1.75, -0.25, 0, 0.5, 1.75])


@given(st.integers(-4, 2), st.floats(1.0, 120.0), st.integers(0, 1000))
def test_training_values_are_multiples_of_the_step_up_to_the_top_code_and_stay(exponent, ratio, seed):
    case, step = slot(bits=(2, 4, 8), shape=(64,)), 2.0**exponent
    x = np.random.default_rng(seed).standard_normal(64) * ratio * step
    y, _ = OneGroup(Fdqmp(), case).quantize(x, *held(step, ratio * step, case), True)
    codes = y / step
    assert np.all(codes == np.rint(codes))
    assert np.abs(codes).max() <= np.rint(ratio)
    again, _ = OneGroup(Fdqmp(), case).quantize(y, *held(step, ratio * step, case), True)
    np.testing.assert_array_equal(again, y)


@pytest.mark.parametrize(("step", "used"), [(0.3, 0.25), (0.36, 0.5)])
def test_the_step_in_use_is_the_nearest_power_of_two_by_its_logarithm(step, used):
    case = slot()
    parameters, state = held(step, 1.0, case)
    assert Fdqmp().step_in_use(NUMPY, parameters["step"], state) == used
    assert Fdqmp(power_of_two=False).step_in_use(NUMPY, parameters["step"], state) == step


def test_a_weights_range_is_three_deviations_and_its_step_a_power_of_two_of_the_bits():
    case = slot(bits=(2, 4), shape=(4,))
    start = Fdqmp().start(case, np.array([-0.3, -0.1, 0.1, 0.5]))
    assert start.parameters["range"] == pytest.approx(0.937412, abs=1e-6)
    assert start.parameters["step"] == 0.25  # the power of two above the paper's .133916
    free = Fdqmp(power_of_two=False).start(case, np.array([-0.3, -0.1, 0.1, 0.5]))
    assert free.parameters["step"] == pytest.approx(0.133916, abs=1e-6)


def test_an_activations_range_is_the_percentile_of_its_magnitudes():
    x = np.random.default_rng(0).standard_normal(20000)
    histogram = Histogram()
    histogram.update(x)
    assert magnitude_quantile(histogram, 0.999) == pytest.approx(np.quantile(np.abs(x), 0.999), rel=0.01)
    zeros = Histogram()
    zeros.update(np.zeros(10))
    assert start_range(slot("activation", (4,), shape=(10,), signed=False), zeros, 4) == 2.0**-4


@pytest.mark.parametrize(("initial", "expected"), [(None, 8), (5, 5), (1, 2), (16, 8)])
def test_a_search_starts_at_its_initial_bits(initial, expected):
    case, x = slot(bits=tuple(range(2, 9))), CASES["tensor"][1]
    method = Fdqmp(initial_bits=initial)
    parameters, state = begin(method, case, x)
    assert OneGroup(method, case).expected_bits(parameters, state) == expected


def test_the_penalty_in_kilobytes_is_the_papers():
    spent = [Spent("weight_bytes", np.float64(1_800_000), 1_731_000.0, 18_464_000.0)]
    method = Fdqmp(kilobytes=True)
    assert method.penalty(NUMPY, spent, {"rho": 1.0, "rise": 1.0}) == pytest.approx(0.4761)
    assert method.penalty(NUMPY, spent, {"rho": 0.01, "rise": 0.0}) == pytest.approx(0.004761)
    relative = Fdqmp(strength=300.0).penalty(NUMPY, spent, {"rho": 1.0, "rise": 1.0})
    assert relative == pytest.approx(0.4761, rel=2e-3)


def test_two_budgets_in_kilobytes_add_up_and_none_but_bytes_has_one():
    both = [Spent(name, np.float64(1000.0 * kb), 1e6, 8e6) for name, kb in (("weight_bytes", 1100), ("x_bytes", 1200))]
    now = {"rho": 1.0, "rise": 1.0}
    assert Fdqmp(kilobytes=True).penalty(NUMPY, both, now) == pytest.approx(1e-4 * (100**2 + 200**2))
    bits = [Spent("average_weight_bits", np.float64(5.0), 3.0, 32.0)]
    with pytest.raises(MPQError, match="average_weight_bits is no number of bytes"):
        Fdqmp(kilobytes=True).penalty(NUMPY, bits, now)
    with pytest.raises(MPQError, match="kilobytes=True is a penalty in kB"):
        Fdqmp(kilobytes=True).check_budget({"weight_bytes": "bytes", "bops": "bit operations"})


def test_bounds_are_the_papers_or_as_far_as_the_start_needs_them():
    case, x = CASES["tensor"]
    for scale, least, most in ((1.0, 2.0**-12, 1.0), (2.0**-12, None, 1.0), (2.0**10, 2.0**-12, None)):
        start = Fdqmp().start(case, x * scale)
        step = start.parameters["step"]
        assert start.state["least_step"] == (step if least is None else least)
        assert start.state["most_step"] == (step if most is None else most)


def test_all_beyond_the_range_is_clipped_before_it_is_rounded():
    case, seen = slot(bits=(2, 4, 8), shape=(3,)), []

    class Recording(type(NUMPY)):
        def fake_quantize(self, x, step, low, high, *options):
            seen.append((low, high, options[-1]))
            return super().fake_quantize(x, step, low, high, *options)

    OneGroup(Fdqmp(), case).quantize(np.array([0.0, 1.8, 2.0]), *held(0.25, 1.7, case), True, Recording())
    assert seen == [(pytest.approx(-6.8), pytest.approx(6.8), True)]


def test_the_penalty_rises_over_the_first_half_of_the_search():
    method, case = Fdqmp(pretrain=0.0, search=1.0, update_every=20), CASES["tensor"][0]
    logged = [method.controls(Bank.of([case]), Progress(step, 62550, 1251))["rho"] for step in range(256)]
    assert np.mean(logged) == pytest.approx(0.0140360, abs=5e-8)


def test_phases_follow_one_another():
    method, case = Fdqmp(pretrain=0.2, search=0.5, update_every=10), CASES["tensor"][0]
    controls = [method.controls(Bank.of([case]), Progress(step, 2000, 100)) for step in range(2000)]
    updates = [step for step, c in enumerate(controls) if c["update"]]
    assert updates == list(range(409, 1400, 10))
    assert [c["frozen"] for c in controls] == [0.0] * 1400 + [1.0] * 600
    assert {c["rho"] for c in controls[:400] + controls[1400:]} == {0.0}


def test_a_short_search_updates_more_often():
    updates = [Fdqmp().controls(Bank.of([CASES["tensor"][0]]), Progress(step, 60, 60))["update"] for step in range(60)]
    assert updates == [0.0] * 6 + [1.0] * 30 + [0.0] * 24


def test_steps_and_ranges_stay_bit_for_bit_between_updates():
    case, x = CASES["channels"]
    method = Fdqmp()
    parameters, state = begin(method, case, x, Progress(300, 1000, 100))
    assert state["update"] == 0
    moved = {name: value * np.float32(1.1) for name, value in parameters.items()}
    kept, updates = OneGroup(method, case).after_step(moved, parameters, state)
    assert all(np.array_equal(kept[name], parameters[name]) for name in parameters)
    assert all(np.array_equal(value, state[name]) for name, value in updates.items())
    state = at(method, case, state, Progress(303, 1000, 100))
    kept, _ = OneGroup(method, case).after_step(moved, parameters, state)
    assert all(np.all(kept[name] != parameters[name]) for name in parameters)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=30))
def test_the_step_never_exceeds_the_range_nor_the_bits_the_largest_candidate(pushes):
    case, x = CASES["tensor"]
    method = Fdqmp()
    parameters, state = begin(method, case, x, Progress(303, 1000, 100))
    for step, largest in pushes:
        moved = {"step": parameters["step"] + np.float32(step), "range": parameters["range"] + np.float32(largest)}
        parameters, updates = OneGroup(method, case).after_step(moved, parameters, state)
        state |= updates
        assert 0 < parameters["step"] <= parameters["range"]
        assert np.all(slice_bits(method, case, parameters, state) <= 8)
        assert state["exponent"] == np.rint(np.log2(parameters["step"]))


def test_slices_of_other_bits_share_the_bits_nearest_to_their_mean():
    case = slot(bits=(2, 3, 4), axis=0, shape=(2, 4))
    parameters, state = held([1.0, 0.25], [1.0, 1.75], case)  # 2 and 4 bits
    method = Fdqmp()
    bits = slice_bits(method, case, parameters, state)
    np.testing.assert_array_equal(bits, [2, 4])
    assert case.elements * bits.mean() == 24
    np.testing.assert_array_equal(OneGroup(method, case).expected_bits(parameters, state), 3)
    grid = method.harden(case, parameters, state)
    assert grid.bits == 3
    assert grid.steps == (1.0, 0.5)  # the second keeps its threshold of 2


def test_bits_between_candidates_count_as_the_candidate_that_holds_them():
    case = slot(bits=(2, 4, 8), shape=(4,))
    parameters, state = held(0.25, 2.0, case)  # 5 bits
    assert OneGroup(Fdqmp(), case).expected_bits(parameters, state) == 8
    assert Fdqmp().harden(case, parameters, state).bits == 8


def test_a_fixed_width_learns_its_step_within_an_octave():
    case, x = CASES["one-candidate"]
    method = Fdqmp()
    parameters, state = begin(method, case, x, Progress(303, 1000, 100))
    for _ in range(200):
        moved = {name: value * np.float32(1.5) for name, value in parameters.items()}
        parameters, updates = OneGroup(method, case).after_step(moved, parameters, state)
        state |= updates
    assert parameters["step"] == 2 * begin(method, case, x)[0]["step"]
    assert method.harden(case, parameters, state).bits == 4


def test_all_activations_together_cost_the_sum_of_their_bytes():
    sites = [Site(name, "activation", "relu", (n,)) for name, n in (("a", 1000), ("b", 500))]
    assert cost_of(TotalActivationBytes(), Inventory(sites), {"a": 4, "b": 8}) == 1000.0
