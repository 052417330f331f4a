"""What is refused, with which sentence, and that every spelling of an op computes the same."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.errors import UnsupportedOp
from mpq_torch.tests.written import graph_of, graph_of_integers, written

IMAGES, SIGNALS = (4, 4, 6, 6), (2, 4, 28)


class Between(nn.Module):
    """A function or module between two layers, so that it may not stay float."""

    def __init__(self, op, dims=2):
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d}[dims]
        self.first, self.last = conv(4, 4, 1), conv(4, 2, 1)
        self.op = op

    def forward(self, x):
        return self.last(self.op(self.first(x)))


class DropPath(nn.Module):
    """As timm's, out of training the identity."""

    def __init__(self):
        super().__init__()
        self.probability = 0.3

    def forward(self, x):
        if self.probability == 0.0 or not self.training:
            return x
        return x * torch.empty(x.shape[0], 1, 1, 1).bernoulli_(1 - self.probability)


def stochastic_depth(input, p, mode, training=True):
    if p < 0.0 or p > 1.0:
        raise ValueError(p)
    return input * torch.empty(len(input), 1, 1, 1).bernoulli_(1 - p) if training else input


torch.fx.wrap("stochastic_depth")


class StochasticDepth(nn.Module):
    """As torchvision's, whose function torch.fx does not look into."""

    def forward(self, x):
        return stochastic_depth(x, 0.3, "row", self.training)


class Indexed(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2, return_indices=True)

    def forward(self, x):
        return self.pool(x)[0]


REFUSED = [
    (nn.Upsample(scale_factor=1.5, mode="nearest-exact"), "interpolation mode 'nearest-exact' has no exact integer"),
    (lambda x: F.pad(x, (1, 1), value=float("inf")), "it pads with numbers that no grid holds beside the others"),
    (lambda x: x[1:], "taking some of the samples of a batch has no integer kernel"),
    (lambda x: x[:, :, [0, 2], [1, 3]], "indexing by a tensor has no integer kernel"),
    (lambda x: torch.roll(x, 3), "a roll of all elements in one row has no integer kernel"),
    (lambda x: x.repeat(2, 1, 1, 1), "repeating the samples of a batch has no integer kernel"),
    (Indexed(), "max pooling with indices has no integer kernel"),
    (lambda x: F.dropout(x, 0.5), "dropout changes its input here, and has no integer kernel"),
    (lambda x: x.to(torch.float64).float(), "to changes its input here, and has no integer kernel"),
    (lambda x: x + float("inf"), "add with this constant has no integer kernel; let it be finite"),
    (lambda x: torch.ones(6, 6).cumsum(1) / x, "div of this constant has no integer kernel"),
    (lambda x: x / x.shape[0], "div with a number that changes from call to call has no integer kernel"),
    (lambda x: 2**x, "only the powers by a number have an integer kernel"),
    (lambda x: x.mean(0, keepdim=True) + x, "mixing the samples of a batch has no integer kernel"),
    (lambda x: x.max(1, keepdim=True)[1] + x, "the places of the largest have no integer kernel"),
    (nn.LogSoftmax(1), "no integer kernel for LogSoftmax"),
    (lambda x: torch.cumsum(x, 1), "no integer kernel for cumsum"),
    (lambda x: x.cumprod(1), "no integer kernel for cumprod"),
    (lambda x: F.conv2d(x, x), "a functional layer whose weight is computed has no integer kernel"),
]


@pytest.mark.parametrize(("op", "sentence"), REFUSED, ids=[s[:60] + str(i) for i, (_, s) in enumerate(REFUSED)])
def test_an_op_without_an_integer_kernel_is_refused_with_the_reason(op, sentence):
    with pytest.raises(UnsupportedOp, match=sentence):
        graph_of_integers(Between(op).eval(), torch.randn(IMAGES))


def test_a_clamp_between_tensors_is_refused():
    with pytest.raises(UnsupportedOp, match="the bounds of a clamp must be constants"):
        graph_of_integers(Between(lambda x: torch.clamp(x, x.flip(1))).eval(), torch.randn(IMAGES))


def test_the_way_out_of_a_refusal_leaves_the_op_in_float():
    model = Between(nn.LogSoftmax(1)).eval()
    with pytest.raises(UnsupportedOp, match=r"op: no integer kernel for LogSoftmax; and a weight follows"):
        graph_of_integers(model, torch.randn(IMAGES))
    assert graph_of_integers(model, torch.randn(IMAGES), ["op"]).float_ops == ("op",)


