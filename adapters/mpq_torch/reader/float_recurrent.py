"""torch's recurrent layers that stay float, as a function of the core and its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx, nn

from mpq_torch.reader.call import Call, array_of

_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
"""ONNX's order of gates, by torch's: input, output, forget and cell; update, reset and hidden; none."""


def of_layer(call: Call) -> tuple[str, dict[str, Any]] | None:
    """An nn.LSTM, nn.GRU or nn.RNN that reads a batch, with the states that it begins with; None for others."""
    layer: Any = call.module
    word = {nn.LSTM: "lstm", nn.GRU: "gru", nn.RNN: "rnn"}[type(layer)]
    given = call.argument(1, "hx")
    begun = dict(zip(("state", "cell"), given if isinstance(given, (tuple, list)) else (given,), strict=False))
    begun = {name: tensor for name, tensor in begun.items() if tensor is not None}
    plain = all(isinstance(tensor, fx.Node) for tensor in begun.values())
    if layer.proj_size or len(call.in_shape) != 3 or not plain:
        return None
    ways = ("", "_reverse") if layer.bidirectional else ("",)
    layers = [_arrays(layer, [f"_l{index}{way}" for way in ways], word) for index in range(layer.num_layers)]
    how = {"activation": layer.nonlinearity} if word == "rnn" else {}
    return word, {"input": call.tensor(), "layers": layers, "batch_first": layer.batch_first, **how, **begun}


def of_item(call: Call) -> tuple[str, dict[str, Any]] | None:
    """A part of what a recurrent layer gives."""
    whole, index = call.node.args
    if not isinstance(whole, fx.Node) or not isinstance(index, int) or call.observed.shapes.get(whole):
        return None
    return "item", {"input": whole, "index": index}


def _arrays(layer: Any, endings: list[str], word: str) -> tuple[Any, Any, Any]:
    def gates(name: str) -> list[Any]:
        found = [array_of(getattr(layer, f"{name}{ending}")) for ending in endings]
        return [np.concatenate([np.split(a, len(_GATES[word]))[i] for i in _GATES[word]]) for a in found]

    weight, recurrence = (np.stack(gates(name)) for name in ("weight_ih", "weight_hh"))
    if not layer.bias:
        return weight, recurrence, np.zeros((len(endings), 2 * weight.shape[1]))
    both = zip(gates("bias_ih"), gates("bias_hh"), strict=True)
    return weight, recurrence, np.stack([np.concatenate(pair) for pair in both])
