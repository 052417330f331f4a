"""Recurrent layers as ONNX nodes in float, and the tuples of tensors that they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpq_plugins.exporters.onnx.writer import GraphWriter

Given = Mapping[str, Any]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def lstm(writer: GraphWriter, name: str, given: Given) -> str:
    """Layers of an LSTM, see _stacked. The tuple: (outputs, (last states, last cells))."""
    return _stacked(writer, "LSTM", name, given)


def gru(writer: GraphWriter, name: str, given: Given) -> str:
    """Layers of a GRU, see _stacked. The tuple: (outputs, last states)."""
    return _stacked(writer, "GRU", name, given)


def rnn(writer: GraphWriter, name: str, given: Given) -> str:
    """Layers without gates, see _stacked; activation: "tanh" or "relu". The tuple: (outputs, last states)."""
    return _stacked(writer, "RNN", name, given)


def item(writer: GraphWriter, name: str, given: Given) -> str:
    """One of the parts of a tuple."""
    found = writer.tuples[given["input"]][int(given["index"])]
    if isinstance(found, str):
        return found
    writer.tuples[name] = found
    return name


def _stacked(writer: GraphWriter, op: str, name: str, given: Given) -> str:
    """Layers one behind another, each a (weight, recurrence, bias) as ONNX has them.

    weight: [directions, gates * units, features]; recurrence: the same of states; bias: [directions, 2 * gates *
    units]. batch_first: whether the batch is the first axis of the input and of the outputs. last: whether the result
    is the last output alone, [batch, features]. state, cell: what all layers and directions begin with, [layers *
    directions, batch, units]; zeros where they are not given.
    """
    first, last = bool(given["batch_first"]), bool(given.get("last", False))
    x = writer.node("Transpose", [given["input"]], f"{name}.steps", perm=[1, 0, 2]) if first else given["input"]
    states: list[str] = []
    cells: list[str] = []
    for index, parts in enumerate(given["layers"]):
        at = f"{name}.{index}"
        arrays = [
            writer.constant(f"{at}.{part}", a) for part, a in zip(("weight", "recurrence", "bias"), parts, strict=True)
        ]
        directions, rows, _ = np.shape(parts[0])
        begun = [_begun(writer, f"{at}.{part}0", given.get(part), index, directions) for part in ("state", "cell")]
        begun = begun[: 1 + (op == "LSTM")] if any(begun) else []
        outputs = [f"{at}.every", f"{at}.state", *([f"{at}.cell"] if op == "LSTM" else [])]
        how: dict[str, Any] = {
            "hidden_size": rows // GATES[op],
            "direction": "bidirectional" if directions == 2 else "forward",
        }
        if op == "GRU":
            how["linear_before_reset"] = int(given.get("reset_after", True))
        elif op == "RNN":
            how["activations"] = [given["activation"].capitalize()] * directions
        writer.nodes.append(
            writer.helper.make_node(op, [x, *arrays, *(["", *begun] if begun else [])], outputs, name=at, **how)
        )
        states.append(outputs[1])
        cells += outputs[2:]
        turned = writer.node("Transpose", [outputs[0]], f"{at}.turned", perm=[0, 2, 1, 3])
        x = writer.node("Reshape", [turned, writer.constant(f"{at}.joined", [0, 0, -1], "int64")], f"{at}.outputs")
    if last:
        turned = writer.node("Transpose", [states[-1]], f"{name}.last", perm=[1, 0, 2])
        return writer.node("Reshape", [turned, writer.constant(f"{name}.flat", [0, -1], "int64")], name)
    y = writer.node("Transpose", [x], name, perm=[1, 0, 2]) if first else writer.node("Identity", [x], name)
    ends = [_joined(writer, f"{name}.{word}", parts) for word, parts in (("states", states), ("cells", cells)) if parts]
    writer.tuples[name] = (y, tuple(ends) if op == "LSTM" else ends[0])
    return y


def _begun(writer: GraphWriter, name: str, states: str | None, index: int, directions: int) -> str:
    """What a layer begins with, of what all of them do; "" for zeros."""
    if states is None:
        return ""
    first, last, axis = (
        writer.constant(f"{name}.{word}", [number], "int64")
        for word, number in (("from", index * directions), ("to", (index + 1) * directions), ("axis", 0))
    )
    return writer.node("Slice", [states, first, last, axis], name)


def _joined(writer: GraphWriter, name: str, parts: Sequence[str]) -> str:
    """The states of all layers and directions along the first axis."""
    return parts[0] if len(parts) == 1 else writer.node("Concat", parts, name, axis=0)