# each line: spellings of one op that must compute the same
SAME = [
    (IMAGES, nn.ReLU(), nn.ReLU(inplace=True), F.relu, torch.relu, lambda x: x.relu()),
    (IMAGES, nn.ReLU6(), F.relu6),
    (IMAGES, nn.Hardtanh(-2, 2), lambda x: F.hardtanh(x, -2, 2), lambda x: F.hardtanh(x, min_val=-2, max_val=2)),
    (IMAGES, lambda x: torch.clamp(x, -1, 1), lambda x: x.clamp(min=-1, max=1), lambda x: torch.clip(x, -1, 1)),
    (IMAGES, nn.Hardswish(), F.hardswish),
    (IMAGES, nn.MaxPool2d(2), lambda x: F.max_pool2d(x, 2), lambda x: F.max_pool2d(x, kernel_size=2)),
    (IMAGES, nn.MaxPool2d(3, 2, 1), lambda x: F.max_pool2d(x, 3, stride=2, padding=1)),
    (SIGNALS, nn.MaxPool1d(2), lambda x: F.max_pool1d(x, 2)),
    (IMAGES, nn.AvgPool2d(2), lambda x: F.avg_pool2d(x, 2), lambda x: F.avg_pool2d(x, kernel_size=(2, 2), stride=2)),
    (IMAGES, nn.AvgPool2d(3, 2, 1, ceil_mode=True), lambda x: F.avg_pool2d(x, 3, 2, 1, True)),
    (SIGNALS, nn.AvgPool1d(4), lambda x: F.avg_pool1d(x, 4), lambda x: torch.avg_pool1d(x, (4,))),
    (
        IMAGES,
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d((1, 1)),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: x.mean((2, 3), keepdim=True),
        lambda x: torch.mean(x, (-1, -2), True),
    ),
    (
        SIGNALS,
        nn.AdaptiveAvgPool1d(1),
        lambda x: F.adaptive_avg_pool1d(x, 1),
        lambda x: x.mean(2, keepdim=True),
        lambda x: torch.mean(x, [-1], True),
        lambda x: x.mean(-1).unsqueeze(2),
    ),
    (IMAGES, nn.AdaptiveAvgPool2d(3), nn.AvgPool2d(2), lambda x: F.adaptive_avg_pool2d(x, 3)),
    (IMAGES, nn.AdaptiveAvgPool2d((2, 3)), nn.AvgPool2d((3, 2))),
    (IMAGES, nn.AdaptiveMaxPool2d((2, 3)), nn.MaxPool2d((3, 2)), lambda x: F.adaptive_max_pool2d(x, (2, 3))),
    (SIGNALS, nn.AdaptiveMaxPool1d(7), nn.MaxPool1d(4), lambda x: F.adaptive_max_pool1d(x, 7)),
    (
        IMAGES,
        lambda x: F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0][:, :, None, None],
        lambda x: F.adaptive_avg_pool2d(x, 1).squeeze().unsqueeze(-1).unsqueeze(-1),
        lambda x: F.avg_pool2d(x, x.shape[2:]).flatten(1).unflatten(1, (4, 1, 1)),
        lambda x: F.avg_pool2d(x, x.size()[2:]).view_as(x[:, :, :1, :1]),
        lambda x: nn.Unflatten(1, (4, 1, 1))(x.mean((2, 3))),
    ),
    (
        IMAGES,
        lambda x: torch.flatten(x, 1).view(x.shape),
        lambda x: x.view(x.size(0), -1).reshape(x.size()),
        lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2] * x.shape[3]).reshape(-1, *x.shape[1:]),
        lambda x: x.flatten(start_dim=1).reshape_as(x),
        lambda x: x.reshape(-1, x.numel() // x.shape[0]).view(x.shape),
        lambda x: nn.Flatten()(x).unflatten(1, x.shape[1:]),
    ),
    (
        IMAGES,
        nn.Upsample(scale_factor=2),
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.interpolate(x, 12),
    ),
    (IMAGES, nn.ZeroPad2d((1, 2, 0, 1)), nn.ConstantPad2d((1, 2, 0, 1), 0.0), lambda x: F.pad(x, (1, 2, 0, 1))),
    (IMAGES, lambda x: x[:, :, ::2, ::4], lambda x: x[:, :, 0::2, ::4]),
    (
        IMAGES,
        nn.Identity(),
        nn.Dropout(0.5),
        nn.Dropout2d(0.5),
        nn.Dropout3d(0.5),
        nn.AlphaDropout(0.5),
        nn.FeatureAlphaDropout(0.5),
        DropPath(),
        StochasticDepth(),
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: F.dropout3d(x, 0.5, False),
        lambda x: F.alpha_dropout(x, 0.5),
        lambda x: torch.dropout(x, 0.5, False),
        lambda x: x.to(torch.float32).float().detach().clone().contiguous(),
        lambda x: x[:, :, :, :],
        lambda x: x[...],
        lambda x: F.adaptive_avg_pool2d(x, (6, None)),
        nn.AdaptiveAvgPool2d(6),
        nn.AdaptiveMaxPool2d((None, 6)),
    ),
    (SIGNALS, nn.Dropout1d(0.5), lambda x: F.dropout1d(x, 0.5, False), nn.AdaptiveAvgPool1d(28)),
    (IMAGES, lambda x: x + x, lambda x: torch.add(x, x), lambda x: x.add(x), lambda x: torch.add(input=x, other=x)),
    (IMAGES, lambda x: torch.permute(x, (0, 1, 3, 2)), lambda x: x.transpose(2, 3), lambda x: x.permute(0, 1, 3, 2)),
]


