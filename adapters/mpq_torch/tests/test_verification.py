"""What verify counts, refuses and names; the converted models here are simulations with known faults."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mpq_plugins.errors import EmptyCalibration, ModelError, VerificationError
from mpq_torch import fx
from mpq_torch.fx import verify
from mpq_torch.simulation.verification import Verification, site_nodes
from mpq_torch.tests.alterations import shifted
from mpq_torch.tests.networks import NETWORKS, Branches, Embedded, Residual, network


def simulation(kind=Residual):
    model, x = network(kind)
    recipe = fx.search(model, [x], "torch-x86", weight_bits=4, activation_bits=8)
    on_grid = fx.constrain(model, recipe)
    return on_grid, recipe, fx.simulate(on_grid, recipe), x


class Altered(nn.Module):
    """A model whose output goes through a function."""

    def __init__(self, model, change):
        super().__init__()
        self.model, self.change = model, change

    def forward(self, *args):
        return self.change(self.model(*args))


def plus(amounts):
    def change(y):
        y = y.clone()
        for index, amount in amounts.items():
            y[index] += amount
        return y

    return change


def test_equal_models_are_exact_over_all_batches():
    _, _, simulated, x = simulation()
    found = verify(Altered(simulated, lambda y: y), simulated, [x, x[:1]])
    assert found == Verification(True, 0.0, 0, 35, None, compared="fc as integers")
    assert str(found) == "exact: all 35 output values are equal (fc as integers)"
    found.raise_if_different()


def test_differing_elements_are_counted_and_the_largest_difference_kept():
    _, _, simulated, x = simulation()
    found = verify(Altered(simulated, plus({(0, 1): 0.5, (0, 2): -2.0})), simulated, [x, x[:1]])
    assert (found.exact, found.mismatched, found.elements, found.max_difference) == (False, 4, 35, 2.0)
    assert str(found) == "4 of 35 output values differ, by at most 2; the first site that differs is only the output"
    with pytest.raises(VerificationError, match="4 of 35"):
        found.raise_if_different()


def test_nan_is_a_difference():
    _, _, simulated, x = simulation()
    assert verify(Altered(simulated, plus({(0, 1): float("nan")})), simulated, x).mismatched == 1


def test_every_tensor_of_a_tuple_is_compared():
    _, _, simulated, x = simulation(Embedded)
    first, second = simulated(x)
    found = verify(Altered(simulated, lambda y: (y[0], y[1] + 1)), simulated, x)
    assert (found.mismatched, found.elements) == (second.numel(), first.numel() + second.numel())


def test_a_list_in_the_place_of_a_tuple_is_the_same_and_a_missing_output_is_refused():
    _, _, simulated, x = simulation(Embedded)
    assert verify(Altered(simulated, list), simulated, x).exact
    with pytest.raises(ModelError, match="returns 1 tensors, its simulation 2"):
        verify(Altered(simulated, lambda y: y[0]), simulated, x)


def test_outputs_that_only_broadcast_to_each_other_are_refused():
    _, _, simulated, x = simulation()
    with pytest.raises(ModelError, match=r"returns \(6, 1, 5\), its simulation \(6, 5\)"):
        verify(Altered(simulated, lambda y: y.unsqueeze(1)), simulated, x)


@pytest.mark.parametrize("kind", [Branches, Embedded])
def test_a_float_tail_is_compared_as_float(kind):
    on_grid, recipe, simulated, x = simulation(kind)
    assert verify(fx.quantize(on_grid, recipe, x), simulated, x).exact


def test_quantized_outputs_are_compared_as_values():
    _, _, simulated, x = simulation()
    step = simulated.simulation.quantized.grid("fc").steps[0]

    def quantized(y):
        return torch.quantize_per_tensor(y, step, 128, torch.quint8)

    assert verify(Altered(simulated, quantized), simulated, x).exact


def test_the_first_site_that_differs_is_named_where_both_are_graphs():
    on_grid, recipe, simulated, x = simulation()
    int8 = fx.quantize(on_grid, recipe, x)
    wrong = shifted(simulated, "fc", bias=100.0)
    assert verify(int8, wrong, x).first_differing_site == "fc"
    assert verify(int8, shifted(wrong, "conv1", bias=100.0), x).first_differing_site == "conv1"


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_site_of_a_converted_model_is_found_by_its_name(kind):
    on_grid, recipe, simulated, x = simulation(kind)
    found = site_nodes(fx.quantize(on_grid, recipe, x), simulated.simulation.graph)
    assert set(found) == {entry.site for entry in recipe.activations}


def test_what_was_compared_is_said_of_integers_and_of_float_ends():
    on_grid, recipe, simulated, x = simulation(Embedded)
    assert verify(fx.quantize(on_grid, recipe, x), simulated, x).compared == (
        "last as integers; softmax, computed in float from the integers of mean"
    )


def test_a_float_end_that_differs_on_equal_integers_is_named():
    on_grid, recipe, simulated, x = simulation(Branches)
    int8 = fx.quantize(on_grid, recipe, x)
    simulated.reading.runner.floats["log_softmax"] = lambda y: torch.softmax(y, 1)
    assert verify(int8, simulated, x).first_differing_site == "log_softmax"


def test_without_inputs_nothing_is_verified():
    _, _, simulated, _ = simulation()
    with pytest.raises(EmptyCalibration):
        verify(simulated, simulated, [])


def test_a_graph_that_is_no_simulation_is_refused():
    on_grid, _, simulated, x = simulation()
    with pytest.raises(ModelError, match="verify needs what simulate returned"):
        verify(simulated, on_grid, x)


class _End(nn.Module):
    """A function of what a linear layer gives, whose smallest codes round to zero from below."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(1, 1), function
        nn.init.constant_(self.layer.weight, 1.0)
        nn.init.constant_(self.layer.bias, 0.0)

    def forward(self, x):
        return self.function(self.layer(x))


@pytest.mark.parametrize(
    "function",
    [
        lambda y: torch.atan2(y, y - 4),
        lambda y: nn.functional.pad(y.reshape(-1, 1, 1, 1), (0, 1, 0, 0), value=-torch.inf),
        lambda y: (y, y > 0.5),
    ],
    ids=["the sign of zero", "an infinity", "truth values"],
)
def test_what_is_the_same_number_or_the_same_infinity_is_equal(function):
    model, x = _End(function).eval(), torch.linspace(-2, 2, 1001)[:, None]
    recipe = fx.search(model, [x], "torch-x86", weight_bits=4, activation_bits=8)
    simulated = fx.simulate(fx.constrain(model, recipe, [x]), recipe)
    found = verify(fx.quantize(model, recipe, (x,), [x]), simulated, [x])
    assert found.exact, str(found)


def test_an_infinity_in_the_place_of_a_number_is_a_difference():
    _, _, simulated, x = simulation()
    found = verify(Altered(simulated, plus({(0, 1): torch.inf, (0, 2): torch.nan})), simulated, [x])
    assert (found.mismatched, found.max_difference) == (2, torch.inf)
