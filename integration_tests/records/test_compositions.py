"""Ops that are several kernels: their values in float against torch's own, and exact on every runtime."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mpq_torch
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_torch import fx, litert, onnx, pt2e
from mpq_torch.reader.reading import read_model
from mpq_torch.reader.writing import write_module

IMAGES = (4, 6, 8)
TARGETS = (
    "generic-po2",
    "torch-x86",
    "torch-qnnpack",
    "torch-pt2e",
    "onnxruntime",
    "litert-po2",
    "litert-po2-reference",
)
KINDS = {
    "means and sums over other axes": lambda x: (
        x.mean(1, keepdim=True),
        x.mean(3),
        x.flatten(2).transpose(1, 2).mean(1),
        x.sum((2, 3)),
        x.sum(1),
        torch.stack([x, F.relu(x)]).mean(0),
    ),
    "averages of windows whose reciprocals round": lambda x: (
        F.avg_pool2d(x.repeat(1, 1, 1, 7), (3, 14)),
        F.avg_pool1d(x.repeat(1, 1, 1, 7).flatten(2), 28),
    ),
    "extremes over axes": lambda x: (
        x.amax((2, 3)),
        x.max(1, keepdim=True)[0],
        x.max(3).values,
        x.amin(1),
    ),
    "extremes of two": lambda x: (
        torch.maximum(x, F.relu(x) * 0.3),
        torch.min(x, x.mean((2, 3), keepdim=True)),
        torch.maximum(x, torch.tensor(0.3)),
    ),
    "poolings of several windows": lambda x: (
        F.adaptive_avg_pool2d(x, (4, 5)),
        F.adaptive_max_pool2d(x, (4, 5)),
        F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
        F.avg_pool2d(x, 2, 2, divisor_override=3),
        F.avg_pool1d(x.flatten(2), 14, 7),
    ),
    "borders and positions": lambda x: (
        F.pad(x, (1, 0, 2, 1), value=0.37),
        F.pad(F.relu(x), (1, 1), value=-0.7),
        x[:, [2, 0, 3, 3]],
        x.index_select(3, torch.tensor([7, 6, 0])),
        x.repeat_interleave(2, 1),
        F.unfold(x, (3, 2), padding=1, stride=2),
        x.unfold(2, 3, 2),
        F.fold(F.unfold(x, (3, 2), padding=1, stride=2), x.shape[2:], (3, 2), padding=1, stride=2),
    ),
    "spreads and gates": lambda x: (x.var((2, 3)), F.glu(x, 1), x.clamp_min(0.1), torch.zeros_like(x) + x),
    "products of matrices": lambda x: (
        torch.einsum("b c i j, b d i j -> b d c", x, F.relu(x)),
        torch.einsum("...ij,...kj->...ik", x, x * 0.5),
        x @ x[:, :1].transpose(2, 3),
        torch.linspace(-1, 1, 12).reshape(2, 6) @ x,
        x * F.relu(x).mean((2, 3), keepdim=True).expand_as(x),
    ),
    "sums with alpha": lambda x: (
        torch.add(x, F.relu(x), alpha=-0.5),
        torch.rsub(x, F.relu(x), alpha=2),
        torch.sub(x, 0.3, alpha=2),
        torch.addcmul(x, x, F.relu(x), value=0.5),
        torch.lerp(x, F.relu(x), 0.25),
    ),
    "PReLU": lambda x: (
        F.prelu(x, torch.tensor([0.1, -0.5, 0.25, 1.5])),
        F.prelu(x, torch.tensor([0.2])),
        F.prelu(x.mean((2, 3)), torch.tensor([0.1, -0.5, 0.25, 1.5])),
    ),
    "interpolation by whole factors": lambda x: (
        F.interpolate(x, scale_factor=2, mode="bilinear"),
        F.interpolate(x, size=(18, 8), mode="bilinear"),
        F.interpolate(x.flatten(2), scale_factor=4, mode="linear"),
        F.interpolate(x.flatten(2), scale_factor=2),
    ),
    "interpolation to other sizes": lambda x: (
        F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        F.interpolate(x, size=(4, 11), mode="bilinear"),
        F.interpolate(x, scale_factor=2, mode="bicubic"),
    ),
}


class Branches(nn.Module):
    """A pointwise layer, which gives a grid to work on, and what several functions make of it."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.function = nn.Conv2d(4, 4, 1), function

    def forward(self, x):
        return self.function(self.first(x))


@cache
def case(kind):
    """The model and a batch, which every target shares, so that it is traced once."""
    model = Branches(KINDS[kind]).eval()
    torch.manual_seed(1)
    return model, torch.randn(6, *IMAGES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_composition_is_what_torch_computes(kind):
    model, x = case(kind)
    reading = read_model(model, (x,))
    assert not reading.graph.float_ops
    for got, wanted in zip(write_module(reading)(x), model(x), strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_composition_is_exact_on_every_runtime(kind, target):
    model, x = case(kind)
    recipe = clipping_recipe(model, x, target, 4, 6)
    simulated = fx.simulate(model, recipe)
    program = mpq_torch.integers(model, recipe, x)
    mpq_torch.verify_integers(program, model, recipe, [2 * x]).raise_if_different()
    if target == "torch-pt2e":
        on_grid = pt2e.constrain(model, recipe)
        pt2e.verify(pt2e.quantize(on_grid, recipe, x), simulated, [2 * x]).raise_if_different()
    elif target.startswith("torch"):
        fx.verify(fx.quantize(model, recipe, x), simulated, [2 * x]).raise_if_different()
    elif target == "onnxruntime":
        onnx.verify(onnx.export(model, recipe, x), simulated, [2 * x]).raise_if_different()
    elif target.startswith("litert"):
        litert.verify(litert.export(model, recipe, x), model, [2 * x], recipe).raise_if_different()
