"""What a torch engineer types, on a small trained network, with torch.ao's own verbs."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization import QConfig, QConfigMapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

import mpq_plugins as mpq
import mpq_torch
from mpq_plugins.commands.digits import digits
from mpq_torch import demo, fx
from mpq_torch.torch_ao.engine import quantized_engine

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def trained():
    """The demo's network after a short training, calibration images, test images and labels."""
    data = digits()
    images = torch.from_numpy(data.train_images).unsqueeze(1)
    torch.manual_seed(0)
    model = demo.network()
    demo.train(model, images[:600], torch.from_numpy(data.train_labels)[:600])
    return model, [images[:128], images[128:256]], torch.from_numpy(data.test_images).unsqueeze(1)


@pytest.fixture(scope="module")
def recipe(trained):
    model, calibration, _ = trained
    return fx.search(model, calibration, "torch-x86", mpq.Budget(average_weight_bits=4), activation_bits=8)


def test_a_search_meets_its_budget_and_explains_every_site(recipe):
    assert recipe.average_weight_bits <= 4
    assert recipe.costs["average_weight_bits"] == pytest.approx(recipe.average_weight_bits)
    assert recipe.costs["weight_bytes"] == recipe.weight_bytes
    assert all(recipe.site(name).reason for name in recipe)
    assert all(grid.is_power_of_two for grid in recipe.values())
    assert {recipe[s.site].bits for s in recipe.activations} == {8}


def test_the_same_search_twice_gives_the_same_recipe(trained, recipe):
    model, calibration, _ = trained
    again = fx.search(model, calibration, "torch-x86", mpq.Budget(average_weight_bits=4), activation_bits=8)
    assert again.to_json() == recipe.to_json()


def test_torch_ao_s_own_verbs_convert_a_constrained_model_exactly(trained, recipe):
    model, calibration, test = trained
    mapping = fx.get_qconfig_mapping(recipe)
    assert isinstance(mapping, QConfigMapping)
    on_grid = fx.constrain(model, recipe, calibration)
    with quantized_engine("x86"):
        int8 = convert_fx(prepare_fx(on_grid, mapping, (test[:1],)))
        verification = fx.verify(int8, fx.simulate(on_grid, recipe), test)
    assert verification.exact
    assert (verification.max_difference, verification.mismatched, verification.first_differing_site) == (0.0, 0, None)


def test_quantize_does_all_of_it_in_one_call(trained, recipe):
    model, calibration, test = trained
    int8 = fx.quantize(model, recipe, test[:1], calibration)
    on_grid = fx.constrain(model, recipe, calibration)
    fx.verify(int8, fx.simulate(on_grid, recipe), test).raise_if_different()


def test_a_constrained_model_has_its_weights_and_biases_on_their_grids(trained, recipe):
    model, calibration, _ = trained
    on_grid = fx.constrain(model, recipe, calibration)
    first = dict(on_grid.named_modules())["0"]
    grid, step = recipe["0.weight"], recipe["input"].step
    weight = first.weight.detach().numpy()
    assert np.array_equal(grid.project(weight), weight)
    codes = first.bias.detach().double().numpy() / (np.asarray(grid.steps) * step)
    assert np.array_equal(codes, np.rint(codes))