@pytest.mark.parametrize("line", SAME, ids=range(len(SAME)))
def test_every_spelling_of_an_op_computes_what_the_model_computes(line):
    shape, *spellings = line
    x = torch.randn(shape) * 3
    results = []
    for op in spellings:
        torch.manual_seed(0)
        model = Between(op, dims=len(shape) - 2).eval()
        assert graph_of(model, x).float_ops == ()
        with torch.no_grad():
            results.append(written(model, x)(x))
            torch.testing.assert_close(results[-1], model(x), atol=1e-6, rtol=1e-6)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], atol=1e-6, rtol=1e-6)


FUNCTIONAL = [
    (nn.Conv1d(4, 4, 3, 2, 1, groups=2), SIGNALS, F.conv1d),
    (nn.Conv2d(4, 4, (3, 1), (1, 2), (1, 0), bias=False), IMAGES, F.conv2d),
    (nn.Conv2d(4, 4, 3, padding=2, dilation=2), IMAGES, F.conv2d),
    (nn.Conv2d(4, 4, (3, 1), padding="same", dilation=2), IMAGES, F.conv2d),
    (nn.Conv1d(4, 4, 4, padding="valid"), SIGNALS, F.conv1d),
    (nn.ConvTranspose1d(4, 4, 3, 2, 1, 1), SIGNALS, F.conv_transpose1d),
    (nn.ConvTranspose2d(4, 4, 3, stride=2, groups=2, dilation=2), IMAGES, F.conv_transpose2d),
]


@pytest.mark.parametrize(("layer", "shape", "function"), FUNCTIONAL, ids=range(len(FUNCTIONAL)))
def test_a_functional_layer_becomes_the_module_with_the_same_numbers(layer, shape, function):
    names = ["stride", "padding", "dilation", "groups"]
    names += ["output_padding"] if "transpose" in function.__name__ else []

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel, self.offset = layer.weight, layer.bias

        def forward(self, x):
            return function(x, self.kernel, self.offset, **{name: getattr(layer, name) for name in names})

    x = torch.randn(shape)
    model = written(Functional().eval(), x)
    (found,) = [module for module in model.modules() if hasattr(module, "weight")]
    assert type(found) is type(layer)
    assert torch.equal(model(x), layer(x))


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(4, 4, (3, 5), padding="same", dilation=2), nn.Conv1d(4, 4, 3, padding="valid")]
)
def test_padding_by_name_becomes_padding_by_number_and_computes_the_same(layer):
    x = torch.randn(SIGNALS if isinstance(layer, nn.Conv1d) else IMAGES)
    graph = written(nn.Sequential(layer).eval(), x)
    assert graph.get_submodule("0").padding == ((0,) if isinstance(layer, nn.Conv1d) else (2, 4))
    torch.testing.assert_close(graph(x), layer(x))


def test_a_functional_linear_becomes_a_linear():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(3, 5))

        def forward(self, x):
            return F.linear(x, self.kernel)

    model, x = Functional().eval(), torch.randn(2, 5)
    found = written(model, x)
    assert isinstance(found.get_submodule("linear"), nn.Linear)
    assert torch.equal(found(x), model(x))
