"""Grids learned while the user's own loop trains: by pt2e.Search, and inside torchao's prepare_qat_pt2e."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchao.quantization.pt2e import move_exported_model_to_eval, move_exported_model_to_train
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e

import mpq_plugins as mpq
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_torch import PO2FakeQuantize, fx, pt2e
from mpq_torch.tests.networks import NETWORKS, Crossed, network
from mpq_torch.training.tests import digits

pytestmark = pytest.mark.filterwarnings("ignore")

METHODS = ("fdqmp", "hmq", "msqe", "po2_gradient", "sdq")


@pytest.fixture(scope="module")
def recipe():
    images = digits.train_images()[0][:64]
    return clipping_recipe(digits.trained(), images, "torch-pt2e", 4, 5, per_channel=True)


def prepare(model, x, recipe, method):
    prepared = prepare_qat_pt2e(pt2e.export(model, (x,)), pt2e.RecipeQuantizer(recipe, method))
    move_exported_model_to_train(prepared)
    return prepared


def train(prepared, x, loss_of, steps=4):
    prepared(x)  # parameters come into being
    optimizer = torch.optim.Adam(prepared.parameters(), 0.02)
    for _ in range(steps):
        loss_of(prepared(x)).backward()
        optimizer.step()
        optimizer.zero_grad()


def train_digits(prepared, steps=8):
    images, labels = digits.batches(0)[0]
    train(prepared, images, lambda y: F.cross_entropy(y, labels), steps)


def with_weights_of(prepared, model):
    """A copy of the float model with the trained weights; grids and torchao's own entries are left out."""
    trained, state = copy.deepcopy(model), prepared.state_dict()
    trained.load_state_dict({name: state.get(name, value) for name, value in model.state_dict().items()})
    return trained.eval()


def grids(prepared):
    """The fake-quantizers that learn, each once, by site."""
    found = [m for m in prepared.modules() if isinstance(m, PO2FakeQuantize)]
    return {m.activation_post_process.name: m.activation_post_process for m in found}


def test_a_recipe_searched_while_training_quantizes_exactly_in_torchao_s_flow():
    budget = mpq.Budget(average_weight_bits=4)
    images = digits.test_images()[0]
    search = pt2e.Search(
        digits.trained(), images[:8], "torch-pt2e", budget, "hmq", weight_bits=(2, 4, 8), activation_bits=8, steps=10
    )
    digits.run(search, 10)
    recipe = search.harden()
    trained = search.float_model()
    assert recipe.average_weight_bits <= 4
    converted = pt2e.quantize(trained, recipe, images[:8])
    pt2e.verify(converted, pt2e.simulate(trained, recipe), images).raise_if_different()


def test_search_is_one_class_in_both_adapters():
    assert pt2e.Search is fx.Search


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_in_prepare_qat_pt2e_and_convert_pt2e_gives_what_it_hardened(method, recipe):
    model, images = digits.trained(), digits.test_images()[0]
    on_grid = pt2e.constrain(model, recipe)
    prepared = prepare(on_grid, images[:8], recipe, method)
    train_digits(prepared)
    learned = pt2e.harden(prepared)
    assert learned.method == method
    assert [(e.site, e.grid.bits, e.grid.signed, e.grid.axis) for e in learned.sites] == [
        (e.site, e.grid.bits, e.grid.signed, e.grid.axis) for e in recipe.sites
    ]
    simulated = pt2e.simulate(with_weights_of(prepared, on_grid), learned)
    move_exported_model_to_eval(prepared)
    pt2e.verify(convert_pt2e(prepared), simulated, images).raise_if_different()


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_network_converts_exactly_to_the_recipe_that_was_learned(kind):
    model, x = network(kind, samples=9)
    recipe = clipping_recipe(model, x, "torch-pt2e", 3, 5, per_channel=True)
    on_grid = pt2e.constrain(model, recipe)
    prepared = prepare(on_grid, x, recipe, "po2_gradient")
    train(prepared, x, lambda y: sum(part.square().mean() for part in (y if isinstance(y, tuple) else (y,))))
    learned, trained = pt2e.harden(prepared), with_weights_of(prepared, on_grid)
    simulated = pt2e.simulate(trained, learned)
    pt2e.verify(pt2e.quantize(trained, learned, x), simulated, x * 1.5).raise_if_different()
    pt2e.verify(convert_pt2e(prepared), simulated, x * 1.5).raise_if_different()


