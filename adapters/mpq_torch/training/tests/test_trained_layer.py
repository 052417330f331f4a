"""A trained layer computes with the folded, quantized weight, and keeps the statistics of the float layer."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from mpq_plugins.graph.folded_norms import fold_batch_norm
from mpq_torch.tests.networks import settled
from mpq_torch.training.batch_norms import FoldedNorms
from mpq_torch.training.trained_layer import Prepared, TrainedLayer

LAYERS = {
    "conv": (lambda: nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d, (4, 3, 7, 7)),
    "conv without bias": (lambda: nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d, (4, 3, 7, 7)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d, (4, 6, 7, 7)),
    "conv1d": (lambda: nn.Conv1d(3, 6, 3), nn.BatchNorm1d, (4, 3, 9)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 6, 2, stride=2), nn.BatchNorm2d, (4, 3, 5, 5)),
    "linear": (lambda: nn.Linear(5, 6), nn.BatchNorm1d, (8, 5)),
}


def call(trained, x):
    """The layer as the first and the last module of a training graph let it compute."""
    norms = FoldedNorms([trained])
    (folded,) = norms() or [None]
    y, statistics = trained(x, Prepared(trained.quantizer(trained.weight_to_quantize(folded)), folded))
    if statistics is not None:
        norms.move([(trained, statistics)])
    return y


def pair(name):
    torch.manual_seed(0)
    make, norm, shape = LAYERS[name]
    float_model = settled(nn.Sequential(make(), norm(6)))
    with torch.no_grad():
        float_model[1].weight[1] *= -1  # a negative gamma is legal
    return float_model, torch.randn(shape) * 2 + 0.3


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_the_folded_layer_is_the_converted_models_to_the_last_bit(bias):
    torch.manual_seed(3)
    layer, norm = settled(nn.Sequential(nn.Conv2d(64, 64, 3, bias=bias), nn.BatchNorm2d(64)))
    statistics = (t.detach().numpy() for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var))
    own = layer.bias.detach().numpy() if bias else None
    weight, folded_bias = fold_batch_norm(layer.weight.detach().numpy(), own, *statistics, norm.eps)
    in_float32 = (layer.weight * (norm.weight / torch.sqrt(norm.running_var + norm.eps)).view(-1, 1, 1, 1)).detach()
    assert not np.array_equal(in_float32, weight.astype(np.float32))
    trained = TrainedLayer(layer, norm, nn.Identity(), "fold")
    np.testing.assert_array_equal(trained.folded_weight().detach(), weight.astype(np.float32))
    np.testing.assert_array_equal(trained.folded_bias().detach(), folded_bias.astype(np.float32))


@pytest.mark.parametrize("mode", ["fold", "freeze", "keep"])
@pytest.mark.parametrize("name", LAYERS)
def test_without_quantization_it_computes_what_layer_and_norm_compute_in_evaluation(name, mode):
    float_model, x = pair(name)
    trained = TrainedLayer(*copy.deepcopy(float_model), nn.Identity(), mode).eval()
    torch.testing.assert_close(call(trained, x), float_model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["fold", "keep"])
@pytest.mark.parametrize("name", LAYERS)
def test_without_quantization_it_normalizes_batches_and_moves_statistics_like_the_float_layer(name, mode):
    float_model, x = pair(name)
    trained = TrainedLayer(*copy.deepcopy(float_model), nn.Identity(), mode).train()
    float_model.train()
    for _ in range(3):
        torch.testing.assert_close(call(trained, x), float_model(x), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(trained.norm.running_mean, float_model[1].running_mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trained.norm.running_var, float_model[1].running_var, rtol=1e-3, atol=1e-5)
    assert trained.norm.num_batches_tracked == 3


def test_calls_of_one_layer_fold_by_the_statistics_of_the_steps_begin_and_move_them_in_their_order():
    float_model, x = pair("conv")
    trained = TrainedLayer(*copy.deepcopy(float_model), nn.Identity(), "fold").train()
    float_model.train()
    norms = FoldedNorms([trained])
    (folded,) = norms()
    prepared = Prepared(trained.weight_to_quantize(folded), folded)
    seen = []
    for batch in (x, 3 * x):
        y, statistics = trained(batch, prepared)
        seen.append((trained, statistics))
        torch.testing.assert_close(y, float_model(batch), rtol=1e-3, atol=1e-4)
    norms.move(seen)
    torch.testing.assert_close(trained.norm.running_mean, float_model[1].running_mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trained.norm.running_var, float_model[1].running_var, rtol=1e-3, atol=1e-5)
    assert trained.norm.num_batches_tracked == 2


def test_a_cumulative_average_is_that_of_the_float_layer():
    float_model, x = pair("conv")
    float_model[1].momentum = None
    float_model[1].reset_running_stats()
    trained = TrainedLayer(*copy.deepcopy(float_model), nn.Identity(), "fold").train()
    float_model.train()
    for scale in (1.0, 2.0, 0.5):
        call(trained, x * scale)
        float_model(x * scale)
    torch.testing.assert_close(trained.norm.running_mean, float_model[1].running_mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trained.norm.running_var, float_model[1].running_var, rtol=1e-3, atol=1e-5)


def test_statistics_stay_where_they_are_once_frozen():
    float_model, x = pair("conv")
    before = float_model[1].running_mean.clone()
    trained = TrainedLayer(*float_model, nn.Identity(), "freeze").train()
    call(trained, x)
    assert torch.equal(trained.norm.running_mean, before)


def test_the_weight_that_is_quantized_is_the_folded_one():
    float_model, x = pair("conv")
    seen = []

    class Quantizer(nn.Module):
        def forward(self, weight):
            seen.append(weight.detach())
            return weight

    call(TrainedLayer(*float_model, Quantizer(), "fold"), x)
    conv, norm = float_model
    wanted = conv.weight * (norm.weight / torch.sqrt(norm.running_var + norm.eps)).view(-1, 1, 1, 1)
    torch.testing.assert_close(seen[0], wanted.detach())


def test_gradients_reach_the_weight_the_norm_and_the_input():
    float_model, x = pair("conv without bias")
    trained = TrainedLayer(*copy.deepcopy(float_model), nn.Identity(), "fold").train()
    float_model.train()
    upstream = torch.randn(float_model(x).shape)
    grads = []
    for model, parameters in ((trained, trained.parameters()), (float_model, float_model.parameters())):
        given = x.clone().requires_grad_()
        y = call(trained, given) if model is trained else model(given)
        grads.append(torch.autograd.grad(y, [given, *parameters], upstream))
    for mine, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=2e-3, atol=2e-3)


def test_it_moves_between_element_types_as_any_module():
    float_model, x = pair("conv")
    trained = TrainedLayer(*float_model, nn.Identity(), "fold").double()
    assert call(trained, x.double()).dtype == torch.float64
