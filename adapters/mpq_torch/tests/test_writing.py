"""A graph written as a module again: the same graph when it is read, the same numbers, the same arguments."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins import Grid, Recipe, plugins
from mpq_torch import fx
from mpq_torch.reader.reading import Reading, read_model
from mpq_torch.reader.writing import write_module
from mpq_torch.tests.networks import NETWORKS, network


def described(reading: Reading) -> list[tuple[object, ...]]:
    """All that a graph says, but for weights and the names of what was fused."""
    return [
        (n.name, n.op, n.inputs, n.shape, n.low, n.high, n.layer, n.attrs.get("what"), _plain(n.attrs))
        for n in reading.graph.nodes
    ]


def _plain(attrs):
    return repr({name: value for name, value in attrs.items() if name not in ("fused", "value", "was", "reason")})


@pytest.mark.parametrize("kind", NETWORKS)
def test_reading_a_written_module_gives_the_graph_again(kind):
    model, x = network(kind)
    once = read_model(model, [x])
    twice = read_model(write_module(once), [x])
    assert described(once) == described(twice)
    assert once.graph.outputs == twice.graph.outputs
    for a, b in zip(once.graph.layers, twice.graph.layers, strict=True):
        np.testing.assert_array_equal(np.float32(a.weight), b.weight)
        np.testing.assert_array_equal(np.float32(a.biases), b.biases)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_written_module_computes_what_the_model_does(kind):
    model, x = network(kind)
    written = write_module(read_model(model, [x]))
    with torch.no_grad():
        for got, wanted in zip(leaves(written(x)), leaves(model(x)), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def leaves(outputs):
    return torch.utils._pytree.tree_leaves(outputs)


class Scaled(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.7 * x)


class Parts(nn.Module):
    """Float parts in the middle and at the end: functions, modules, several results; a dictionary comes out."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.block = Scaled()
        self.norm = nn.LayerNorm(8)
        self.second = nn.Conv2d(3, 2, 1)

    def forward(self, x, factor=2.0):
        y = self.second(self.norm(self.block(self.first(x))))
        a, b = torch.chunk(y, 2, 1)
        return {"scores": F.softmax(a, -1) * factor, "rest": [b.exp(), y]}


KEPT = ("block.mul", "block.sigmoid", "block.mul_1", "norm")


def parts():
    torch.manual_seed(0)
    return Parts().eval(), torch.randn(4, 1, 8, 8)


def test_float_ops_keep_their_names_and_outputs_their_structure():
    model, x = parts()
    once = read_model(model, [x], KEPT)
    written = write_module(once)
    twice = read_model(written, [x], KEPT)
    assert once.graph.float_ops[:4] == KEPT
    assert once.graph.float_ops == twice.graph.float_ops
    assert described(once) == described(twice)
    with torch.no_grad():
        got, wanted = written(x), model(x)
    assert {name: type(value) for name, value in got.items()} == {"scores": torch.Tensor, "rest": list}
    torch.testing.assert_close(leaves(got), leaves(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", ["torch-x86", "torch-qnnpack"])
def test_float_ends_are_equal_bit_for_bit(target):
    model, x = parts()
    recipe = fx.search(model, [x], target, weight_bits=4, activation_bits=6, keep_float=KEPT, progress=False)
    on_grid = fx.constrain(model, recipe, [x])
    fx.verify(fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe), [x, x * 5]).raise_if_different()


def test_arguments_keep_their_names_and_defaults():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, left, right, factor=0.5):
            return self.fc(left + right) * factor

    left, right = torch.randn(2, 4, 3)
    written = write_module(read_model(Two().eval(), [left, right, 0.5]))
    assert str(inspect.signature(written.forward)) == "(left, right, factor=0.5)"
    assert torch.equal(written(left, right=right, factor=2.0), 4 * written(left, right))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
def test_constraining_a_constrained_model_changes_nothing(kind, engine):
    model, x = network(kind)
    target = plugins.target(f"torch-{engine}")
    inventory = fx.inventory(model, x, target=target)
    fixed = {"sigmoid": Grid.power_of_two(8, 0, False), "hardsigmoid": Grid.power_of_two(8, 0, False)}
    grids = {s.name: fixed.get(s.op, Grid.power_of_two(4, 1, s.signed)) for s in inventory}
    recipe = Recipe.from_inventory(inventory, grids, target.name, "by hand")
    once = fx.constrain(model, recipe)
    twice = fx.constrain(once, recipe)
    assert once.code == twice.code
    for name, value in once.state_dict().items():
        assert torch.equal(value, twice.state_dict()[name]), name


def test_parameters_are_shared_where_the_layers_are_given():
    model, x = network(NETWORKS[0])
    reading = read_model(model, [x])
    own = {"fc": model.fc}
    assert write_module(reading, own).fc.weight is model.fc.weight


@pytest.mark.parametrize(
    "options",
    [{"size": (7, 11)}, {"scale_factor": 1.7}, {"scale_factor": (0.5, 2.3)}, {"scale_factor": 2}],
)
def test_nearest_interpolation_to_any_size_is_written_exactly(options):
    class Stretched(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return self.last(F.interpolate(self.first(x), **options))

    torch.manual_seed(0)
    model, x = Stretched().eval(), torch.randn(2, 1, 9, 8)
    assert torch.equal(write_module(read_model(model, [x]))(x), model(x))


@pytest.mark.parametrize("pool", [nn.MaxPool2d(8), nn.AvgPool2d(8)])
@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
def test_a_mean_of_images_of_one_element_runs_and_is_exact(pool, engine):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pool, self.fc = nn.Conv2d(3, 8, 3), pool, nn.Linear(8, 4)

        def forward(self, x):
            return self.fc(self.pool(F.relu(self.conv(x))).mean([2, 3]))

    torch.manual_seed(0)
    model, x = Pooled().eval(), torch.randn(4, 3, 10, 10)
    recipe = fx.search(model, [x], f"torch-{engine}", weight_bits=4, activation_bits=4, progress=False)
    on_grid = fx.constrain(model, recipe)
    fx.verify(fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe), x).raise_if_different()
