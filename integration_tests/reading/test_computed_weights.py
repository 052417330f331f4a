"""Weights that torch computes around a layer: what the layer really uses is quantized."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import mpq_plugins as mpq
from integration_tests.reading.converting import converted, converted_by_export, error_of, searched
from mpq_torch import fx
from mpq_torch.reader.reading import read_model


class Standardized(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class StandardizedByNorm(nn.Conv2d):
    """As timm's StdConv2d."""

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        w = F.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6).reshape_as(self.weight)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


WAYS = {
    "weight_norm": lambda layer: parametrizations.weight_norm(layer),
    "weight_norm, old": lambda layer: nn.utils.weight_norm(layer),
    "spectral_norm": lambda layer: parametrizations.spectral_norm(layer),
    "spectral_norm, old": lambda layer: nn.utils.spectral_norm(layer),
    "own": lambda layer: parametrize.register_parametrization(layer, "weight", Doubled()),
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "pruned twice": lambda layer: prune.random_unstructured(WAYS["pruned"](layer), "weight", 0.3),
    "pruned bias": lambda layer: prune.l1_unstructured(layer, "bias", 0.5),
}
X = torch.randn(16, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def network(first=None):
    torch.manual_seed(0)
    return nn.Sequential(first or nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()


def moved(layer):
    """The layer, its parameters changed after the last time that its weight was computed."""
    layer(torch.zeros(1, *((3, 9, 9) if layer.in_channels == 3 else (8, 3, 3))))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.5)
    return layer


@pytest.mark.parametrize("way", WAYS)
def test_the_weight_that_a_layer_computes_with_now_is_the_one_that_is_quantized(way):
    model = network()
    WAYS[way](model[3])
    moved(model[3])
    with torch.no_grad():
        images = torch.eye(8).reshape(8, 8, 1, 1)
        wanted = model[3](images) - model[3](torch.zeros(1, 8, 1, 1))
    weight = read_model(model, (X,)).graph["3"].weight[:, :, 0, 0]
    torch.testing.assert_close(torch.from_numpy(weight.T), wanted[:, :, 0, 0], atol=1e-5, rtol=1e-5)
    assert error_of(converted(model, X), model, X) < 0.05


@pytest.mark.parametrize("way", WAYS)
def test_export_quantizes_computed_weights_too(way):
    model = network()
    WAYS[way](model[0])
    assert error_of(converted_by_export(model, X), model, X) < 0.05


@pytest.mark.parametrize("kind", [Standardized, StandardizedByNorm])
def test_a_weight_that_forward_computes_from_parameters_is_a_constant(kind):
    model = network(kind(3, 8, 3))
    assert len(read_model(model, (X,)).graph.layers) == 2
    assert error_of(converted(model, X), model, X) < 0.05
    converted_by_export(model, X)


def test_a_linear_with_a_computed_weight_and_bias_is_a_layer():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.w, self.b = nn.Conv2d(3, 8, 3), nn.Parameter(torch.randn(4, 8)), nn.Parameter(torch.ones(4))

        def forward(self, x):
            return F.linear(self.conv(x).relu().mean((2, 3)), self.w.tanh() * 2, self.b - 0.5)

    model = Net().eval()
    graph = read_model(model, (X,)).graph
    wanted = (model.w.tanh() * 2).detach().double().numpy()
    assert (graph["linear"].weight == wanted).all()
    assert graph["linear"].bias.tolist() == [0.5] * 4
    converted(model, X)


@pytest.mark.parametrize("way", WAYS)
def test_reading_leaves_the_model_and_its_class_as_they_were(way):
    model = network()
    WAYS[way](model[3])
    before, classes = copy.deepcopy(model.state_dict()), [type(m) for m in model.modules()]
    searched(model, X)
    assert classes == [type(m) for m in model.modules()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.isfinite(model(X)).all()


@pytest.mark.parametrize("way", WAYS)
def test_training_keeps_how_a_weight_is_computed(way):
    model = network()
    WAYS[way](model[3])
    names = {name for name, _ in model.named_parameters()}
    search = fx.Search(model, X, target="torch-x86", weight_bits=4, activation_bits=8, method="po2_gradient", steps=3)
    optimizer = torch.optim.SGD(search.parameter_groups(lr=0.01))
    for _ in range(3):
        optimizer.zero_grad()
        (search.model(X).square().mean() + search.penalty()).backward()
        optimizer.step()
        search.step()
    recipe = search.harden()
    trained = search.float_model()
    assert {name for name, _ in trained.named_parameters()} == names
    if way == "pruned":
        assert float((trained(X) is not None) and (trained[3].weight == 0).float().mean()) == 0.5
    int8 = fx.quantize(trained, recipe, X)
    fx.verify(int8, fx.simulate(trained, recipe), [X]).raise_if_different()
    with torch.no_grad():
        assert torch.equal(search.model.eval()(X), fx.simulate(trained, recipe)(X))


def test_training_refuses_a_weight_that_forward_computes():
    with pytest.raises(mpq.ModelError, match=r"^0\.conv2d: the weight is computed in forward\(\).*parametrization"):
        fx.Search(network(Standardized(3, 8, 3)), X, target="torch-x86", weight_bits=4, activation_bits=8)


def test_training_refuses_norms_whose_statistics_replicas_share():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SyncBatchNorm(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    converted(model, X)
    with pytest.raises(mpq.ModelError, match=r"^1: training folds batch norms by each replica's own statistics"):
        fx.Search(model, X, target="torch-x86", weight_bits=4, activation_bits=8)
