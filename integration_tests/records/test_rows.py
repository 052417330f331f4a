"""Matrix products, norms and softmaxes on every runtime: in integers where there are no floats, else float parts."""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mpq_torch
from integration_tests.records.runtimes import Called, check_integers, check_runtime
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_plugins import plugins
from mpq_plugins.integers import run
from mpq_plugins.integers.tests.c_programs import c_outputs, joined
from mpq_torch import fx
from mpq_torch.plugin import commands
from mpq_torch.reader.reading import read_model

IMAGES, TOKENS = (6, 4, 3), (5, 12)
KINDS = {
    "matmul": (TOKENS, lambda: Called(lambda x: x @ x.transpose(1, 2))),
    "matmul of images": (
        IMAGES,
        lambda: Called(lambda x: torch.matmul(F.relu(x.permute(0, 2, 3, 1)), x.permute(0, 2, 1, 3))),
    ),
    "matmul by what is rectified": (TOKENS, lambda: Called(lambda x: x @ F.relu(x).transpose(1, 2) @ F.relu(x))),
    "tokens and tables": (TOKENS, lambda: WithConstants()),
    "tokens between tokens": (TOKENS, lambda: WithRegisters()),
    "layer norm": (TOKENS, lambda: normed(nn.LayerNorm(12, 0.3))),
    "layer norm of two axes": (TOKENS, lambda: nn.LayerNorm((5, 12), elementwise_affine=False)),
    "layer norm of channels": (
        IMAGES,
        lambda: Called(lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (6,)).permute(0, 3, 1, 2)),
    ),
    "root mean square": (TOKENS, lambda: normed(nn.RMSNorm(12, 0.2))),
    "group norm": (IMAGES, lambda: normed(nn.GroupNorm(3, 6, 0.1))),
    "instance norm": (IMAGES, lambda: nn.InstanceNorm2d(6)),
    "unit vectors and quotients": (TOKENS, lambda: Called(lambda x: F.normalize(x, dim=-1) / (F.relu(x) + 1))),
    "softmax": (TOKENS, lambda: Called(lambda x: (x / 3 + 1).softmax(-1))),
    "softmax of channels": (IMAGES, lambda: nn.Softmax(1)),
    "windows": (TOKENS, lambda: Called(in_windows)),
    "attention": (TOKENS, lambda: Called(lambda x: attended(x, 3))),
    "attention under masks": (TOKENS, lambda: Masked()),
    "attention of heads": (TOKENS, lambda: Attended(nn.MultiheadAttention(12, 2, batch_first=True))),
}


class WithConstants(nn.Module):
    """A class token before the others, places without an axis for the samples, and a table of what pairs add."""

    def __init__(self):
        super().__init__()
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.randn(6, 12))
        self.table = nn.Parameter(torch.randn(2, 11))
        self.register_buffer("pairs", torch.arange(6)[:, None] - torch.arange(6) + 5)

    def forward(self, x):
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        heads = x.unflatten(-1, (2, 6)).transpose(1, 2)
        shares = (heads @ heads.transpose(2, 3) + self.table[:, self.pairs]).softmax(-1)
        return (shares @ heads).transpose(1, 2).flatten(2)


class WithRegisters(nn.Module):
    """Tokens of the model's own between the first of the sample's and the others, and none where there may be some."""

    def __init__(self):
        super().__init__()
        self.registers, self.none = nn.Parameter(torch.randn(1, 2, 12)), nn.Parameter(torch.zeros(1, 0, 12))

    def forward(self, x):
        x = torch.cat([x, self.none.expand(x.shape[0], -1, -1), x[:, :0]], 1)
        return torch.cat([x[:, :1], self.registers.expand(x.shape[0], -1, -1), x[:, 1:]], 1)


class Masked(nn.Module):
    """Attention to what comes before, with a bias of places, and every other token as it was."""

    def __init__(self):
        super().__init__()
        self.register_buffer("before", torch.ones(1, 1, 5, 5).tril())
        self.register_buffer("windows", torch.full((5, 5), -100.0).triu(3))
        self.places = nn.Parameter(torch.randn(2, 5, 5))

    def forward(self, x):
        heads = x.unflatten(-1, (2, 6)).transpose(1, 2)
        scores = heads @ heads.transpose(2, 3) / 6**0.5 + self.windows + self.places
        shares = scores.masked_fill(self.before[:, :, : x.shape[1]] == 0, -torch.inf).softmax(-1)
        y = (shares @ heads).transpose(1, 2).flatten(2)
        return torch.where(self.before[0, 0, 2, :, None] > 0, y, F.relu(x)).masked_fill(
            self.windows[0, :, None] < 0, 0.3
        )


