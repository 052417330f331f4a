"""torch's recurrent cells and layers taken apart, so that their products can be quantized.

A cell is two linear layers, functions of one element, sums and products. A layer is its cells, one for each step: its
weights are shared by all of them, and the steps have to be as many at every call, as shapes have.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mpq_plugins.graph.recurrence import MOST_STEPS, gru_output, lstm_step, simple_step

State = tuple[Tensor, ...]
"""What a cell remembers: of an LSTM (output, cell), of others (output,)."""
LSTM, GRU = "LSTM", "GRU"
"""Kinds of cells; others are the activation of a cell without gates ("tanh", "relu")."""
CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
SERIES = (nn.LSTM, nn.GRU, nn.RNN)


class Gates(nn.Module):
    """The two linear layers of a cell. Their biases are one but for a GRU's, whose candidate keeps its own."""

    candidate: Tensor

    def __init__(self, weights: tuple[Tensor, Tensor], biases: tuple[Tensor, Tensor] | None, kind: str) -> None:
        super().__init__()
        (rows, features), units = weights[0].shape, weights[1].shape[1]
        gru = kind == GRU
        self.units, self.kind = units, kind
        self.read, self.again = nn.Linear(features, rows), nn.Linear(units, rows, bias=gru)
        read, own = split_biases(kind, biases or (torch.zeros(rows), torch.zeros(rows)), units)
        with torch.no_grad():
            self.read.weight.copy_(weights[0])
            self.again.weight.copy_(weights[1])
            self.read.bias.copy_(read)
            if gru:
                self.again.bias.copy_(own)
        self.register_buffer("candidate", own[2 * units :].clone())

    def forward(self, x: Tensor, state: State | None) -> State:
        """x: what ``read`` gave of a step. state: None for zeros."""
        if self.kind in (LSTM, GRU):
            return self._gru(x, state) if self.kind == GRU else self._lstm(x, state)
        activation = torch.relu if self.kind == "relu" else torch.tanh
        return (simple_step(x, None if state is None else self.again(state[0]), activation),)

    def _lstm(self, x: Tensor, state: State | None) -> State:
        gates = x if state is None else x + self.again(state[0])
        parts = [gates[:, n * self.units : (n + 1) * self.units] for n in range(4)]
        return lstm_step(parts, None if state is None else state[1], torch.sigmoid, torch.tanh)

    def _gru(self, x: Tensor, state: State | None) -> State:
        n = self.units
        if state is None:
            reset, update = torch.sigmoid(x[:, :n]), torch.sigmoid(x[:, n : 2 * n])
            new = torch.tanh(x[:, 2 * n :] + reset * self.candidate)
            return (gru_output(new, update, None),)
        again = self.again(state[0])
        reset = torch.sigmoid(x[:, :n] + again[:, :n])
        update = torch.sigmoid(x[:, n : 2 * n] + again[:, n : 2 * n])
        new = torch.tanh(x[:, 2 * n :] + reset * again[:, 2 * n :])
        return (gru_output(new, update, state[0]),)


class Cell(nn.Module):
    """nn.LSTMCell, nn.GRUCell and nn.RNNCell."""

    def __init__(self, cell: nn.LSTMCell | nn.GRUCell | nn.RNNCell) -> None:
        super().__init__()
        take_over(cell, self)
        self.lstm = isinstance(cell, nn.LSTMCell)
        biases = (cell.bias_ih, cell.bias_hh) if cell.bias else None
        kind = cell.nonlinearity if isinstance(cell, nn.RNNCell) else GRU if isinstance(cell, nn.GRUCell) else LSTM
        self.gates = Gates((cell.weight_ih, cell.weight_hh), biases, kind)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """The next state."""
        state = hx if hx is None or self.lstm else (hx,)
        found = self.gates(self.gates.read(input), state)
        return found if self.lstm else found[0]


