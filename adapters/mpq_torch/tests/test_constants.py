"""Arithmetic with constants in torch: every spelling computes the same, and one function gets one verdict."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins import plugins
from mpq_plugins.errors import UnsupportedOp
from mpq_torch.reader.reading import read_model
from mpq_torch.tests.test_spellings import IMAGES, Between
from mpq_torch.tests.written import written

TARGETS = ("torch-x86", "torch-pt2e", "onnxruntime", "litert-po2", "generic-po2")


class WithConstants(Between):
    """A function of the tensor between two layers, and of a parameter and a buffer of its channels."""

    def __init__(self, op):
        super().__init__(op)
        self.gain = nn.Parameter(torch.tensor([0.5, 1.5, -2.0, 1.0]))
        self.register_buffer("mean", torch.tensor([0.25, -0.5, 1.0, 2.0]))

    def forward(self, x):
        return self.last(self.op(self, F.relu(self.first(x))))


def ops_of(model, x, target):
    """The ops behind the ReLU, up to the last layer."""
    nodes = read_model(model.eval(), (x,), target=plugins.target(target)).graph.nodes
    names = [node.name for node in nodes]
    return [node.op for node in nodes[names.index("first") + 1 : names.index("last")]]


# each line: spellings of one op with a constant that must compute the same
SAME = [
    (
        lambda m, x: x + 3,
        lambda m, x: 3.0 + x,
        lambda m, x: x - (-3),
        lambda m, x: torch.add(x, 3),
        lambda m, x: x.add(3.0),
        lambda m, x: x.add_(3.0),
        lambda m, x: torch.sub(input=x, other=-3.0),
    ),
    (
        lambda m, x: x / 2,
        lambda m, x: x * 0.5,
        lambda m, x: torch.div(x, 2.0),
        lambda m, x: x.mul(torch.tensor(0.5)),
        lambda m, x: torch.true_divide(x, 2),
        lambda m, x: x * (m.mean.shape[0] ** -0.5),
    ),
    (
        lambda m, x: 2 - x,
        lambda m, x: -x + 2,
        lambda m, x: torch.rsub(x, 2),
        lambda m, x: x.neg() + 2.0,
        lambda m, x: -(x - 2.0),
        lambda m, x: torch.negative(x) - -2,
    ),
    (
        lambda m, x: (x - m.mean[None, :, None, None]) * m.gain.view(1, -1, 1, 1),
        lambda m, x: (x - m.mean.reshape(4, 1, 1)) * m.gain[:, None, None],
        lambda m, x: x * m.gain.view(4, 1, 1) - (m.mean * m.gain)[:, None, None],
    ),
    (lambda m, x: x * x, lambda m, x: x**2, lambda m, x: torch.square(x), lambda m, x: x.pow(2)),
    (lambda m, x: x**3, lambda m, x: x * x * x, lambda m, x: torch.pow(x, 3)),
    (lambda m, x: x - torch.tanh(x), lambda m, x: -(torch.tanh(x) - x), lambda m, x: x.sub(x.tanh())),
    (lambda m, x: abs(x - 1), lambda m, x: torch.abs(x - 1), lambda m, x: (x - 1).abs()),
]


@pytest.mark.parametrize("line", SAME, ids=range(len(SAME)))
def test_every_spelling_computes_what_the_model_computes(line):
    x, results = torch.randn(IMAGES), []
    for op in line:
        torch.manual_seed(0)
        model = WithConstants(op).eval()
        with torch.no_grad():
            results.append(written(model, x)(x))
            torch.testing.assert_close(results[-1], model(x), atol=1e-6, rtol=1e-5)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], atol=1e-6, rtol=1e-5)


HARDSWISH = [
    lambda m, x: F.hardswish(x),
    lambda m, x: x * F.relu6(x + 3) / 6,
    lambda m, x: x * (F.relu6(x + 3.0) * 0.16666667),
    lambda m, x: x * F.hardtanh(x + 3, 0, 6) / 6.0,
    lambda m, x: x.mul(F.hardsigmoid(x)),
    lambda m, x: x * torch.clamp(x / 6 + 0.5, 0, 1),
]
HARDSIGMOID = [
    lambda m, x: F.hardsigmoid(x),
    lambda m, x: F.relu6(x + 3) / 6,
    lambda m, x: F.relu6(x + 3) * (1 / 6),
    lambda m, x: torch.clamp(x * 0.16666667 + 0.5, 0, 1),
]
SILU = [
    lambda m, x: F.silu(x),
    lambda m, x: x * torch.sigmoid(x),
    lambda m, x: torch.sigmoid(x) * x,
    lambda m, x: x * 0.5 * (1 + torch.tanh(x / 2)),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("line", [HARDSWISH, HARDSIGMOID, SILU], ids=["hardswish", "hardsigmoid", "silu"])
def test_a_function_gets_one_verdict_however_it_is_spelled(line, target):
    found = [ops_of(WithConstants(op), torch.randn(IMAGES), target) for op in line]
    assert all(ops == found[0] for ops in found)


def test_the_tanh_form_of_gelu_is_the_record_where_there_is_a_table():
    def by_hand(m, x):
        return 0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * (x + 0.044715 * torch.pow(x, 3))))

    for target in ("onnxruntime", "litert-po2", "torch-pt2e"):
        assert ops_of(WithConstants(by_hand), torch.randn(IMAGES), target) == ["gelu"]


def test_a_model_that_normalizes_its_images_takes_that_into_the_first_layer_where_nothing_is_padded():
    class Normalized(nn.Module):
        def __init__(self, padding):
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
            self.conv = nn.Conv2d(3, 4, 3, padding=padding)

        def forward(self, x):
            return self.conv((x / 255 - self.mean) / self.std)

    x = torch.rand(2, 3, 8, 8) * 255
    for padding, ops in ((0, ["conv2d"]), (1, ["depthwise_conv2d", "conv2d"])):
        model = Normalized(padding).eval()
        graph = read_model(model, (x,)).graph
        assert [node.op for node in graph.nodes if node.weighted] == ops
        torch.testing.assert_close(written(model, x)(x), model(x), atol=1e-5, rtol=1e-5)


def test_a_number_that_the_caller_gives_is_no_constant():
    class Given(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x, factor=0.5):
            return self.last(self.fc(x) * factor)

    graph = read_model(Given().eval(), (torch.randn(4, 3), 0.5)).graph
    assert graph["mul"].op == "float"
    assert graph["mul"].attrs["reason"] == "mul with a number that changes from call to call has no integer kernel"


def test_a_constant_that_varies_along_several_axes_is_a_tensor_with_a_grid_of_its_own():
    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.last = nn.Linear(4, 4), nn.Linear(4, 2)
            self.position = nn.Parameter(torch.randn(1, 5, 4))

        def forward(self, x):
            return self.last(self.fc(x) + self.position)

    graph = read_model(Placed().eval(), (torch.randn(2, 5, 4),)).graph
    assert [node.op for node in graph.nodes if "position" in node.name] == ["constant", "input"]


def test_a_weight_that_the_model_computes_from_its_own_is_the_one_that_it_has():
    class Standardized(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            weight = self.conv.weight
            mean, spread = weight.mean((1, 2, 3), keepdim=True), weight.std((1, 2, 3), keepdim=True)
            return F.conv2d(x, (weight - mean) / (spread + 1e-5), self.conv.bias * 2)

    model, x = Standardized().eval(), torch.randn(2, 3, 6, 6)
    assert [node.op for node in read_model(model, (x,)).graph.nodes] == ["argument", "input", "conv2d"]
    torch.testing.assert_close(written(model, x)(x), model(x))


class Tokens(nn.Module):
    """Tokens between two layers, with tensors of the model's own among them."""

    def __init__(self, op):
        super().__init__()
        self.first, self.last, self.op = nn.Linear(3, 3), nn.Linear(3, 2), op
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 3)), nn.Parameter(torch.randn(4, 3))
        self.embedding, self.mlp = nn.Embedding(4, 3), nn.Linear(2, 3)
        self.register_buffer("coordinates", torch.randn(4, 2))

    def forward(self, x):
        return self.last(self.op(self, F.relu(self.first(x))))