@pytest.mark.parametrize("with_data", [False, True])
def test_constrain_and_simulate_are_idempotent(trained, recipe, with_data):
    model, calibration, test = trained
    data = calibration if with_data else None
    once = fx.constrain(model, recipe, data)
    twice = fx.constrain(once, recipe, data)
    for (name, tensor), (other, again) in zip(once.state_dict().items(), twice.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(tensor, again), name
    assert torch.equal(fx.simulate(once, recipe)(test), fx.simulate(twice, recipe)(test))


def test_compensated_rounding_stays_closer_to_the_float_model_than_nearest(trained):
    model, calibration, test = trained
    coarse = fx.search(model, calibration, "torch-x86", weight_bits=3, activation_bits=8)
    with torch.no_grad():
        exact = model(test)
        nearest = fx.simulate(fx.constrain(model, coarse), coarse)(test)
        compensated = fx.simulate(fx.constrain(model, coarse, calibration), coarse)(test)
    assert (compensated - exact).square().mean() < 0.5 * (nearest - exact).square().mean()


def test_fixed_bits_need_no_budget_and_patterns_narrow_single_sites(trained):
    model, calibration, _ = trained
    recipe = fx.search(
        model, calibration, "generic-po2", weight_bits={"0.weight": 8, "*": 4}, activation_bits={"10": 8, "*": 6}
    )
    assert [recipe[s.site].bits for s in recipe.weights] == [8, 4, 4, 4, 4, 4, 4]
    assert recipe["10"].bits == 8
    assert recipe["input"].bits == 6
    assert all(recipe[s.site].axis is None for s in recipe.weights)


def test_several_budgets_hold_at_once(trained):
    model, calibration, _ = trained
    budget = mpq.Budget(average_weight_bits=5, bops=15e6, activation_bytes=2000)
    recipe = fx.search(model, calibration, "torch-x86", budget)
    assert recipe.costs["average_weight_bits"] <= 5
    assert recipe.costs["bops"] <= 15e6
    assert recipe.costs["activation_bytes"] <= 2000
    assert len({recipe[s.site].bits for s in recipe.activations}) > 1


def test_a_latency_table_makes_a_budget(trained):
    model, calibration, _ = trained
    weights = fx.inventory(model, calibration[0]).weights
    table = mpq.LatencyTable({site.name: {bits: 0.01 * bits for bits in range(2, 9)} for site in weights})
    recipe = fx.search(model, calibration, "torch-x86", mpq.Budget(latency_ms=0.3), activation_bits=8, latency=table)
    assert sum(0.01 * recipe[s.site].bits for s in recipe.weights) <= 0.3


def test_a_recipe_survives_its_file(trained, recipe, tmp_path):
    model, _, test = trained
    recipe.save(tmp_path / "recipe.json")
    loaded = mpq.Recipe.load(tmp_path / "recipe.json")
    assert loaded == recipe
    assert torch.equal(fx.simulate(model, loaded)(test), fx.simulate(model, recipe)(test))
    assert "0.weight" in str(recipe)


def test_a_data_loader_of_images_and_labels_calibrates(trained, recipe):
    model, calibration, _ = trained
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.cat(calibration), torch.zeros(256)), batch_size=128
    )
    again = fx.search(model, loader, "torch-x86", mpq.Budget(average_weight_bits=4), activation_bits=8)
    assert again.to_json() == recipe.to_json()


def test_the_model_that_was_given_stays_as_it_was(trained, recipe):
    model, calibration, test = trained
    before = copy.deepcopy(model.state_dict())
    grads = [p.requires_grad for p in model.parameters()]
    fx.search(model, calibration, "torch-x86", weight_bits=4, activation_bits=8)
    fx.quantize(model, recipe, test[:1], calibration)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == grads


def test_observers_in_a_hand_written_qconfig_prepare_and_convert_a_plain_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()).eval()
    qconfig = QConfig(
        activation=mpq_torch.PO2Observer.with_args(bits=4, signed=False),
        weight=mpq_torch.PO2WeightObserver.with_args(bits=3),
    )
    x = torch.rand(2, 1, 8, 8)
    with quantized_engine("x86"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = prepare_fx(model, QConfigMapping().set_global(qconfig), (x,))
        prepared(x)
        y = convert_fx(copy.deepcopy(prepared))(x)
    step = float(prepared.activation_post_process_2.grid().steps[0])
    codes = y / step
    assert torch.equal(codes, codes.round())
    assert codes.min() >= 0
    assert codes.max() <= 15


def test_a_converted_model_refuses_to_run_on_another_engine(trained, recipe):
    model, _, test = trained
    int8 = fx.quantize(model, recipe, test[:1])
    with quantized_engine("qnnpack"), pytest.raises(mpq.TargetError, match="converted for the quantized engine 'x86'"):
        int8(test[:1])


def test_an_op_without_a_kernel_is_float_between_integer_ops_is_exact_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(6, 8)
            self.act = nn.GELU()
            self.last = nn.Linear(8, 3)

        def forward(self, x):
            return torch.softmax(self.last(self.act(self.first(x))), dim=1)

    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(64, 6)
    recipe = fx.search(model, [x], "torch-x86", weight_bits=4, activation_bits=6)
    assert recipe.float_ops == ("act", "softmax")
    assert "quantized: 100.0 % of the MACs" in str(recipe)
    on_grid = fx.constrain(model, recipe, [x])
    fx.verify(fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe), x * 2).raise_if_different()
