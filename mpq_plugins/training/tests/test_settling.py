"""Where choices become final: the budget is used, by predicted loss, and the method stands at that choice."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.costs.budget import Budget
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.papers.sdq import Sdq
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.tests.training_cases import CASES, at, begin, wander
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.hardened_grid import hardened_grid
from mpq_plugins.training.method import Progress
from mpq_plugins.training.plan import TrainingPlan, own_bits, trainable
from mpq_plugins.training.predicting import MEASURED_STEPS, predicted_losses
from mpq_plugins.training.settling import is_measured, settling_step
from mpq_plugins.training.slot import Slot
from mpq_plugins.training.tests.two_layers import INVENTORY

BITS = (2, 3, 4, 6, 8)
METHODS = {
    "hmq": trainable("hmq"),
    "sdq": trainable("sdq"),
    "fdqmp": trainable("fdqmp"),
    "kernel": Sdq("grid", "kernel"),
}
SIZES = {"a.weight": 216, "b.weight": 1280}


def plan(limit):
    return TrainingPlan.of(INVENTORY, "generic-po2", "hmq", Budget(average_weight_bits=limit), BITS, activation_bits=8)


def rows(losses):
    return {name: {8: 0.0} for name in ("x", "a", "b")} | losses


def spent(bits):
    return sum(size * bits[name] for name, size in SIZES.items()) / sum(SIZES.values())


@settings(deadline=None, max_examples=60)
@given(st.floats(2, 8), st.tuples(*[st.sampled_from(BITS)] * 2), st.tuples(*[st.floats(0.01, 100)] * 2))
def test_what_is_over_is_taken_and_what_is_left_handed_out_by_predicted_loss(limit, own, weights):
    preferences = {n: {b: float(b != o) for b in BITS} for n, o in zip(SIZES, own, strict=True)}
    losses = {n: {b: w * 4.0**-b for b in BITS} for n, w in zip(SIZES, weights, strict=True)}
    bits, reasons = plan(limit).choose(rows(preferences), rows(losses))
    chosen = tuple(bits[name] for name in SIZES)

    def best(allowed):
        fits = [
            pair
            for pair in itertools.product(BITS, BITS)
            if allowed(pair) and spent(dict(zip(SIZES, pair, strict=True))) <= limit
        ]
        return min(fits, key=lambda pair: sum(losses[n][b] for n, b in zip(SIZES, pair, strict=True)))

    taken = best(lambda pair: all(b <= o for b, o in zip(pair, own, strict=True)))
    expected = best(lambda pair: all(b >= t for b, t in zip(pair, taken, strict=True)))
    if spent(dict(zip(SIZES, expected, strict=True))) < 0.98 * limit:
        expected = best(lambda pair: True)
    found = sum(losses[n][b] for n, b in zip(SIZES, chosen, strict=True))
    assert spent(bits) <= limit * (1 + 1e-9)
    assert found == pytest.approx(sum(losses[n][b] for n, b in zip(SIZES, expected, strict=True)), rel=1e-6)
    for name, before in zip(SIZES, own, strict=True):
        word = "learned by hmq" if bits[name] == before else "raised" if bits[name] > before else "moved to meet"
        assert word in reasons[name]


def test_noise_costs_by_the_gradients_that_meet_it():
    """Of two equal tensors the one with four times the squared gradients loses four times as much; x8 a step halved."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(400,))
    slots = [Slot(n, "weight", (400,), tuple(Candidate(b, True, False) for b in BITS)) for n in ("a", "b")]
    found = predicted_losses(slots, {"a": weight, "b": weight}, {"a": 1.0, "b": 4.0})
    assert found["b"] == pytest.approx({b: 4 * loss for b, loss in found["a"].items()})
    three = min(np.mean((np.clip(np.rint(weight / s), -4, 3) * s - weight) ** 2) for s in 2.0 ** np.arange(-6.0, 3))
    assert found["a"][3] == pytest.approx(0.5 * three)
    assert list(found["a"].values()) == sorted(found["a"].values(), reverse=True)


def test_where_no_gradient_is_known_noise_counts_by_elements_and_nothing_is_lost_of_zeros():
    histogram = Histogram()
    histogram.update(np.maximum(np.random.default_rng(0).normal(size=5000), 0))
    kinds = tuple(Candidate(b, False, False) for b in BITS)
    slots = [Slot(n, "activation", (size,), kinds) for n, size in (("a", 10), ("b", 30), ("unseen", 5))]
    found = predicted_losses(slots, {"a": histogram, "b": histogram})
    assert found["b"] == pytest.approx({b: 3 * loss for b, loss in found["a"].items()})
    assert set(found["unseen"].values()) == {0.0}
    known = predicted_losses(slots, {"a": histogram, "b": histogram}, {"a": 2.0})
    assert known["b"] == pytest.approx(known["a"])


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", ["tensor", "channels", "keras-channels", "narrow", "zero-channel", "activation-bits"])
def test_a_settled_group_evaluates_trains_and_hardens_on_its_grid_and_stays(method, name):
    case, x = CASES[name]
    parameters, state = wander(method, case, x, 15, 3)
    weight = None if case.kind == "activation" else x
    for bits in case.bits:
        grid = hardened_grid(method, case, parameters, state, bits, weight)
        found = method.settled(case, parameters, state, grid)
        held = (
            parameters | dict(found.parameters),
            at(method, case, state | dict(found.state), Progress(900, 1000, 100)),
        )
        assert held[1]["frozen"] == 1
        assert method.harden(case, *held) == grid
        assert own_bits(method.preferences(case, *held)) == bits
        assert float(OneGroup(method, case).expected_bits(*held)) == pytest.approx(bits, abs=1e-5) or name != "tensor"
        for training in (True, False):
            np.testing.assert_array_equal(OneGroup(method, case).quantize(x, *held, training)[0], grid.project(x))


def test_gradients_are_measured_in_the_last_steps_before_choices_are_final():
    hmq, msqe = trainable("hmq"), trainable("msqe")
    assert settling_step(hmq, 200) == 120
    measured = [step for step in range(200) if is_measured(hmq, Progress(step, 200, 20))]
    assert measured == list(range(120 - MEASURED_STEPS, 120))
    assert settling_step(msqe, 200) is None
    assert not is_measured(msqe, Progress(100, 200, 20))
    case, x = CASES["tensor"]
    for name in ("hmq", "sdq", "fdqmp"):
        method = trainable(name)
        last, first = settling_step(method, 200) - 1, settling_step(method, 200)
        state = begin(method, case, x)[1]
        assert [at(method, case, state, Progress(s, 200, 20))["frozen"] for s in (last, first)] == [0, 1]
