"""The sensitivities under their one interface, on a model of plain arrays."""

from __future__ import annotations

import numpy as np
import pytest

from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.sensitivity.masking import MaskGuided, spread_over_bits
from mpq_plugins.sensitivity.noise import Noise
from mpq_plugins.sensitivity.rating import output_distance, sites_with_a_choice
from mpq_plugins.sensitivity.table import rate_all, sensitivity
from mpq_plugins.tests.running_model import WEIGHTS, Running, X, problem_of

P, Q = np.array([[0.7, 0.2, 0.1]]), np.array([[0.6, 0.3, 0.1]])


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def kl(p, q):
    return np.mean(np.sum(p * np.log(p / q), axis=1))


def weight_sites(problem):
    return problem.model.inventory.weights


def test_the_direction_of_the_divergence_matters():
    # .7 ln(.7/.6) + .2 ln(.2/.3) and .6 ln(.6/.7) + .3 ln(.3/.2), worked out by hand
    assert output_distance([P], [Q]) == pytest.approx(0.02681245, abs=1e-8)
    assert output_distance([P], [Q], "backward") == pytest.approx(0.02914912, abs=1e-8)
    assert output_distance([np.log(P)], [np.log(Q)]) == pytest.approx(0.02681245, abs=1e-8)


def test_outputs_that_are_no_class_scores_are_compared_by_noise_over_signal():
    x = np.arange(12.0).reshape(3, 2, 2)
    assert output_distance([x], [x + 1]) == pytest.approx(1 / np.var(x))
    with pytest.raises(NonFiniteValues):
        output_distance([x], [x * np.nan])


@pytest.mark.parametrize("mask", ["random", "magnitude", "quantized"])
def test_nothing_masked_moves_nothing(mask):
    problem = problem_of(Running())
    omega = MaskGuided(fraction=0, mask=mask).omega(problem, weight_sites(problem))
    assert omega == {"a.weight": 0.0, "b.weight": 0.0}


def test_all_of_a_layer_masked_is_the_divergence_without_it():
    problem = problem_of(Running())
    found = MaskGuided(fraction=1, seeds=1).omega(problem, weight_sites(problem))
    logits = np.maximum(X @ WEIGHTS["a.weight"].T, 0) @ WEIGHTS["b.weight"].T
    expected = kl(softmax(logits), np.full((len(X), 3), 1 / 3))
    assert found == {"a.weight": pytest.approx(expected), "b.weight": pytest.approx(expected)}


def test_the_magnitude_mask_takes_the_smallest_weights():
    problem = problem_of(Running())
    found = MaskGuided(fraction=0.2, mask="magnitude").omega(problem, weight_sites(problem))
    weight = WEIGHTS["b.weight"].copy()
    weight.flat[np.argsort(np.abs(weight).ravel())[:3]] = 0  # a fifth of 15
    a = np.maximum(X @ WEIGHTS["a.weight"].T, 0)
    assert found["b.weight"] == pytest.approx(kl(softmax(a @ WEIGHTS["b.weight"].T), softmax(a @ weight.T)))


def test_seeds_are_averaged_and_the_same_seeds_give_the_same_numbers():
    problem = problem_of(Running())
    site = weight_sites(problem)[:1]
    two, one = (MaskGuided(seeds=n).omega(problem, site)["a.weight"] for n in (2, 1))
    assert MaskGuided(seeds=2).omega(problem, site)["a.weight"] == two
    assert two != one
    assert problem.model.runs == (1 + 2) + (1 + 1) + (1 + 2)  # the reference, and a pass for each seed


def test_weights_are_what_they_were_to_the_bit():
    problem = problem_of(Running())
    rate_all(problem)
    assert all(np.array_equal(problem.model.weights[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("kind", ["kl", "sqnr", "fisher", "mask"])
def test_each_measure_rates_every_candidate_of_every_site_with_a_choice(kind):
    problem = problem_of(Running(), activation_bits=(4, 8))
    rates = rate_all(problem, [kind])[kind]
    assert set(rates) == {site.name for site in sites_with_a_choice(problem)} == set(problem.candidates)
    for name, row in rates.items():
        bits = [c.bits for c in problem.candidates[name]]
        assert list(row) == bits
        costs = [row[b] for b in bits]
        assert all(np.isfinite(costs))
        assert costs == sorted(costs, reverse=True)
        assert costs[-1] >= 0


def test_the_noise_of_a_weight_is_one_over_its_signal_to_noise_ratio():
    problem = problem_of(Running())
    rates = Noise(at_output=False).rate(problem, weight_sites(problem))
    weight, best = WEIGHTS["a.weight"], np.inf
    for exponent in range(-8, 6):  # the best of all power-of-two thresholds, by trying them
        step = 2.0 ** (exponent - 3)
        best = min(best, np.sum((np.clip(np.rint(weight / step), -8, 7) * step - weight) ** 2))
    assert rates["a.weight"][4] == pytest.approx(best / np.sum(weight**2))


def test_the_noise_of_an_activation_is_relative_to_its_mean_square():
    problem = problem_of(Running(), activation_bits=(2, 8))
    site = problem.model.inventory["x"]
    best = np.inf
    for exponent in range(-8, 6):
        step = 2.0 ** (exponent - 1)
        best = min(best, np.mean((np.clip(np.rint(X / step), -2, 1) * step - X) ** 2))
    assert Noise().rate(problem, [site])["x"][2] == pytest.approx(best / np.mean(X**2))


def test_one_number_per_layer_becomes_one_per_bits():
    bits = {"a": (2, 4, 8), "b": (4,)}
    assert spread_over_bits({"a": 1.0, "b": 3.0}, bits) == {"a": {2: 0.75, 4: 0.5, 8: 0.0}, "b": {4: 1.5}}
    noise = spread_over_bits({"a": 1.0, "b": 3.0}, bits, "noise")
    assert noise["a"][2] == 1.0
    assert noise["a"][4] == pytest.approx((4.0**-4 - 4.0**-8) / (4.0**-2 - 4.0**-8))
    assert noise["a"][8] == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 1.5}, "from 0 to 1, got 1.5"),
        ({"fraction": float("nan")}, "from 0 to 1"),
        ({"mask": "largest"}, "mask is one of random, magnitude, quantized"),
        ({"direction": "sideways"}, "direction is one of"),
        ({"gain": "cubic"}, "gain is one of"),
        ({"seeds": 0}, "1 seed or more"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(MPQError, match=message):
        MaskGuided(**arguments)


def test_an_unknown_measure_is_refused_with_the_names_there_are():
    with pytest.raises(MPQError, match="fisher, kl, mask, sqnr"):
        sensitivity("hessian")


@pytest.mark.parametrize("kind", ["kl", "mask"])
def test_a_model_that_cannot_be_run_is_refused_with_the_measures_that_need_no_run(kind):
    model = Running()
    model.outputs = None
    with pytest.raises(MPQError, match="use fisher or sqnr"):
        rate_all(problem_of(model), [kind])