def normed(layer):
    nn.init.uniform_(layer.weight, 0.5, 1.5)
    if getattr(layer, "bias", None) is not None:
        nn.init.normal_(layer.bias)
    return layer


def attended(x, heads):
    """Every head of queries meets the same keys and values."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (x, x.flip(1), x * 0.5))
    k, v = k[:, :1], v[:, -1:]
    return F.scaled_dot_product_attention(q, k, v, torch.linspace(-1, 1, 25).reshape(5, 5)).transpose(1, 2).flatten(2)


def in_windows(x):
    """Samples joined with windows, behind an axis of others, and behind steps."""
    first, second = x.reshape(-1, 3, 2, 2).permute(2, 0, 1, 3).unbind(0)
    y = torch.cat([(first @ second.transpose(1, 2)).softmax(-1) @ second, first], -1)
    return F.layer_norm(y.reshape(x.shape).transpose(0, 1), (12,)).transpose(0, 1)


class Attended(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


@cache
def model_of(kind):
    """The op between layers, which give it a grid of its own to work on and one to end on."""
    torch.manual_seed(0)
    shape, make = KINDS[kind]
    ends = (nn.Conv2d(6, 6, 1), nn.Conv2d(6 if kind != "matmul of images" else 4, 3, 1))
    if shape == TOKENS:
        ends = (nn.Linear(12, 12), nn.Linear(5 if kind == "matmul" else 12, 3))
    return nn.Sequential(ends[0], make(), ends[1]).eval(), torch.randn(6, *shape)


@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-optimized", "litert-po2-reference"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_exact_in_integers(kind, target):
    model, x = model_of(kind)
    for bits in (3, 8):
        recipe = clipping_recipe(model, x, target, min(bits, 7), bits)
        assert not recipe.float_ops
        check_integers(model, recipe, (x,), (2 * x,))
        check_runtime(model, recipe, (x,), (2 * x,))


@pytest.mark.parametrize("target", ["torch-x86", "torch-qnnpack", "torch-pt2e", "onnxruntime"])
@pytest.mark.parametrize("kind", ["matmul of images", "attention under masks", "attention of heads"])
def test_products_are_exact_between_float_parts(kind, target):
    model, x = model_of(kind)
    recipe = clipping_recipe(model, x, target, 7, 8)
    check_runtime(model, recipe, (x,), (2 * x,))


def test_products_are_quantized_where_norms_and_softmaxes_stay_float():
    model, x = model_of("attention of heads")
    graph = read_model(model, (x,), target=plugins.target("torch-x86")).graph
    assert [node.op for node in graph.nodes].count("matmul") == 2
    assert [graph[name].attrs["was"].op for name in graph.float_ops] == ["softmax"]


@pytest.mark.parametrize(
    "kind", ["attention under masks", "windows", "layer norm of channels", "root mean square", "softmax of channels"]
)
def test_rows_in_c_give_the_codes_of_the_program(kind, tmp_path):
    model, x = model_of(kind)
    program = mpq_torch.integers(model, clipping_recipe(model, x, "generic-po2", 7, 8), x)
    (entrance,) = program.inputs
    tensor = program.tensor(entrance.tensor)
    codes = np.random.default_rng(0).integers(tensor.low, tensor.high + 1, (4, *tensor.shape))
    wanted = joined(program, run(program, codes))
    assert np.array_equal(c_outputs(program, {entrance.tensor: codes}, tmp_path), wanted)


class OfWholeNumbers(nn.Module):
    """Bytes that the model divides, and whole numbers that it adds."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x, y):
        return self.last(F.relu(self.first(x / 255.0)) + y)


@pytest.mark.parametrize("target", ["torch-x86", "torch-pt2e", "onnxruntime", "litert-po2"])
def test_whole_numbers_enter_grids_as_floats(target):
    torch.manual_seed(0)
    batch = torch.randint(0, 256, (5, 4), dtype=torch.uint8), torch.randint(-3, 4, (5, 4), dtype=torch.int32)
    model = OfWholeNumbers().eval()
    recipe = fx.search(model, [batch], target, weight_bits=7, activation_bits=7)
    assert commands.verify(fx.constrain(model, recipe, [batch]), recipe, [batch]).exact
