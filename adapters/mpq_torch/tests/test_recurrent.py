"""Recurrent cells and layers as the linear layers, functions and products that they are."""

import pytest
import torch
from torch import nn

from integration_tests.bits import widest
from integration_tests.records.runtimes import check_runtime
from mpq_plugins import plugins
from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.graph.recurrence import MOST_STEPS
from mpq_torch import fx
from mpq_torch.reader.reading import read_model
from mpq_torch.reader.writing import write_module

LAYERS = {
    "two lstms both ways": nn.LSTM(6, 4, 2, batch_first=True, bidirectional=True),
    "lstm without biases, steps first": nn.LSTM(6, 4, bias=False),
    "gru": nn.GRU(6, 4, batch_first=True),
    "without gates": nn.RNN(6, 4, 2, nonlinearity="relu", batch_first=True, bidirectional=True),
    "two grus both ways, steps first": nn.GRU(6, 4, 2, bidirectional=True),
}


class Begun(nn.Module):
    """A recurrent layer that begins with states of as many samples as there are, all alike."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.LSTM(6, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        states = torch.zeros(1, x.size(0), 4), torch.full((1, x.size(0), 4), 0.5)
        return self.last(self.layer(x, states)[0][:, -1])


class Series(nn.Module):
    """A recurrent layer between two linear ones. begun: whether it begins with states."""

    def __init__(self, layer, begun):
        super().__init__()
        self.first, self.layer, self.begun = nn.Linear(6, 6), layer, begun
        self.last = nn.Linear(layer.hidden_size * (2 if layer.bidirectional else 1), 2)

    def forward(self, x):
        x = self.first(x) if self.layer.batch_first else self.first(x).transpose(0, 1)
        state = None
        if self.begun:
            count = self.layer.num_layers * (2 if self.layer.bidirectional else 1)
            state = torch.stack([x[:, n % 3, :4] if self.layer.batch_first else x[n % 3, :, :4] for n in range(count)])
            state = (state, 0.5 * state) if self.layer.mode == "LSTM" else state
        y = self.layer(x, state)[0]
        return self.last(y if self.layer.batch_first else y.transpose(0, 1))


class Cells(nn.Module):
    """A cell in a loop."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.last = cell, nn.Linear(4, 2)

    def forward(self, x):
        state = None
        for step in range(3):
            state = self.cell(x[:, step], state)
        return self.last(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("begun", [False, True])
def test_a_layer_is_unrolled_for_a_target_of_integers(name, begun):
    torch.manual_seed(0)
    model, x = Series(LAYERS[name], begun and LAYERS[name].batch_first).eval(), torch.randn(3, 3, 6)
    reading = read_model(model, (x,), target=plugins.target("litert-po2"))
    assert not reading.graph.float_ops
    assert torch.allclose(write_module(reading)(x), model(x), atol=1e-5)


def test_a_layer_may_begin_with_constant_states_of_as_many_samples():
    torch.manual_seed(0)
    model, x = Begun().eval(), torch.randn(3, 3, 6)
    reading = read_model(model, (x,), target=plugins.target("litert-po2"))
    assert not reading.graph.float_ops
    assert torch.allclose(write_module(reading)(x), model(x), atol=1e-5)


def test_a_layer_stays_float_where_there_is_float_arithmetic_and_where_the_series_is_long():
    model = Series(nn.GRU(6, 4, batch_first=True), False).eval()
    short, long = torch.randn(2, 5, 6), torch.randn(2, MOST_STEPS + 1, 6)
    kinds = [read_model(model, (short,), target=plugins.target(name)).graph for name in ("torch-x86", "litert-po2")]
    assert ["layer" in graph.float_ops for graph in kinds] == [True, False]
    with pytest.raises(UnsupportedOp, match=r"layer\.series: no integer kernel for GRU"):
        read_model(model, (long,), target=plugins.target("generic-po2"))


@pytest.mark.parametrize(
    ("name", "target"),
    [*((name, target) for name in LAYERS for target in ("torch-x86", "onnxruntime")), ("gru", "torch-pt2e")],
)
def test_what_a_layer_reads_of_a_long_series_is_quantized_and_the_rest_runs_in_float(name, target):
    torch.manual_seed(0)
    layer = LAYERS[name]
    model = Series(layer, begun=layer.batch_first and layer.mode != "GRU").eval()
    x, bits = torch.randn(3, MOST_STEPS + 1, 6), widest("torch-x86")
    recipe = fx.search(model, [x], target, weight_bits=bits, activation_bits=8, progress=False)
    # each layer multiplies with its weights for every step: those of what it reads, and those of its states, in float
    sizes = {part: sum(w.numel() for n, w in layer.named_parameters() if part in n) for part in ("weight", "weight_hh")}
    ends = sum(linear.weight.numel() for linear in (model.first, model.last))
    assert sum(recipe.float_weights.values()) == sizes["weight_hh"]
    wanted = 1 - sizes["weight_hh"] / (sizes["weight"] + ends)
    assert recipe.quantized_macs == pytest.approx(wanted, abs=1e-3)  # a product of states with a number is one, too
    assert {f"layer.l{index}.read.weight" for index in range(layer.num_layers)} < set(recipe)
    torch.testing.assert_close(fx.simulate(model, recipe, example_inputs=x)(x), model(x), atol=0.15, rtol=0)
    check_runtime(model, recipe, (x,), (2 * x,))


def test_a_short_series_is_not_taken_apart():
    model = Series(nn.LSTM(6, 4, batch_first=True), False).eval()
    graphs = [read_model(model, (torch.randn(2, steps, 6),)).graph for steps in (MOST_STEPS, MOST_STEPS + 1)]
    assert [[n.name for n in graph.nodes if n.weighted] for graph in graphs] == [
        ["first", "last"],
        ["first", "layer.l0.read", "last"],
    ]


@pytest.mark.parametrize(
    "cell", [nn.LSTMCell(6, 4), nn.GRUCell(6, 4), nn.GRUCell(6, 4, bias=False), nn.RNNCell(6, 4)], ids=str
)
def test_a_cell_is_taken_apart_for_every_target(cell):
    model, x = Cells(cell).eval(), torch.randn(4, 3, 6)
    reading = read_model(model, (x,))
    assert not reading.graph.float_ops
    assert torch.allclose(write_module(reading)(x), model(x), atol=1e-5)


def test_a_cell_whose_first_state_is_zeros_fits_its_recipe_once_it_is_on_its_grids():
    class FromNothing(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.cell, self.head = nn.Linear(6, 8), nn.GRUCell(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            state = torch.zeros(x.shape[0], 8)
            for step in range(3):
                state = self.cell(self.first(x[:, step]), state)
            return self.head(state)

    torch.manual_seed(0)
    model, data = FromNothing().eval(), torch.randn(16, 3, 6)
    recipe = fx.search(model, [data], "generic-po2", weight_bits=8, activation_bits=8)
    outputs = fx.simulate(fx.constrain(model, recipe, [data]), recipe)(data)
    assert float((outputs - model(data)).abs().mean() / model(data).abs().mean()) < 0.1
