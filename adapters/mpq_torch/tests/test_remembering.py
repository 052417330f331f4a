"""A model is traced once while nothing of it changes, and anew as soon as anything does."""

import gc
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from integration_tests.bits import widest
from mpq_plugins.graph.evaluation import FloatModel
from mpq_torch import fx
from mpq_torch.reader import remembering
from mpq_torch.reader.reading import read_model

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.last = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
        self.tail, self.slopes, self.act = nn.LayerNorm(6), [0.1], F.relu
        self.eval()

    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.tail(self.last(self.act(y) if self.slopes else y))


@pytest.fixture
def traced(monkeypatch):
    """The models that were traced."""
    found, trace = [], remembering.traced_and_observed
    monkeypatch.setattr(remembering, "traced_and_observed", lambda m, x, *more: found.append(m) or trace(m, x, *more))
    return found


def replaced_weight(model):
    model.conv.weight = nn.Parameter(model.conv.weight.detach() * 2)


def weight_through_data(model):
    model.conv.weight.data.mul_(2)


def weight_through_numpy(model):
    model.conv.weight.detach().numpy()[0] = 1


CHANGES = {
    "an optimizer's step": lambda model: torch.nn.init.ones_(model.conv.weight),
    "weight through data": weight_through_data,
    "weight through NumPy": weight_through_numpy,
    "replaced weight": replaced_weight,
    "buffer": lambda model: model.norm.running_mean.add_(1),
    "attribute of a layer": lambda model: setattr(model.norm, "eps", 0.5),
    "list in an attribute": lambda model: model.slopes.clear(),
    "function": lambda model: setattr(model, "act", torch.tanh),
    "module": lambda model: setattr(model, "last", nn.Sequential(nn.ReLU(), nn.Conv2d(8, 4, 1))),
    "hook": lambda model: model.conv.register_forward_hook(lambda module, given, output: output + output),
    "mask": lambda model: prune.l1_unstructured(model.last, "weight", 0.5),
    "mode": lambda model: model.train(),
    "class": lambda model: setattr(model.conv, "__class__", type("Other", (nn.Conv2d,), {})),
}


def test_a_second_reading_of_the_same_model_traces_nothing(traced):
    model = Net()
    first, second = read_model(model, (X,), ("tail",)), read_model(model, (X[:2],), ("tail",))
    assert len(traced) == 1
    assert [node.name for node in first.graph.nodes] == [node.name for node in second.graph.nodes]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_read_anew(traced, change):
    model = Net()
    read_model(model, (X,))
    CHANGES[change](model)
    after = read_model(model, (X,))
    assert len(traced) == 2
    (got,) = FloatModel(after.graph, after.runner).outputs((X,))
    expected = model.eval()(X)
    # sums of ones cancel, so that what float32 leaves of an element may be small beside what was added
    torch.testing.assert_close(got, expected, atol=1e-5 * max(1.0, float(expected.detach().abs().max())), rtol=1e-5)


def test_an_example_of_another_size_is_read_anew(traced):
    model = Net()
    model.tail = nn.Identity()
    for shape in ((2, 3, 8, 8), (2, 3, 9, 9)):
        read_model(model, (torch.randn(shape),))
    assert len(traced) == 2


def test_what_is_made_of_a_reading_shares_nothing_with_it(traced):
    model = Net()
    recipe = fx.search(model, [X], "torch-x86", weight_bits=widest("torch-x86"), activation_bits=8, progress=False)
    on_grid = fx.constrain(model, recipe, [X])
    with torch.no_grad():
        on_grid.tail.weight.zero_()
    assert fx.constrain(model, recipe, [X]).tail.weight.tolist() == model.tail.weight.tolist()
    int8 = fx.quantize(model, recipe, X, [X])
    fx.verify(int8, model, [X], recipe)
    assert traced.count(model) == 1


def test_weights_of_a_graph_take_no_memory_of_their_own_and_are_not_the_users():
    model = Net()
    reading = read_model(model, (X,))
    held, folded = reading.graph["last"].weight, reading.graph["conv"].weight
    assert held.dtype == folded.dtype == np.float32
    assert np.shares_memory(held, reading.traced.last.weight.detach().numpy())
    before = held.copy()
    with torch.no_grad():
        model.last.weight.zero_()
        fx.constrain(model, fx.search(model, [X], "torch-x86", weight_bits=4, activation_bits=8, progress=False))
    np.testing.assert_array_equal(held, before)


def test_a_model_that_holds_what_cannot_be_compared_is_not_remembered():
    model = Net()
    model.lock = threading.Lock()
    assert remembering.state_of(model) is None


def test_a_model_that_is_gone_is_forgotten():
    gc.collect()
    before = len(remembering._KNOWN)
    model = Net()
    model.conv.register_forward_hook(lambda module, given, output, own=model: None if own is None else output)
    read_model(model, (X,))
    del model
    gc.collect()
    assert len(remembering._KNOWN) <= before
