"""torch's recurrent layers over long series: the products with what is read apart from what goes on from step to step.

What a layer multiplies its input with does not depend on its states: it is one linear layer over all steps, which can
be quantized. The rest is torch's own function of a recurrent layer, which reads the gates of each step as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.graph.recurrence import READ_APART
from mpq_torch.calling.arguments import called
from mpq_torch.modules.recurrent import GRU, LSTM, SERIES, kind_of, pair_of, split_biases, take_over

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    LSTM: torch.lstm,
    GRU: torch.gru,
    "tanh": torch.rnn_tanh,
    "relu": torch.rnn_relu,
}


def long_series(model: nn.Module, example: Sequence[Any]) -> frozenset[nn.Module]:
    """The recurrent layers that read series of more than ``READ_APART`` steps whenever the model calls them.

    The model is run on the example, if it has any; of one that this does not go through, reading says what is wrong.
    """
    found: dict[nn.Module, bool] = {}

    def look(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = args[0] if args else kwargs.get("input")
        long = isinstance(x, Tensor) and x.dim() == 3 and x.shape[1 if layer.batch_first else 0] > READ_APART
        found[layer] = long and found.get(layer, True)

    layers = [m for m in model.modules() if isinstance(m, SERIES) and type(m) in SERIES and not m.proj_size]
    if not layers:
        return frozenset()
    handles = [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers]
    try:
        with torch.no_grad():
            called(model, example)
    except Exception:
        return frozenset()
    finally:
        for handle in handles:
            handle.remove()
    return frozenset(layer for layer, long in found.items() if long)


@fx.wrap
def recurred(
    x: Tensor, begun: tuple[Tensor, ...], weights: list[Tensor], units: int, kind: str, ways: int, first: bool
) -> Any:
    """What comes of the gates of all steps; see Recurrence."""
    states = begun or (x.new_zeros(ways, x.shape[0 if first else 1], units),) * (1 + (kind == LSTM))
    biased = len(weights) == 4 * ways
    more = (weights, biased, 1, 0.0, False, ways == 2, first)
    found = _FUNCTIONS[kind](x, states if kind == LSTM else states[0], *more)
    return (found[0], tuple(found[1:])) if kind == LSTM else tuple(found)


class Recurrence(nn.Module):
    """What goes on from step to step in one layer of an nn.LSTM, nn.GRU or nn.RNN, in float.

    Called on the gates of both ways, side by side, and on the states that it begins with, if there are some. Gives what
    the layer does.
    """

    same: Tensor
    weight: Tensor
    candidate: Tensor | None

    def __init__(self, weights: Tensor, candidates: Tensor | None, kind: str, first: bool) -> None:
        """weights: of the states, [ways, rows, units]. candidates: what a GRU adds inside, [ways, rows]."""
        super().__init__()
        self.kind, self.batch_first = kind, first
        self.ways, self.rows, self.units = weights.shape
        self.weight = nn.Parameter(weights)
        # the gates come as they are to be; each way takes its own
        self.register_buffer("same", torch.eye(self.ways * self.rows).view(self.ways, self.rows, -1), persistent=False)
        self.register_buffer("candidate", candidates)

    def forward(self, x: Tensor, *begun: Tensor) -> Any:
        weights: list[Tensor] = []
        for way in range(self.ways):
            weights += [self.same[way], self.weight[way]]
            if self.candidate is not None:
                weights += [torch.zeros_like(self.candidate[way]), self.candidate[way]]
        return recurred(x, begun, weights, self.units, self.kind, self.ways, self.batch_first)


class OneLayer(nn.Module):
    """read: the linear layer over all steps. again: the rest."""

    def __init__(self, layer: Any, index: int, ways: Sequence[str]) -> None:
        super().__init__()
        kind, units = kind_of(layer), layer.hidden_size
        pairs = [pair_of(layer, "weight", f"l{index}{way}") for way in ways]
        weight = torch.cat([read for read, _ in pairs]).detach()
        recurrence = torch.stack([again for _, again in pairs]).detach()
        self.read = nn.Linear(weight.shape[1], weight.shape[0], bool(layer.bias))
        self.read.weight = nn.Parameter(weight)
        own: Tensor | None = None
        if layer.bias:
            biases = [split_biases(kind, pair_of(layer, "bias", f"l{index}{way}"), units) for way in ways]
            self.read.bias = nn.Parameter(torch.cat([read for read, _ in biases]))
            own = torch.stack([again for _, again in biases]) if kind == GRU else None
        self.again = Recurrence(recurrence, own, kind, bool(layer.batch_first))


class LongSeries(nn.Module):
    """nn.LSTM, nn.GRU and nn.RNN on a batch."""

    def __init__(self, layer: nn.LSTM | nn.GRU | nn.RNN) -> None:
        super().__init__()
        take_over(layer, self)
        ways = ("", "_reverse") if layer.bidirectional else ("",)
        self.lstm, self.ways, self.layers = isinstance(layer, nn.LSTM), len(ways), layer.num_layers
        for index in range(layer.num_layers):
            self.add_module(f"l{index}", OneLayer(layer, index, ways))

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """The outputs, and the last states of all layers and directions."""
        begun = () if hx is None else tuple(hx) if self.lstm else (hx,)
        x, ends = input, list[tuple[Tensor, ...]]()
        for index in range(self.layers):
            layer: Any = getattr(self, f"l{index}")
            rows = slice(index * self.ways, (index + 1) * self.ways)
            own = begun if self.layers == 1 else tuple(states[rows] for states in begun)
            x, end = layer.again(layer.read(x), *own)
            ends.append(end if self.lstm else (end,))
        last = tuple(parts[0] if self.layers == 1 else torch.cat(parts) for parts in zip(*ends, strict=True))
        return x, last if self.lstm else last[0]

    def flatten_parameters(self) -> None:
        """Nothing: the weights lie as they are."""