def test_training_moves_the_thresholds():
    torch.manual_seed(0)
    x = torch.rand(64, 4)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    recipe = pt2e.search(model, [x], "torch-pt2e", weight_bits=8, activation_bits=8)
    prepared = prepare(model, x, recipe, "po2_gradient")
    train(prepared, x, lambda y: y.square().mean(), steps=0)
    before = {name: grid.grid().step for name, grid in grids(prepared).items()}
    # outputs that are to be 64 times larger do not fit in the thresholds of the start
    target = model(x).detach() * 64
    train(prepared, x, lambda y: F.mse_loss(y, target), steps=200)
    learned = pt2e.harden(prepared)
    assert learned["2"].step > before["2"]


def test_with_torchao_s_batch_norms_the_hardened_recipe_is_exact(recipe):
    model, images = digits.trained(), digits.test_images()[0]
    prepared = prepare(digits.trained().train(), images[:8], recipe, "po2_gradient")
    train_digits(prepared)
    learned, trained = pt2e.harden(prepared), with_weights_of(prepared, model)
    assert not torch.equal(trained.state_dict()["1.running_mean"], model.state_dict()["1.running_mean"])
    converted = pt2e.quantize(trained, learned, images[:8])
    pt2e.verify(converted, pt2e.simulate(trained, learned), images).raise_if_different()


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(1, 1)

    def forward(self, x):
        return self.fc(torch.relu(self.fc(x)))


def test_the_bias_of_a_layer_called_twice_lies_on_the_coarser_of_the_learned_accumulators():
    model = Twice().eval()
    with torch.no_grad():
        model.fc.weight.fill_(1.0)
        model.fc.bias.fill_(0.3)
    x = torch.linspace(0, 0.2, 60)[:, None]
    recipe = clipping_recipe(model, x, "torch-pt2e", 2, 4)
    prepared = prepare(model, x, recipe, "hmq")
    prepared(x)
    learned = pt2e.harden(prepared)
    assert learned["x"].step < learned["fc"].step
    simulated = pt2e.simulate(with_weights_of(prepared, model), learned)
    converted = convert_pt2e(copy.deepcopy(prepared))
    pt2e.verify(converted, simulated, x).raise_if_different()
    scales = {n.args[1] for n in converted.graph.nodes if n.op == "call_function" and n.args[-1] == torch.int32}
    assert scales == {learned["fc"].step * learned["fc.weight"].step}


def test_sites_of_one_group_share_one_fake_quantizer_that_learns():
    model, x = network(Crossed)
    recipe = clipping_recipe(model, x, "torch-pt2e", 4, 8)
    prepared = prepare(model, x, recipe, "po2_gradient")
    slots = {entry.group or entry.site for entry in recipe.sites}
    assert len([m for m in prepared.modules() if isinstance(m, PO2FakeQuantize)]) == len(slots) < len(recipe)
    (concat,) = [n for n in prepared.graph.nodes if n.target is torch.ops.aten.cat.default]
    shared = prepared.get_submodule(str(next(iter(concat.users)).target))
    assert all(prepared.get_submodule(str(source.target)) is shared for source in concat.args[0])


def test_once_hardened_the_grids_stay_while_training_goes_on(recipe):
    model, images = digits.trained(), digits.test_images()[0]
    prepared = prepare(pt2e.constrain(model, recipe), images[:8], recipe, "hmq")
    train_digits(prepared, 2)
    learned = pt2e.harden(prepared)
    train_digits(prepared, 2)
    assert pt2e.harden(prepared) == learned


def test_hardening_before_any_batch_or_without_trained_grids_says_the_way_out():
    model, x = Twice().eval(), torch.rand(8, 1)
    recipe = clipping_recipe(model, x, "torch-pt2e", 4, 4)
    with pytest.raises(
        mpq.MPQError, match=r"site 'fc\.weight' has no grid before any batch; run one through the model first"
    ):
        pt2e.harden(prepare(model, x, recipe, "hmq"))
    with pytest.raises(mpq.MPQError, match=r"no grids that are trained; .*RecipeQuantizer\(recipe, method\)"):
        pt2e.harden(prepare(model, x, recipe, None))


def test_a_method_that_does_not_train_is_refused_with_those_that_do(recipe):
    with pytest.raises(mpq.MPQError, match=r"method 'ohq' does not train; those that do are .*hmq"):
        pt2e.RecipeQuantizer(recipe, "ohq")
