"""What a torch engineer types who has moved to torchao."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchao.quantization.pt2e import move_exported_model_to_eval, move_exported_model_to_train
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e
from torchao.quantization.pt2e.quantizer.composable_quantizer import ComposableQuantizer
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

import mpq_plugins as mpq
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_torch import fx, pt2e
from mpq_torch.tests.networks import Branches, Crossed, Embedded, Mobile, Residual, Shared, Signal, network

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def residual():
    return network(Residual, samples=32)


@pytest.fixture(scope="module")
def recipe(residual):
    model, x = residual
    return pt2e.search(model, [x], "torch-pt2e", mpq.Budget(average_weight_bits=4), activation_bits=8)


def test_torchao_s_own_verbs_convert_a_constrained_model_exactly(residual, recipe):
    model, x = residual
    on_grid = pt2e.constrain(model, recipe, [x])
    exported = torch.export.export(on_grid, (x,)).module()
    converted = convert_pt2e(prepare_pt2e(exported, pt2e.RecipeQuantizer(recipe)))
    pt2e.verify(converted, pt2e.simulate(on_grid, recipe), x * 2).raise_if_different()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", [Mobile, Shared, Signal, Embedded, Crossed])
def test_a_float_model_exported_by_the_user_is_exact_once_its_batch_norms_are_folded_alike(kind, strict):
    # torchao folds batch norms in float32, so the simulation is of a model that torch folded in float32
    model, x = network(kind, samples=9)
    recipe = clipping_recipe(model, x, "torch-pt2e", 5, 6, per_channel=True)
    exported = torch.export.export(model, (x,), strict=strict).module()
    converted = convert_pt2e(prepare_pt2e(exported, pt2e.RecipeQuantizer(recipe)))
    pt2e.verify(converted, pt2e.simulate(folded_by_torch(model), recipe), x * 1.5).raise_if_different()


def folded_by_torch(model):
    """The model with each batch norm behind a convolution folded by torch's own function."""
    model = copy.deepcopy(model)
    for path, norm in list(model.named_modules()):
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            parent = model.get_submodule(path.rpartition(".")[0])
            names = list(parent._modules)
            name = path.rpartition(".")[2]
            layer = names[names.index(name) - 1]
            setattr(parent, layer, torch.nn.utils.fuse_conv_bn_eval(parent._modules[layer], norm))
            setattr(parent, name, nn.Identity())
    return model


def test_a_recipe_searched_in_fx_applies_in_pt2e_with_the_same_numbers_and_the_other_way_round(residual):
    model, x = residual
    for searched, target in ((fx.search, "torch-x86"), (pt2e.search, "generic-po2")):
        recipe = searched(model, [x], target, weight_bits=4, activation_bits=6)
        simulated = fx.simulate(fx.constrain(model, recipe, [x]), recipe)
        on_grid = pt2e.constrain(model, recipe, [x])
        assert torch.equal(simulated(x), pt2e.simulate(on_grid, recipe)(x))
        pt2e.verify(pt2e.quantize(on_grid, recipe, x), simulated, x).raise_if_different()
        fx.verify(fx.quantize(on_grid, recipe, x), simulated, x).raise_if_different()


def test_site_names_are_those_of_the_float_module_tree(residual, recipe):
    model, x = residual
    assert [site.name for site in pt2e.inventory(model, x)] == list(recipe)
    prepared = prepare_pt2e(torch.export.export(model, (x,)).module(), pt2e.RecipeQuantizer(recipe))
    sites = {node.meta["mpq_site"] for node in prepared.graph.nodes if "mpq_site" in node.meta}
    assert sites == {"x", "conv1", "conv2", "add", "fc"}


def test_weights_and_activations_are_stored_in_one_byte_and_clip_to_their_bits(residual):
    model, x = residual
    recipe = pt2e.search(model, [x], "torch-pt2e", weight_bits=3, activation_bits=5)
    converted = pt2e.quantize(model, recipe, x, [x])
    ops = torch.ops.quantized_decomposed
    quantized = [n.args[3:] for n in converted.graph.nodes if n.target is ops.quantize_per_tensor.default]
    assert quantized
    assert set(quantized) == {(0, 31, torch.uint8)}
    codes = [b for name, b in converted.named_buffers() if b.dtype == torch.int8]
    assert sorted(tuple(c.shape) for c in codes) == [(5, 12), (8, 3, 3, 3), (12, 8, 3, 3)]
    assert not any(name.endswith("weight") for name, _ in converted.named_parameters())
    assert min(int(c.min()) for c in codes) >= -4
    assert max(int(c.max()) for c in codes) <= 3