class Unrolled(nn.Module):
    """nn.LSTM, nn.GRU and nn.RNN, a cell for each step."""

    def __init__(self, layer: nn.LSTM | nn.GRU | nn.RNN) -> None:
        super().__init__()
        take_over(layer, self)
        self.lstm, self.both, self.series = isinstance(layer, nn.LSTM), 2 if layer.bidirectional else 1, layer
        kind = kind_of(layer)
        for index in range(layer.num_layers):
            for way in range(self.both):
                end = f"l{index}" + "_reverse" * way
                biases = pair_of(layer, "bias", end) if layer.bias else None
                self.add_module(end, Gates(pair_of(layer, "weight", end), biases, kind))

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """The outputs, and the last states of all layers and directions; of long series as the layer has them."""
        axis = 1 if self.series.batch_first else 0
        if input.dim() != 3 or input.shape[axis] > MOST_STEPS:
            found: tuple[Tensor, Any] = self.series(input, hx)
            return found
        steps = [input.select(axis, step) for step in range(input.shape[axis])]
        ends: list[State] = []
        for index in range(self.series.num_layers):
            ways = []
            for way in range(self.both):
                gates = getattr(self, f"l{index}" + "_reverse" * way)
                before, states = self._start(hx, len(ends)), list[State]()
                for x in reversed(steps) if way else steps:
                    state: State = gates(gates.read(x), before)
                    states.append(state)
                    before = state
                ends.append(states[-1])
                outputs = [state[0] for state in states]
                ways.append(outputs[::-1] if way else outputs)
            steps = [torch.cat(parts, 1) if self.both > 1 else parts[0] for parts in zip(*ways, strict=True)]
        last = tuple(_stacked([end[part] for end in ends]) for part in range(1 + self.lstm))
        return torch.stack(steps, axis), last if self.lstm else last[0]

    def flatten_parameters(self) -> None:
        """Nothing: the weights lie as they are."""

    def _start(self, hx: Any, index: int) -> State | None:
        if hx is None:
            return None
        return tuple(part[index] for part in hx) if self.lstm else (hx[index],)


def pair_of(layer: nn.RNNBase, kind: str, end: str) -> tuple[Tensor, Tensor]:
    """What multiplies, or is added to, a layer's input and its states. kind: "weight" or "bias"; end: "l0_reverse"."""
    return getattr(layer, f"{kind}_ih_{end}"), getattr(layer, f"{kind}_hh_{end}")


def kind_of(layer: nn.LSTM | nn.GRU | nn.RNN) -> str:
    """LSTM, GRU, or the activation of a layer without gates."""
    kind: str = layer.nonlinearity if isinstance(layer, nn.RNN) else layer.mode
    return kind


def split_biases(kind: str, biases: tuple[Tensor, Tensor], units: int) -> tuple[Tensor, Tensor]:
    """What is added to what is read, and to the product with the states: one but for a GRU's candidate."""
    read, again = (bias.detach() for bias in biases)
    own = torch.zeros_like(again)
    if kind == GRU:
        own[2 * units :] = again[2 * units :]
    return read + again - own, own


def take_over(layer: nn.Module, to: nn.Module) -> None:
    """What a model may ask of a layer: its sizes and options."""
    plain = (int, float, bool, str)
    to.__dict__.update({n: v for n, v in vars(layer).items() if isinstance(v, plain) and not n.startswith("_")})


def _stacked(parts: list[Tensor]) -> Tensor:
    """Along a first axis."""
    return torch.cat([part.unsqueeze(0) for part in parts]) if len(parts) > 1 else parts[0].unsqueeze(0)


def taken_apart(module: nn.Module, unrolled: bool) -> nn.Module:
    """A recurrent cell, and a layer where it is to be unrolled, as modules that torch.fx sees into; others as they are.

    Layers without gates always are: no runtime here has one of its own. One that projects its states stays as it is,
    and so does the float part of a written model, which has the choice of its results as a module inside.
    """
    if isinstance(module, CELLS) and type(module) in CELLS:
        return Cell(module)
    wanted = (unrolled or type(module) is nn.RNN) and not module._modules
    if wanted and isinstance(module, SERIES) and type(module) in SERIES and not module.proj_size:
        return Unrolled(module)
    return module


def is_unrolled(model: nn.Module) -> bool:
    """Whether there is a layer that could be."""
    return any(type(module) in SERIES for module in model.modules())
