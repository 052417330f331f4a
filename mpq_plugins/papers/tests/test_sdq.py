"""sdq against its digest's numbers (2206.04459) and invariants."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.papers.dorefa import quantize_unit, unit_weight
from mpq_plugins.papers.sdq import Sdq
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.tests.training_cases import CASES, WEIGHT, at, begin, slot
from mpq_plugins.thresholds.search import search_threshold
from mpq_plugins.training import noise
from mpq_plugins.training.alone import joined
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import Progress, Spent

LATE = Progress(1, 10**6, 10**6)


def candidates(case, state, x):
    """x on the grid of every candidate at the steps of the moment."""
    return {
        b: case.grid(b, step).project(x) for b, step in zip(case.bits, np.asarray(state["steps"], float).T, strict=True)
    }


@given(share=st.floats(0.002, 0.998), noise=st.floats(0, 1 - 2**-24), pair=st.integers(0, 4))
def test_a_training_pass_holds_exactly_one_of_the_two(share, noise, pair):
    case, x = CASES["tensor"]
    method = Sdq()
    parameters, state = begin(method, case, x)
    parameters["share"], state["pair"], state["noise"] = np.full(4, share, "f"), np.float32(pair), np.float32(noise)
    outcomes = candidates(case, state, x)
    y, _ = OneGroup(method, case).quantize(x, parameters, state, True)
    ends = case.bits[pair], case.bits[max(pair - 1, 0)]
    assert any(np.array_equal(y, outcomes[b]) for b in ends)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_frequency_of_the_upper_candidate_is_its_share(share):
    case, x = slot(bits=(2, 8), shape=(3,)), np.array([0.9, -0.4, 0.2])
    method = Sdq()
    parameters, state = begin(method, case, x)
    parameters["share"] = np.array([share])
    draws = (np.arange(400) + 0.5) / 400  # evenly over all draws
    upper = 0
    for draw in draws:
        y, _ = OneGroup(method, case).quantize(x, parameters, state | {"noise": draw}, True)
        upper += np.array_equal(y, candidates(case, state, x)[8])
    assert upper / 400 == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.7), (0.5, 0.844828), (0.1, 0.999791)])
def test_the_relaxed_choice_without_noise(temperature, expected):
    seen = []

    class Recording(type(NUMPY)):
        def sigmoid(self, x):
            seen.append(super().sigmoid(x))
            return seen[-1]

    case, x = CASES["tensor"]
    parameters, state = begin(Sdq(), case, x)
    parameters["share"] = np.full(4, 0.7)
    state |= {"temperature": np.float64(temperature), "noise": np.float64(0.5)}
    OneGroup(Sdq(), case).quantize(x, parameters, state, True, Recording())
    assert seen[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (2, [-1, -1 / 3, 1 / 3, 1 / 3]),
        (3, [-1, -0.428571, 0.142857, 0.714286]),
        (4, [-1, -1 / 3, 0.0666667, 0.6]),
    ],
)
def test_dorefas_levels(bits, expected):
    unit = unit_weight(NUMPY, np.array([-1, -0.25, 0.1, 0.5]))
    np.testing.assert_allclose(unit, [0, 0.33921, 0.56543, 0.80339], atol=5e-6)
    np.testing.assert_allclose(quantize_unit(NUMPY, unit, float(bits)), expected, atol=5e-7)


@pytest.mark.parametrize("quantizer", ["dorefa", "entropy"])
def test_the_papers_quantizers_have_two_to_the_bits_levels_and_none_at_zero(quantizer):
    method, case = Sdq(quantizer=quantizer), slot(bits=(1, 2, 4))
    parameters, state = begin(method, case, WEIGHT)
    state["pair"] = np.float32(1.0)
    y, updates = OneGroup(method, case).quantize(WEIGHT, parameters, state, True)
    np.testing.assert_allclose(np.unique(y), [-1, -1 / 3, 1 / 3, 1], atol=1e-6)
    assert updates["errors"].shape == (2,)
    y, _ = OneGroup(method, case).quantize(np.zeros_like(WEIGHT), parameters, state, True)
    assert np.all(np.isfinite(y))


def test_quantization_error_is_weighed_by_the_share():
    """Symmetric levels, T = 1: squared errors .21 (2 bits) and .0322222 (3), so .0855556 at beta = .7."""
    x = np.array([0.9, -0.4, 0.2])
    outcome = {2: np.array([1.0, 0, 0]), 3: np.array([1.0, -1 / 3, 1 / 3])}
    sums = {b: float(np.sum((y - x) ** 2)) for b, y in outcome.items()}
    assert sums == {2: pytest.approx(0.21), 3: pytest.approx(0.0322222)}
    state = {"errors": np.array([sums[3], sums[2]]), "pair": np.float64(1.0)}
    case = slot(bits=(2, 3), shape=(3,))
    loss = OneGroup(Sdq(error_weight=1.0), case).regularization(x, {"share": np.array([0.7])}, state)
    assert loss == pytest.approx(0.0855556, abs=1e-7)


def test_errors_of_both_ends_are_measured_relative_to_the_weight():
    case, x = CASES["tensor"]
    parameters, state = begin(Sdq(), case, x)
    state["pair"] = np.float32(1.0)
    outcomes = candidates(case, state, x)
    _, updates = OneGroup(Sdq(), case).quantize(x, parameters, state, True)
    expected = [np.mean((outcomes[b] - x) ** 2) / np.mean(x**2) for b in (3, 2)]
    np.testing.assert_allclose(updates["errors"], expected, rtol=1e-5)


def test_a_share_that_sinks_moves_the_pair_down_for_good_and_stops_at_the_last():
    case, x = CASES["tensor"]
    method = Sdq()
    parameters, state = begin(method, case, x)
    bits, shares = [], []
    for step in range(400):
        state = at(method, case, state, Progress(step, 1000, 1000))
        bits.append(float(OneGroup(method, case).expected_bits(parameters, state)))
        shares += [float(parameters["share"][int(state["pair"]) - 1])] if state["pair"] > 0 else []
        moved = {"share": parameters["share"] - np.float32(1e-3) * (np.arange(4) == state["pair"] - 1)}
        parameters, updates = OneGroup(method, case).after_step(moved, parameters, state)
        state |= updates
    assert state["pair"] == 0
    assert bits[-1] == 2
    assert np.all(np.diff(bits) <= 1e-6)
    assert min(shares) >= method.decay_below
    assert sum(s == np.float32(0.99) for s in shares) == 4  # a fresh one for each of the four pairs


@pytest.mark.parametrize("direction", [-1, 1])
def test_a_share_stays_within_zero_and_one(direction):
    case, x = CASES["tensor"]
    parameters, state = begin(Sdq(), case, x, LATE)
    state["pair"] = np.float32(0)
    for _ in range(300):
        moved = {"share": parameters["share"] + np.float32(direction * 100)}
        parameters, updates = OneGroup(Sdq(), case).after_step(moved, parameters, state)
        state |= updates
        assert np.all((parameters["share"] > 0) & (parameters["share"] < 1))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 100), scale=st.sampled_from([0.2, 0.6, 3.0, 8.0]))
def test_steps_follow_a_weight_that_grows_or_shrinks(seed, scale):
    x = (np.random.default_rng(seed).standard_normal((6, 40)) * 0.3).astype(np.float32)
    for case in (slot(bits=(2, 4), shape=x.shape), slot(bits=(4,), shape=x.shape, axis=0)):
        parameters, state = begin(Sdq(), case, x)
        for _ in range(12):
            _, updates = OneGroup(Sdq(), case).quantize((x * scale).astype(np.float32), parameters, state, True)
            state |= updates
        for b, steps in zip(case.bits, np.asarray(state["steps"], float).T, strict=True):
            best = search_threshold(x * scale, b, axis=case.axis)
            for got, wanted in zip(case.grid(b, steps).exponents, best.exponents, strict=True):
                assert abs(got - wanted) <= 1  # a neighbour of nearly equal error


def test_by_kernel_each_channel_has_its_own_bits_and_the_grid_the_largest():
    case, x = CASES["channels"]
    method = Sdq(granularity="kernel")
    parameters, state = begin(method, case, x)
    state["pair"] = np.array([4, 3, 2, 1, 0, 1], np.float32)
    own = np.array([0.1, 0.9, 0.9, 0.2, 0.5, 0.5], np.float32)
    parameters["share"] = np.where(np.arange(4) == np.maximum(state["pair"], 1)[:, None] - 1, own[:, None], 0.99)
    own = np.array([3, 3, 2, 0, 0, 1])
    grid = method.harden(case, parameters, state)
    assert grid.bits == case.bits[3]
    np.testing.assert_array_equal(grid.steps, state["steps"][np.arange(6), own])
    state["frozen"] = np.float32(1)
    bits = OneGroup(method, case).expected_bits(parameters, state)
    assert bits == np.array(case.bits)[own].mean(dtype=np.float32)
    assert OneGroup(method, case).noise_shape() == (6,)
    assert OneGroup(Sdq(), case).noise_shape() == ()


def test_shares_between_zero_and_one_are_drawn_to_the_nearer_once_the_target_is_the_budgets():
    """.6 and .4 with no gradient: both are decided where choices are frozen, at once where nothing is drawn never."""
    case, x = CASES["tensor"]
    for settling, expected in ((1.0, {0.6: 1.0, 0.4: 0.0}), (0.0, {0.6: 0.6, 0.4: 0.4})):
        for share, end in expected.items():
            method = Sdq(settling=settling)
            parameters, state = begin(method, case, x)
            parameters["share"] = np.array([0.99, 0.99, 0.99, share], np.float32)
            for step in range(600):
                state = at(method, case, state, Progress(step, 1000, 1000))
                parameters, updates = OneGroup(method, case).after_step(parameters, parameters, state)
                state |= updates
                assert step > 400 or parameters["share"][3] == np.float32(share)
            bits = OneGroup(method, case).expected_bits(parameters, state)
            assert bits == pytest.approx(6 + 2 * end, abs=0.03)


def test_weights_of_a_unit_draw_alike_and_their_shares_move_by_the_mean():
    slots = [replace(slot(), name=f"{name}.weight") for name in ("a.0.conv", "a.0.other", "b.conv")]
    bank, random = Bank.of(slots), np.random.default_rng(0)
    members = {
        Sdq(granularity="net"): [(0, 1, 2)],
        Sdq(granularity="block"): [(0, 1), (2,)],
        Sdq(granularity="block", blocks=("*other*", "*conv*")): [(1,), (0, 2)],
        Sdq(): [(0,), (1,), (2,)],
    }
    for method, units in members.items():
        counters = noise.counters(bank, *method.noise(bank), 0, method.draws_as)
        assert len(set(counters.tolist())) == len(units)
        groups = [method.start(one, WEIGHT) for one in slots]
        before = joined(method, bank, [g.parameters for g in groups])
        state = joined(method, bank, [g.state for g in groups]) | method.constants(bank)
        state |= {k: np.float32(v) for k, v in method.controls(bank, Progress(0, 1000, 100)).items()}
        change = np.zeros((3, 4), np.float32)
        change[:, 3] = -0.002 * random.random(3)
        found, _ = method.after_step(NUMPY, bank, {"share": before["share"] + change}, before, state)
        moved = found["share"] - before["share"]
        for unit in units:
            own = np.mean([change[k, 3] for k in unit])
            length = method.rate / max(np.sqrt(0.01), 1.0)  # of a first step, whose mean square is its own
            assert moved[list(unit), 3] == pytest.approx(np.sign(own) * length, rel=1e-3)


def test_average_bits_are_weighed_by_elements():
    n, b = np.array([1000, 4000, 2000]), np.array([8, 4, 8])
    assert (n * b).sum() / n.sum() == pytest.approx(5.714286)
    spent = [Spent("average_weight_bits", np.float64((n * b).sum() / n.sum()), 5.0, 32.0)]
    assert Sdq(cost_weight=1.0).penalty(NUMPY, spent, {"rise": 1.0}) == pytest.approx(5.714286 / 5 - 1, abs=1e-6)


@pytest.mark.parametrize("fixed", [CASES["one-candidate"][0], slot(bits=(7,))], ids=["4 bits", "7 bits"])
def test_bins_are_regularized_at_fixed_bits_only(fixed):
    x = CASES["one-candidate"][1]
    parameters, state = begin(Sdq(bin_weight=0.1), fixed, x)
    loss = OneGroup(Sdq(bin_weight=0.1), fixed).regularization(x, parameters, state)
    on_grid = Sdq().harden(fixed, parameters, state).project(x)
    assert loss > 0
    assert OneGroup(Sdq(bin_weight=0.1), fixed).regularization(on_grid, parameters, state) == 0
    assert OneGroup(Sdq(), fixed).regularization(x, parameters, state) is None
    for quantizer in ("dorefa", "entropy"):
        assert OneGroup(Sdq(bin_weight=0.1, quantizer=quantizer), fixed).regularization(x, parameters, state) > 0
