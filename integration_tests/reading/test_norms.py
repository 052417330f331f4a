"""Batch norms that follow no layer, of images, signals and features: exact, in every form that they get."""

import pytest
import torch
from torch import nn

from integration_tests.bits import widest
from integration_tests.reading.converting import converted, converted_by_export, error_of
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_torch import fx
from mpq_torch.reader.reading import read_model

SHAPES = {1: (24, 3, 12), 2: (16, 3, 9, 9), 0: (48, 6)}


def with_statistics(model):
    torch.manual_seed(2)
    for norm in model.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.uniform_(norm.weight, -2.0, 2.0)
            nn.init.normal_(norm.bias)
    return model.eval()


class Shared(nn.Module):
    """A layer that is called twice, with a norm of its own behind each call."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.a, self.b = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.last(self.b(self.conv(self.a(self.conv(x)).relu())).relu())


class ReadTwice(nn.Module):
    """A norm of features that something other than a linear layer reads too."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 5)

    def forward(self, x):
        y = self.norm(self.first(x).relu())
        return self.last(y) + y


MODELS = {
    "first, of images": (
        2,
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)),
    ),
    "after a ReLU, of images": (2, lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8))),
    "first, of signals": (
        1,
        lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Conv1d(3, 5, 3), nn.ReLU(), nn.Conv1d(5, 3, 1)),
    ),
    "after a ReLU, of signals": (1, lambda: nn.Sequential(nn.Conv1d(3, 5, 3), nn.ReLU(), nn.BatchNorm1d(5))),
    "first, of features": (0, lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))),
    "after a ReLU, of features": (
        0,
        lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 3)),
    ),
    "last, of features": (0, lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5))),
    "of features, read twice": (0, ReadTwice),
    "of a shared layer's calls": (2, Shared),
}


def network(kind):
    dims, make = MODELS[kind]
    torch.manual_seed(0)
    return with_statistics(make()), torch.randn(SHAPES[dims])


@pytest.mark.parametrize("kind", MODELS)
def test_a_norm_behind_no_layer_is_exact_by_both_ways_to_integers(kind):
    model, x = network(kind)
    assert read_model(model, (x,)).graph.float_ops == ()
    assert error_of(converted(model, x), model, x) < 0.05
    converted_by_export(model, x)


@pytest.mark.parametrize("engine", ["qnnpack", "onednn"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_other_engines_compute_such_norms_exactly_too(kind, engine):
    model, x = network(kind)
    for weight_bits, activation_bits in ((widest(f"torch-{engine}"), 8), (3, 5)):
        recipe = clipping_recipe(model, x, f"torch-{engine}", weight_bits, activation_bits, weight_bits == 3)
        on_grid = fx.constrain(model, recipe)
        int8, simulated = fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe)
        fx.verify(int8, simulated, [x * 1.5, x[:1] * 3]).raise_if_different()


def test_a_padded_layer_called_on_two_zero_points_of_one_step_is_exact_on_qnnpack_too():
    model, x = network("of a shared layer's calls")
    recipe = clipping_recipe(model, x, "torch-qnnpack", 8, 8)
    assert recipe["x"].steps == recipe["a"].steps
    assert (recipe["x"].signed, recipe["a"].signed) == (True, False)
    on_grid = fx.constrain(model, recipe)
    fx.verify(fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe), [x]).raise_if_different()


def test_a_norm_of_features_in_front_of_linear_layers_is_part_of_their_weights():
    model, x = network("after a ReLU, of features")
    graph = read_model(model, (x,)).graph
    assert [node.op for node in graph.nodes] == ["argument", "input", "linear", "linear"]
    norm, linear = model[2], model[3]
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().double()
    shift = norm.bias.detach().double() - norm.running_mean.double() * scale
    weight = linear.weight.detach().double()
    torch.testing.assert_close(torch.from_numpy(graph["3"].weight).double(), weight * scale, atol=1e-6, rtol=1e-6)
    wanted = linear.bias.detach().double() + weight @ shift
    torch.testing.assert_close(torch.from_numpy(graph["3"].bias), wanted, atol=1e-6, rtol=1e-6)
    assert read_model(model, (x,), ["2"]).graph.float_ops == ("3",)  # kept with the layer that it is part of


def test_a_model_with_such_a_norm_can_be_trained():
    model, x = network("after a ReLU, of features")
    search = fx.Search(model, x, target="torch-x86", weight_bits=4, activation_bits=8, method="po2_gradient", steps=2)
    search.model(x).square().mean().backward()
    search.step()
    recipe, trained = search.harden(), search.float_model()
    fx.verify(fx.quantize(trained, recipe, x), fx.simulate(trained, recipe), [x]).raise_if_different()