JOINED = ["pad", "constant", "input", "pad", "add"]
FOLDED = [
    (lambda m, x: torch.cat([m.token.expand(x.shape[0], -1, -1), x], 1), JOINED),
    (lambda m, x: torch.cat([x, (m.token.repeat(len(x.shape) - 2, 1, 1) * 2).expand(x.size(0), 1, 3)], 1), JOINED),
    (lambda m, x: torch.cat((x.new_zeros(x.shape[0], 1, 3), x), 1), ["pad"]),
    (lambda m, x: x + m.embedding(torch.arange(x.shape[1])), ["constant", "input", "add"]),
    (lambda m, x: x * m.places, ["constant", "input", "mul"]),
    (lambda m, x: x + m.mlp(m.coordinates).softmax(-1)[None], ["constant", "input", "add"]),
    (lambda m, x: torch.einsum("bnd,mn->bmd", x, m.coordinates.T), ["transpose", "linear", "transpose"]),
    (lambda m, x: m.coordinates.T @ x, ["transpose", "linear", "transpose"]),
    (lambda m, x: x.masked_fill(m.places > 0, 0), ["constant", "input", "mul", "reshape"]),
    (
        lambda m, x: torch.where(m.places > 0, 0.5, x),
        ["constant", "input", "mul", "constant", "input", "add", "reshape"],
    ),
    (
        lambda m, x: torch.maximum(x, m.places),
        ["reshape", "constant", "input", "pad", "pad", "add", "reshape", "max_pool", "reshape"],
    ),
]


@pytest.mark.parametrize(("op", "ops"), FOLDED, ids=range(len(FOLDED)))
def test_what_is_computed_from_constants_alone_is_one_constant(op, ops):
    torch.manual_seed(0)
    model, x = Tokens(op).eval(), torch.randn(2, 4, 3)
    for target in ("litert-po2", "torch-x86"):
        assert sorted(ops_of(model, x, target)) == sorted(ops)
    again = written(model, x)
    other = torch.randn(5, 4, 3)
    torch.testing.assert_close(again(other), model(other), atol=1e-6, rtol=1e-5)
    assert ops_of(again, x, "litert-po2") == ops_of(model, x, "litert-po2")


def test_what_is_drawn_anew_at_every_call_is_no_constant():
    model = Tokens(lambda m, x: x + torch.rand_like(m.places)).eval()
    with pytest.raises(UnsupportedOp, match="rand_like"):
        ops_of(model, torch.randn(2, 4, 3), "litert-po2")
