"""Covariances, Fisher matrices and energies against autograd and explicit sums."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mpq_plugins.errors import AccuracyWarning, ModelError
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.graph.weights import from_framework, matrix
from mpq_plugins.search.measurement import Measurements
from mpq_torch import fx
from mpq_torch.calling.batches import in_chunks
from mpq_torch.reader.reading import read_model
from mpq_torch.tests.networks import Shared, network
from mpq_torch.tests.written import graph_of

LAYERS = [
    (nn.Linear(6, 4), (7, 6)),
    (nn.Linear(6, 4), (4, 3, 6)),
    (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (5, 4, 9)),
    (nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0)), (3, 2, 5, 4)),
    (nn.Conv2d(4, 8, 3, groups=4, padding=1), (3, 4, 4, 4)),
    (nn.ConvTranspose1d(2, 3, 4, stride=2, padding=1), (3, 2, 5)),
    (nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2, padding=1, output_padding=1), (2, 4, 3, 3)),
]


def measured(model, batches, seed=0):
    batches = [batch if isinstance(batch, tuple) else (batch,) for batch in batches]
    reading = read_model(model, batches[0])
    chunks = in_chunks(batches)
    return Measurements(reading.graph, take_sites(reading.graph), reading.runner, chunks, False, seed, draws=1)


def classifier(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, outputs)
    ).eval()


def signs_of(shape, seed=0):
    """Those of the first output and the first draw, grain of 32 samples by grain."""
    grains = [
        np.random.default_rng((seed, 0, 0, grain)).integers(0, 2, (32, *shape[1:]))
        for grain in range(-(-shape[0] // 32))
    ]
    return torch.from_numpy(np.concatenate(grains)[: shape[0]] * 2.0 - 1.0)


def gradients(model, x, direction):
    """Output of every module of a Sequential -> gradient there of the output times the direction."""
    values, kept = x.clone().requires_grad_(), []
    for module in model:
        values = module(values)
        values.retain_grad()
        kept.append(values)
    values.backward(direction.to(values.dtype))
    return [value.grad.double() for value in kept]


def direction_of_logits(logits, signs):
    p = torch.softmax(logits.detach().double(), 1)
    return p.sqrt() * signs - p * (p.sqrt() * signs).sum(1, keepdim=True)


def in_rows(node, weight):
    """A tensor of torch's form of the layer's weight as the rows of its matrix, [groups, outputs, inputs]."""
    own = from_framework(node.op, "NCHW", weight.double().numpy(), int(node.attrs.get("groups", 1)))
    rows = matrix(replace(node, weight=own))
    return rows.reshape(int(node.attrs.get("groups", 1)), -1, rows.shape[1])


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: str(v)[:60])
def test_the_covariance_is_that_of_the_derivatives_of_the_output_by_the_weight(layer, shape):
    torch.manual_seed(0)
    x = torch.randn(shape) + 0.5

    def output(weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    by_weight = torch.func.jacrev(output)(layer.weight.detach())
    channel_axis = len(shape) - 1 if isinstance(layer, nn.Linear) else 1
    channels = by_weight.movedim(channel_axis, 0).flatten(1, len(shape) - 1)
    covariance = measured(nn.Sequential(layer).eval(), [x]).covariance("0.weight")
    (node,) = graph_of(nn.Sequential(layer).eval(), x).layers
    groups, per_group = len(covariance), len(channels) // len(covariance)
    for group in range(groups):
        own = np.stack([in_rows(node, d)[group, 0] for d in channels[group * per_group]])
        np.testing.assert_allclose(covariance[group], np.cov(own.T, bias=True), atol=1e-5)


def test_the_output_fisher_is_the_sum_over_positions_of_g_g_t_for_the_drawn_signs():
    model, x = classifier(), torch.randn(9, 2, 4, 4)
    found = measured(model, [x], seed=3)
    by_output = gradients(model, x, direction_of_logits(model(x), signs_of((9, 3), 3)))
    for index in (0, 2):
        g = by_output[index].transpose(0, 1).flatten(1).numpy()
        np.testing.assert_allclose(found.output_fisher(f"{index}.weight"), g @ g.T / 9, rtol=1e-4, atol=1e-7)
    g = by_output[5].numpy()
    np.testing.assert_allclose(found.output_fisher("5.weight"), g.T @ g / 9, rtol=1e-4, atol=1e-7)


def test_the_gradient_energy_is_taken_behind_the_fused_relu_and_averaged_over_samples():
    model, x = classifier(), torch.randn(9, 2, 4, 4)
    found = measured(model, [x], seed=3)
    by_output = gradients(model, x, direction_of_logits(model(x), signs_of((9, 3), 3)))
    for site, module in (("0", 1), ("2", 3), ("5", 5)):
        expected = float(by_output[module].square().sum()) / 9
        assert found.gradient_energy(site) == pytest.approx(expected, rel=1e-5)


def test_the_output_fisher_averages_to_the_fisher_matrix_of_the_softmax():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 4)).eval()
    x = torch.randn(40, 4)
    p = torch.softmax(model(x).detach().double(), 1)
    of_logits = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    drawn = [measured(model, [x], seed) for seed in range(500)]
    last = np.mean([found.output_fisher("2.weight") for found in drawn], 0)
    np.testing.assert_allclose(last, of_logits.mean(0).numpy(), atol=0.01)
    hidden = model[0](x).detach()
    jacobian = model[2].weight.detach().double() * (hidden > 0).double().unsqueeze(1)
    exact = (jacobian.transpose(1, 2) @ of_logits @ jacobian).mean(0).numpy()
    average = np.mean([found.output_fisher("0.weight") for found in drawn], 0)
    np.testing.assert_allclose(average, exact, atol=0.05 * np.abs(exact).max())


@pytest.mark.parametrize("tail", [nn.Softmax(1), nn.LogSoftmax(1)])
def test_class_probabilities_and_their_logarithms_give_the_gradients_of_the_logits(tail):
    model, x = classifier(), torch.randn(9, 2, 4, 4)
    plain, ended = measured(model, [x]), measured(nn.Sequential(*model, tail).eval(), [x])
    for site in ("0.weight", "2.weight", "5.weight"):
        np.testing.assert_allclose(ended.output_fisher(site), plain.output_fisher(site), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("head", [nn.Linear(27, 1), nn.Sequential(nn.Linear(27, 8), nn.Unflatten(1, (2, 4)))])
def test_outputs_that_are_no_row_of_class_scores_get_errors_of_their_own_spread(head):
    model, x = nn.Sequential(*classifier()[:5], head).eval(), torch.randn(9, 2, 4, 4)
    output = model(x).detach()
    by_output = gradients(model, x, signs_of(output.shape) / output.double().std())
    g = by_output[2].transpose(0, 1).flatten(1).numpy()
    np.testing.assert_allclose(measured(model, [x]).output_fisher("2.weight"), g @ g.T / 9, rtol=1e-4, atol=1e-7)


def test_a_last_batch_of_one_sample_counts_like_the_others_where_errors_are_gaussian():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)).eval()
    with torch.no_grad():
        model[1].weight.mul_(1000)
    x = torch.randn(65, 4)
    whole = measured(model, [x[:64]]).output_fisher("0.weight")
    np.testing.assert_allclose(measured(model, [x]).output_fisher("0.weight"), whole, rtol=1e-3)


@pytest.mark.parametrize("sizes", [[150], [64, 64, 22], [50, 30, 70]])
def test_several_batches_measure_what_one_batch_of_all_samples_measures(sizes):
    torch.manual_seed(0)
    model, x = classifier(), torch.randn(150, 2, 4, 4)
    found = measured(model, x.split(sizes))
    by_output = gradients(model, x, direction_of_logits(model(x), signs_of((150, 3))))
    g = by_output[0].transpose(0, 1).flatten(1).numpy()
    np.testing.assert_allclose(found.output_fisher("0.weight"), g @ g.T / 150, rtol=1e-4)
    windows = nn.functional.unfold(x, 3, padding=1).transpose(0, 1).flatten(1).double().numpy()
    np.testing.assert_allclose(found.covariance("0.weight")[0], np.cov(windows, bias=True), atol=1e-5)
    assert found.gradient_energy("0") == pytest.approx(float(by_output[1].square().sum()) / 150, rel=1e-4)


def test_a_histogram_holds_every_value_of_an_activation_behind_its_relu():
    model, x = classifier(), torch.randn(70, 2, 4, 4)
    found, hidden = measured(model, [x]), model[:2](x).detach()
    histogram = found.histogram("0")
    assert histogram.count == hidden.numel()
    assert (histogram.min, histogram.max) == (0.0, float(hidden.max()))


def test_inputs_are_signed_where_the_calibration_data_goes_below_zero():
    model = classifier()
    assert measured(model, [torch.randn(3, 2, 4, 4)]).signed_inputs() == {"input": True}
    assert measured(model, [torch.rand(3, 2, 4, 4)]).signed_inputs() == {"input": False}


def test_both_calls_of_a_shared_layer_count():
    model, x = network(Shared)
    conv = read_model(model, (x,)).graph["conv"]  # with its batch norm folded
    weight, bias = (torch.from_numpy(a).float() for a in (conv.weight, conv.biases))
    first = torch.relu(nn.functional.conv2d(x, weight, bias, padding=1))
    windows = [nn.functional.unfold(v, 3, padding=1).transpose(0, 1).flatten(1) for v in (x, first)]
    expected = np.cov(torch.cat(windows, 1).double().numpy(), bias=True)
    np.testing.assert_allclose(measured(model, [x]).covariance("conv.weight")[0], expected, atol=1e-5)


def test_a_model_whose_output_has_no_gradient_is_refused():
    class Labels(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, x):
            return self.fc(x) > 0

    with pytest.raises(ModelError, match="no gradient"):
        measured(Labels().eval(), [torch.randn(5, 3)])


def test_measuring_leaves_the_model_as_it_was():
    model, x = classifier(), torch.randn(5, 2, 4, 4)
    model[0].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    measured(model, [x])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


class Detector(nn.Module):
    """Boxes of hundreds of pixels beside scores of one at most."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 6, 1)

    def forward(self, x):
        y = torch.sigmoid(self.head(x).flatten(2))
        return torch.cat([y[:, :4] * 320, y[:, 4:]], 1)


def test_a_search_says_which_part_of_an_output_its_one_grid_leaves_no_codes_for():
    torch.manual_seed(0)
    model, x = Detector().eval(), torch.randn(16, 3, 6, 6)
    given = {"weight_bits": 7, "activation_bits": 8}
    with pytest.warns(AccuracyWarning, match=r"'cat' puts .* with 'mul' .*keep_float=\['cat'\]"):
        fx.search(model, [x], "torch-x86", **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AccuracyWarning)
        recipe = fx.search(model, [x], "torch-x86", keep_float=["cat"], **given)
    error = fx.simulate(fx.constrain(model, recipe, [x]), recipe)(x) - model(x)
    assert error[:, 4:].abs().max() < 0.05
