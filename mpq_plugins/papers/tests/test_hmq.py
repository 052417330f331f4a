"""hmq against the numbers of its paper and code (2007.09952), worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins.array_ops.protocol import STRAIGHT_THROUGH
from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.papers.activation_rule import activation_bits
from mpq_plugins.papers.hmq import Hmq
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.tests.training_cases import CASES, WEIGHT, at, begin, slot
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import Progress, Spent
from mpq_plugins.training.slot import Slot

PAPER = Hmq(error_prior=0.0, cycle_epochs=5, search_share=0.6)


def small(bits=(4, 8), thresholds=2, **options) -> tuple[Hmq, Slot]:
    return Hmq(thresholds=thresholds, **options), slot(bits=bits, shape=(3,))


def state_of(base, **more):
    controls = {"temperature": 1.0, "rise": 1.0, "frozen": 0.0, "rate": 0.05}
    return {name: np.asarray(v, np.float64) for name, v in ({"base": base, "moment": 0.0} | controls | more).items()}


def recorded(method, case, x, logits, state, training):
    seen = {}

    class Recording(type(NUMPY)):
        def fake_quantize(self, x, step, low, high, rounding, *options):
            seen.update(step=step, low=low, high=high, rounding=rounding, strict=options[1])
            return super().fake_quantize(x, step, low, high, rounding, *options)

    y, _ = OneGroup(method, case).quantize(x, {"logits": logits}, state, training, Recording())
    return y, seen


RULE = ((4, 1000), (8, 500))
# the noise for which the Gumbel draw is zero: -log(-log(u)) = 0
SILENT = np.exp(-1.0)


def test_expected_step_and_threshold_of_the_digest():
    method, case = small()
    p = np.array([[0.4, 0.1], [0.3, 0.2]])  # bits (8, 4) x thresholds (2, 1)
    state = state_of(2.0, noise=np.full(4, SILENT))
    _, seen = recorded(method, case, np.zeros(3), np.log(p).ravel(), state, True)
    assert seen["step"] == pytest.approx(0.10703125, rel=1e-4)
    assert seen["high"] + 1 == pytest.approx(15.8832, rel=1e-4)
    assert seen["step"] * (seen["high"] + 1) == pytest.approx(1.7, rel=1e-4)
    assert seen["low"] == -(seen["high"] + 1)
    assert seen["strict"]
    assert seen["rounding"] == STRAIGHT_THROUGH


@pytest.mark.parametrize(
    ("mirrored", "expected"),
    [
        (True, [-0.75, -0.75, -0.75, -0.25, 0, 0, 0.25, 0.5, 1, 1]),
        (False, [-1, -1, -1, -0.25, 0, 0, 0.25, 0.5, 0.75, 0.75]),
    ],
)
def test_codes_are_mirrored_as_in_the_released_code_or_twos_complement(mirrored, expected):
    method, case = small(bits=(3,), thresholds=1, mirrored=mirrored)
    x = np.array([-1.2, -1, -0.9, -0.3, -0.12, 0.1, 0.26, 0.49, 0.9, 1.3])
    y, _ = recorded(method, case, x, np.zeros(1), state_of(1.0, noise=np.full(1, SILENT)), True)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(("mirrored", "expected"), [(True, [0, 0, 1, 4, 4]), (False, [0, 0, 1, 3, 3])])
def test_unsigned_codes_of_the_released_code_need_one_bit_more(mirrored, expected):
    method = Hmq(thresholds=1, mirrored=mirrored)
    case = slot("activation", (2,), shape=(5,), signed=False)
    x = np.array([-0.3, 0.1, 0.7, 3.9, 4.2])
    y, _ = recorded(method, case, x, np.zeros(1), state_of(4.0, noise=np.full(1, SILENT)), True)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(("largest", "threshold"), [(0.3, 1.0), (1.0, 2.0), (1.7, 4.0), (0.0, 1.0)])
def test_the_largest_threshold_of_a_weight_is_an_octave_above_its_largest_value(largest, threshold):
    case = slot(shape=(2,))
    assert PAPER.start(case, np.array([0.0, -largest])).state["base"] == threshold


def test_the_papers_start_prefers_the_largest_bits_and_threshold():
    logits = PAPER.start(slot(bits=tuple(range(1, 9))), WEIGHT).parameters["logits"]
    assert logits.shape == (64,)
    assert logits[0] == pytest.approx(np.log(1216))
    assert np.all((logits[1:] <= 0) & (logits[1:] > -1))
    p = NUMPY.softmax(logits.astype(float))
    assert p[0] == pytest.approx(0.968, abs=5e-3)


@pytest.mark.parametrize("case", ["tensor", "channels", "activation-bits"])
def test_the_default_start_gives_the_largest_bits_their_probability(case):
    case, x = CASES[case]
    parameters, state = begin(Hmq(), case, x)
    marginal = NUMPY.softmax(parameters["logits"].astype(float)).reshape(len(case.bits), 8).sum(axis=1)
    assert marginal[0] == pytest.approx(0.95, abs=1e-5)
    assert Hmq().harden(case, parameters, state).bits == case.bits[-1]


def test_the_default_start_knows_the_thresholds_of_least_squared_error():
    case, x = CASES["tensor"]
    parameters, state = begin(Hmq(), case, x)
    for bits in case.bits:
        errors = {
            e: np.mean((slot(bits=(bits,)).grid(bits, 2.0 ** (e - bits + 1)).project(x) - x) ** 2) for e in range(-8, 3)
        }
        assert Hmq().harden(case, parameters, state, bits).exponent == min(errors, key=errors.get)


def test_bits_are_chosen_over_all_thresholds_and_the_threshold_then():
    method, case = small()
    logits = np.log(np.array([[0.30, 0.30], [0.35, 0.05]])).ravel()
    assert method.harden(case, {"logits": logits}, state_of(1.0)).bits == 8
    assert method.harden(case, {"logits": logits}, state_of(1.0), 4).threshold == 1.0
    preferences = method.preferences(case, {"logits": logits}, state_of(1.0))
    assert preferences == {8: 0.0, 4: pytest.approx(np.log(0.6 / 0.4))}


@given(st.lists(st.floats(-8, 8), min_size=4, max_size=4), st.lists(st.floats(0, 1 - 2**-24), min_size=4, max_size=4))
def test_expectations_stay_within_the_candidates(logits, noise):
    method, case = small()
    state = state_of(2.0, noise=np.array(noise, np.float32))
    _, seen = recorded(method, case, np.zeros(3), np.array(logits), state, True)
    assert 1 / 128 * (1 - 1e-9) <= seen["step"] <= 1 / 4 * (1 + 1e-9)
    assert 1 - 1e-9 <= seen["step"] * (seen["high"] + 1) <= 2 + 1e-9
    assert 4 <= OneGroup(method, case).expected_bits({"logits": np.array(logits)}, state) <= 8


def test_each_input_channel_has_a_draw_of_its_own():
    method = Hmq()
    torch_like, keras_like = CASES["tensor-inputs"][0], CASES["keras-channels"][0]
    assert OneGroup(method, torch_like).noise_shape() == (4, 40)
    assert OneGroup(method, CASES["tensor"][0]).noise_shape() == (40,)
    x = CASES["tensor-inputs"][1]
    parameters, state = begin(method, torch_like, x)
    state["noise"] = np.random.default_rng(0).random((4, 40))
    _, seen = recorded(method, torch_like, x, parameters["logits"], state, True)
    assert np.shape(seen["step"]) == np.shape(seen["high"]) == (1, 4, 1, 1)
    parameters, state = begin(method, keras_like, CASES["keras-channels"][1])
    _, seen = recorded(method, keras_like, CASES["keras-channels"][1], parameters["logits"], state, True)
    assert np.shape(seen["step"]) == (1, 1, 4, 6)


def test_a_straight_through_draw_takes_one_pair_and_the_expectation_none():
    """P = [[.4, .1], [.3, .2]] without noise: the likeliest pair is 8 bits and t = 2, a step of 1/64."""
    p = np.array([[0.4, 0.1], [0.3, 0.2]])
    for straight, expected in ((True, 1 / 64), (False, 0.10703125)):
        method, case = small(gumbel_ste=straight)
        _, seen = recorded(method, case, np.zeros(3), np.log(p).ravel(), state_of(2.0, noise=np.full(4, SILENT)), True)
        assert seen["step"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("base", "threshold"), [("calibration", 8.0), ("average", 1.0)])
def test_a_rare_large_value_raises_the_base_of_an_activation_or_is_averaged_away(base, threshold):
    """Batch maxima 5, .9, .8: at most 5; the moving average is 4.5, 1.26, .846."""
    histogram = Histogram()
    for largest in (5.0, 0.9, 0.8):
        histogram.update(np.array([0.0, largest], np.float32))
    assert histogram.moving == pytest.approx(0.846)
    assert Histogram.from_dict(histogram.to_dict()).moving == histogram.moving
    case = slot("activation", (4, 8), shape=(2,), signed=False)
    assert Hmq(activation_base=base).start(case, histogram).state["base"] == threshold


def test_bits_of_the_activation_rule_fall_in_the_stages_of_the_weights_target():
    """Of 1000 elements, the most: floor(32 / R) bits at R = 4, 5.33, 6.67 and 8, so 8, 6, 4, 4; of 500: 8 always."""
    slots = [replace(slot("activation", (bits,), shape=(size,), signed=False), name=f"{size}") for bits, size in RULE]
    method = Hmq(activation_rate=8.0).fitted(slots)
    assert method.largest_activation == 1000
    for case, expected in zip(slots, ((8, 6, 4, 4), (8, 8, 8, 8)), strict=True):
        x = np.linspace(0, 1, case.elements).astype(np.float32)
        for stage, bits in enumerate(expected):
            parameters, state = begin(method, case, x, Progress(stage * 100 + 1, 1000, 100))
            _, seen = recorded(method, case, x, parameters["logits"], state, True)
            assert seen["high"] + 1 == 2**bits
            evaluated, _ = recorded(method, case, x, parameters["logits"], state, False)
            np.testing.assert_array_equal(evaluated, method.harden(case, parameters, state).project(x))


def test_the_target_rises_in_four_stages():
    case = CASES["tensor"][0]
    for final, stages in ((8, [4, 16 / 3, 20 / 3, 8]), (17, [4, 25 / 3, 38 / 3, 17])):
        for stage, rate in enumerate(stages):
            state = at(PAPER, case, {}, Progress(stage * 5 * 100, 5000, 100))
            spent = [Spent("average_weight_bits", np.float64(32 / (rate * 0.999)), 32 / final, 32.0)]
            assert PAPER.penalty(NUMPY, spent, state) > 0
            spent = [Spent("average_weight_bits", np.float64(32 / (rate * 1.001)), 32 / final, 32.0)]
            assert PAPER.penalty(NUMPY, spent, state) == 0


@pytest.mark.parametrize(("gamma", "target", "rate", "expected"), [(64, 8, 6, 4.0), (32, 17, 4, 18.7128)])
def test_the_penalty_is_the_papers(gamma, target, rate, expected):
    spent = [Spent("average_weight_bits", np.float64(32 / rate), 32 / target, 32.0)]
    assert Hmq(strength=gamma).penalty(NUMPY, spent, {"rise": 1.0}) == pytest.approx(expected, rel=1e-5)


def test_the_temperature_falls_within_each_cycle_and_never_below_its_floor():
    case = CASES["tensor"][0]

    def temperature(step):
        return PAPER.controls(Bank.of([case]), Progress(step, 50 * 5005, 5005))["temperature"]

    assert [round(temperature(e * 5005), 4) for e in range(7)] == [1, 0.7788, 0.6065, 0.5, 0.5, 1, 0.7788]
    assert temperature(13899) > 0.5
    assert temperature(13900) == 0.5
    falling = [temperature(step) for step in range(0, 25025, 77)]
    assert falling == sorted(falling, reverse=True)


def test_the_choice_is_frozen_for_the_last_two_fifths():
    case = CASES["tensor"][0]
    assert [Hmq().controls(Bank.of([case]), Progress(s, 1000, 100))["frozen"] for s in (0, 599, 600, 1000)] == [
        0,
        0,
        1,
        1,
    ]


def test_pushing_probability_to_fewer_bits_lowers_the_expected_bits():
    method, case = small()
    state = state_of(1.0)
    bits = [
        OneGroup(method, case).expected_bits({"logits": np.array([0.0, 0.0, shift, shift])}, state)
        for shift in (0, 1, 3, 50)
    ]
    assert bits == sorted(bits, reverse=True)
    assert bits[0] == 6
    assert bits[-1] == pytest.approx(4)


@pytest.mark.parametrize(("size", "bits"), [(1000, 4), (500, 8), (333, 8), (1, 8)])
def test_the_activation_rule_leaves_bits_by_size(size, bits):
    names = {"largest": 1000, "this": size}
    assert activation_bits(names, 8, dict.fromkeys(names, range(4, 9)))["this"] == bits


def test_the_activation_rule_serves_slots_with_several_candidates():
    slots = [slot("activation", (4, 6, 8), shape=(n,), signed=False) for n in (1000,)]
    assert Hmq().settled_bits(slots, {}) == {}
    assert Hmq(activation_rate=8.0).settled_bits([*slots, slot()], {}) == {"site": 4}
