"""torch's recurrent layers that stay float, as a function of the core and its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx, nn

from mpq_torch.modules.recurrent import GRU, LSTM
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


def of_recurrence(call: Call) -> tuple[str, dict[str, Any]] | None:
    """What goes on from step to step in such a layer, whose gates come as they are (``long_series``)."""
    layer: Any = call.module
    word = {LSTM: "lstm", GRU: "gru"}.get(layer.kind, "rnn")
    x, *begun = call.node.args
    states = dict(zip(("state", "cell"), begun, strict=False))
    same, weight = (np.stack([_in_order(each, word) for each in array_of(a)]) for a in (layer.same, layer.weight))
    bias = np.zeros((layer.ways, 2 * layer.rows))
    if layer.candidate is not None:
        bias[:, layer.rows :] = [_in_order(each, word) for each in array_of(layer.candidate)]
    how = {"activation": layer.kind} if word == "rnn" else {}
    return word, {"input": x, "layers": [(same, weight, bias)], "batch_first": layer.batch_first, **how, **states}


def of_item(call: Call) -> tuple[str, dict[str, Any]] | None:
    """A part of what a recurrent layer gives."""
    whole, index = call.node.args
    if not isinstance(whole, fx.Node) or not isinstance(index, int) or call.observed.shapes.get(whole):
        return None
    return "item", {"input": whole, "index": index}


def _arrays(layer: Any, endings: list[str], word: str) -> tuple[Any, Any, Any]:
    def gates(name: str) -> list[Any]:
        return [_in_order(array_of(getattr(layer, f"{name}{ending}")), word) for ending in endings]

    weight, recurrence = (np.stack(gates(name)) for name in ("weight_ih", "weight_hh"))
    if not layer.bias:
        return weight, recurrence, np.zeros((len(endings), 2 * weight.shape[1]))
    both = zip(gates("bias_ih"), gates("bias_hh"), strict=True)
    return weight, recurrence, np.stack([np.concatenate(pair) for pair in both])


def _in_order(rows: Any, word: str) -> Any:
    """The rows of torch's gates in ONNX's order."""
    parts = np.split(rows, len(_GATES[word]))
    return np.concatenate([parts[gate] for gate in _GATES[word]])
