"""Every function of one element that torch spells, where there are tables or floats: all codes, 2 to 8 bits."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from integration_tests.records.runtimes import Called, check_runtime
from mpq_plugins import Grid, Recipe, plugins
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.graph.runtimes import runtime_of
from mpq_torch import fx
from mpq_torch.reader.spelled import spelled

BITS = range(2, 9)


def logistic(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


WANTED = {
    "abs": abs,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "exponential": math.exp,
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "hardsigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "leaky_relu": lambda x: x if x >= 0 else 0.01 * x,
    "mish": lambda x: x * math.tanh(softplus(x)),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "sigmoid": logistic,
    "silu": lambda x: x * logistic(x),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + abs(x)),
    "tanh": math.tanh,
}
"""What each is in real numbers, by the standard library."""
SPELLED = [
    w
    for w, op in all_ops().items()
    if op.table and any(n.startswith(("nn.", "torch.")) for n in op.spellings.get("torch", ()))
]
TINY = 2.0**-126
BELOW_ONE = 1 - 2.0**-24
RARER = {
    "acos": (torch.acos, lambda x: math.acos(min(max(x, -1), 1))),
    "acosh": (torch.acosh, lambda x: math.acosh(max(x, 1))),
    "asin": (torch.asin, lambda x: math.asin(min(max(x, -1), 1))),
    "asinh": (torch.asinh, math.asinh),
    "atan": (torch.atan, math.atan),
    "atanh": (torch.atanh, lambda x: math.atanh(min(max(x, -BELOW_ONE), BELOW_ONE))),
    "ceil": (torch.ceil, math.ceil),
    "celu": (nn.CELU(0.5), lambda x: x if x > 0 else 0.5 * math.expm1(2 * x)),
    "cos": (torch.cos, math.cos),
    "cosh": (torch.cosh, math.cosh),
    "erf": (torch.erf, math.erf),
    "exp2": (torch.exp2, lambda x: 2.0**x),
    "expm1": (torch.expm1, math.expm1),
    "floor": (torch.floor, math.floor),
    "hardshrink": (nn.Hardshrink(0.3), lambda x: x if abs(x) > 0.3 else 0.0),
    "log": (torch.log, lambda x: math.log(max(x, TINY))),
    "frac": (torch.frac, lambda x: math.modf(x)[0]),
    "log10": (torch.log10, lambda x: math.log10(max(x, TINY))),
    "log1p": (torch.log1p, lambda x: math.log(max(1 + x, TINY))),
    "log2": (torch.log2, lambda x: math.log2(max(x, TINY))),
    "log_sigmoid": (nn.LogSigmoid(), lambda x: -softplus(-x)),
    "power": (lambda x: torch.pow(x, 1.5), lambda x: max(x, 0.0) ** 1.5),
    "reciprocal": (torch.reciprocal, lambda x: 1 / (x or TINY)),
    "round": (torch.round, round),
    "rsqrt": (torch.rsqrt, lambda x: max(x, TINY) ** -0.5),
    "sign": (torch.sign, lambda x: (x > 0) - (x < 0)),
    "sin": (torch.sin, math.sin),
    "sinh": (torch.sinh, math.sinh),
    "softshrink": (nn.Softshrink(0.3), lambda x: math.copysign(max(abs(x) - 0.3, 0.0), x)),
    "sqrt": (torch.sqrt, lambda x: math.sqrt(max(x, 0.0))),
    "tan": (torch.tan, math.tan),
    "tanhshrink": (nn.Tanhshrink(), lambda x: x - math.tanh(x)),
    "threshold": (nn.Threshold(0.4, -0.2), lambda x: x if x > 0.4 else -0.2),
    "trunc": (torch.trunc, math.trunc),
}
"""Those that networks seldom have, all in one model: what torch calls them, and what they are in real numbers."""


def test_every_record_that_torch_spells_is_among_them():
    assert set(SPELLED) == set(WANTED) | set(RARER)


class Branches(nn.Module):
    """The function at seven widths, each behind its own input and in front of a layer that passes it on."""

    def __init__(self, word):
        super().__init__()
        name = next(n for n in all_ops()[word].spellings["torch"] if n.startswith(("nn.", "torch.")))
        found = spelled(name)
        self.functions = nn.ModuleList(found() if isinstance(found, type) else Called(found) for _ in BITS)
        self.layers = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in BITS)
        for layer in self.layers:
            nn.init.ones_(layer.weight)

    def forward(self, a, b, c, d, e, f, g):
        inputs = (a, b, c, d, e, f, g)
        return tuple(layer(h(x)) for layer, h, x in zip(self.layers, self.functions, inputs, strict=True))


def case(word, target):
    """A model of seven widths, its recipe, and all codes of every input as values."""
    model = Branches(word).eval()
    names = "abcdefg"
    inputs, grids = [], {}
    example = tuple(torch.ones(4, 1) for _ in BITS)
    inventory = fx.inventory(model, example, target=target)
    inventory = type(inventory)([s if s.op != "input" else signed(s) for s in inventory], inventory.live)
    for index, bits in enumerate(BITS):
        source = Grid.power_of_two(bits, 2 + index % 2)
        inputs.append(torch.arange(source.low, source.high + 1).float().reshape(-1, 1) * source.step)
        grids[names[index]] = source
        for site in inventory.activations:
            if site.name.startswith(f"functions.{index}"):
                kinds = plugins.target(target).activation_candidates(site.op, site.signed)
                fixed = kinds[0].exponent
                kind = (bits, index % 3) if fixed is None else (8, fixed)
                grids[site.name] = Grid.power_of_two(*kind, kinds[0].signed)
        last = [n for n in grids if n.startswith(f"functions.{index}") and not n.endswith("__sigmoid")]
        grids[f"layers.{index}"] = grids[last[0]]
        grids[f"layers.{index}.weight"] = Grid.power_of_two(7, 1)
    return model, Recipe.from_inventory(inventory, grids, target, "by hand"), inputs


def signed(site):
    return replace(site, signed=True)


def padded(inputs):
    """All inputs with as many samples."""
    return tuple(x[torch.arange(256) % len(x)] for x in inputs)


class Together(nn.Module):
    """Several functions of one input, each in front of a layer that passes it on."""

    def __init__(self, functions):
        super().__init__()
        self.functions = nn.ModuleList(f if isinstance(f, nn.Module) else Called(f) for f in functions)
        self.layers = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in functions)
        for layer in self.layers:
            nn.init.ones_(layer.weight)

    def forward(self, x):
        return tuple(layer(h(x)) for layer, h in zip(self.layers, self.functions, strict=True))


@pytest.mark.parametrize("target", ["generic-po2", "torch-pt2e", "onnxruntime", "litert-po2"])
def test_every_code_of_rarer_functions_is_the_function_rounded_once(target):
    words = [word for word in RARER if word not in runtime_of(plugins.target(target)).lacks]
    model, source = Together([RARER[word][0] for word in words]).eval(), Grid.power_of_two(8, 2)
    x = torch.arange(source.low, source.high + 1).float().reshape(-1, 1) * source.step
    inventory = fx.inventory(model, x, target=target)
    inventory = type(inventory)([s if s.op != "input" else signed(s) for s in inventory], inventory.live)
    grids = {site.name: Grid.power_of_two(6, 1) for site in inventory.activations}
    grids |= {f"layers.{index}.weight": Grid.power_of_two(8, 1) for index in range(len(words))}
    grids["x"] = source
    recipe = Recipe.from_inventory(inventory, grids, target, "by hand")
    for word, got in zip(words, fx.simulate(model, recipe, example_inputs=x)(x), strict=True):
        real = np.array([RARER[word][1](float(v)) for v in x.ravel()])
        codes = np.clip(np.rint(real / grids["layers.0"].step), -32, 31)
        assert np.array_equal(got.numpy().ravel(), codes * grids["layers.0"].step), word
    check_runtime(model, recipe, (x,))


@pytest.mark.parametrize("target", ["generic-po2", "torch-pt2e", "onnxruntime", "litert-po2", "litert-po2-reference"])
@pytest.mark.parametrize("word", WANTED)
def test_every_code_is_the_function_rounded_once(word, target):
    if (word, target) == ("softsign", "torch-pt2e"):
        example = tuple(torch.ones(4, 1) for _ in BITS)
        assert fx.inventory(Branches(word).eval(), example, target=target).float_reasons == {
            f"functions.{index}": "target 'torch-pt2e' has no kernel for softsign" for index in range(len(BITS))
        }
        return
    model, recipe, inputs = case(word, target)
    batch = padded(inputs)
    simulated = fx.simulate(model, recipe, example_inputs=batch)
    for index, (got, x) in enumerate(zip(simulated(*batch), batch, strict=True)):
        grid = recipe[f"layers.{index}"]
        real = np.array([WANTED[word](float(v)) for v in x.ravel()])
        codes = np.clip(np.rint(real / grid.step), grid.low, grid.high)
        assert np.array_equal(got.numpy().ravel(), codes * grid.step), (word, BITS[index])
    check_runtime(model, recipe, batch)


@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
@pytest.mark.parametrize("word", ["hardswish", "sigmoid", "hardsigmoid", "silu", "leaky_relu", "elu", "tanh"])
def test_every_code_is_what_torch_s_own_kernels_compute(word, engine):
    model, recipe, inputs = case(word, f"torch-{engine}")
    batch = padded(inputs)
    simulated = fx.simulate(model, recipe, example_inputs=batch)
    for index, (got, x) in enumerate(zip(simulated(*batch), batch, strict=True)):
        grid = recipe[f"layers.{index}"]
        real = np.array([wanted_on_torch(word, float(v)) for v in x.ravel()])
        codes = np.clip(np.rint(real / grid.step), grid.low, grid.high)
        assert np.array_equal(got.numpy().ravel(), codes * grid.step), (word, BITS[index])
    check_runtime(model, recipe, batch)


def wanted_on_torch(word, x):
    """SiLU as its product with a sigmoid that lies on 1/256 already."""
    return x * min(np.rint(logistic(x) * 256), 255) / 256 if word == "silu" else WANTED[word](x)