def test_ops_on_one_grid_share_one_fake_quantizer():
    model, x = network(Crossed)
    recipe = clipping_recipe(model, x, "torch-pt2e", 4, 8)
    prepared = prepare_pt2e(torch.export.export(model, (x,)).module(), pt2e.RecipeQuantizer(recipe))
    (concat,) = [n for n in prepared.graph.nodes if n.target is torch.ops.aten.cat.default]
    observer = prepared.get_submodule(str(next(iter(concat.users)).target))
    assert observer is prepared.get_submodule(str(concat.args[0][0].target))


def test_biases_are_int32_in_steps_of_input_times_weight(residual, recipe):
    model, x = residual
    converted = pt2e.quantize(model, recipe, x, [x])
    biases = [n for n in converted.graph.nodes if n.op == "call_function" and n.args[-1] == torch.int32]
    assert len(biases) == 3
    scale = getattr(converted, biases[0].args[1].target)
    assert torch.equal(scale.double(), torch.tensor(recipe["conv1.weight"].steps).double() * recipe["x"].step)


def test_a_converted_model_takes_batches_of_any_size_even_from_an_example_of_one(residual, recipe):
    model, x = residual
    converted = pt2e.quantize(model, recipe, x[:1], [x])
    assert [len(converted(x[:n])) for n in (1, 2, 7)] == [1, 2, 7]


def test_a_quantizer_that_searches_for_itself_meets_its_budget(residual):
    model, x = residual
    quantizer = pt2e.MixedPrecisionQuantizer(
        "torch-pt2e", "msqe", mpq.Budget(average_weight_bits=3.5), model=model, calibration=[x], activation_bits=8
    )
    assert quantizer.recipe.average_weight_bits <= 3.5
    converted = convert_pt2e(prepare_pt2e(torch.export.export(model, (x,)).module(), quantizer))
    pt2e.verify(converted, pt2e.simulate(folded_by_torch(model), quantizer.recipe), x).raise_if_different()


def test_another_quantizer_of_torchao_leaves_the_sites_of_a_recipe_alone(residual, recipe):
    model, x = residual
    on_grid = pt2e.constrain(model, recipe)
    other = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    both = ComposableQuantizer([pt2e.RecipeQuantizer(recipe), other])
    converted = convert_pt2e(prepare_pt2e(pt2e.export(on_grid, (x,)), both))
    pt2e.verify(converted, pt2e.simulate(on_grid, recipe), x).raise_if_different()


def test_training_on_fixed_grids_by_prepare_qat_pt2e_learns_and_converts_exactly():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    x, labels = torch.randn(32, 2, 6, 6), torch.randint(3, (32,))
    recipe = pt2e.search(model, [x], "torch-pt2e", weight_bits=3, activation_bits=4)
    on_grid = pt2e.constrain(model, recipe)
    prepared = prepare_qat_pt2e(pt2e.export(on_grid, (x,)), pt2e.RecipeQuantizer(recipe))
    move_exported_model_to_train(prepared)
    optimizer = torch.optim.SGD(prepared.parameters(), lr=0.2)
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(prepared(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    move_exported_model_to_eval(prepared)
    trained = copy.deepcopy(on_grid)
    trained.load_state_dict({name: prepared.state_dict()[name] for name in trained.state_dict()})
    converted = convert_pt2e(prepared)
    pt2e.verify(converted, pt2e.simulate(trained, recipe), x).raise_if_different()


def test_ops_that_stay_float_by_name_are_float_in_the_exported_graph():
    model = nn.Sequential()
    model.add_module("a", nn.Linear(4, 6))
    model.add_module("act", nn.GELU())
    model.add_module("b", nn.Linear(6, 3))
    model.add_module("out", nn.Softmax(dim=1))
    x = torch.randn(16, 4)
    recipe = pt2e.search(model.eval(), [x], "torch-pt2e", weight_bits=4, activation_bits=6, keep_float=["act"])
    converted = pt2e.quantize(model, recipe, x)
    pt2e.verify(converted, pt2e.simulate(model, recipe), x * 2).raise_if_different()


def test_verify_names_the_first_site_that_differs():
    model, x = network(Branches)
    recipe = clipping_recipe(model, x, "torch-pt2e", 4, 6)
    on_grid = pt2e.constrain(model, recipe)
    converted = pt2e.quantize(on_grid, recipe, x)
    other = copy.deepcopy(on_grid)
    with torch.no_grad():
        other.get_submodule("norm").weight += 4 * recipe["norm.weight"].steps[0]
    found = pt2e.verify(converted, pt2e.simulate(other, recipe), x)
    assert not found.exact
    assert found.first_differing_site == "norm"
