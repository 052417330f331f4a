"""Norms by the statistics of a sample, as ONNX nodes in float."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpq_plugins.exporters.onnx.writer import GraphWriter

Given = Mapping[str, Any]


def layer_norm(writer: GraphWriter, name: str, given: Given) -> str:
    """Over the axes from ``axis`` on."""
    inputs = [given["input"], writer.constant(f"{name}.weight", given["weight"])]
    if given.get("bias") is not None:
        inputs.append(writer.constant(f"{name}.bias", given["bias"]))
    return writer.node("LayerNormalization", inputs, name, axis=int(given["axis"]), epsilon=float(given["epsilon"]))


def group_norm(writer: GraphWriter, name: str, given: Given) -> str:
    """Over so many groups of channels; weight and bias: [channels]. channels_last: the number of axes of a tensor whose
    channels are the last of them; 0 where they are the second.
    """
    rank = int(given.get("channels_last") or 0)
    if rank:
        turned = writer.node("Transpose", [given["input"]], f"{name}.turned", perm=[0, rank - 1, *range(1, rank - 1)])
        y = group_norm(writer, f"{name}.normed", {**given, "input": turned, "channels_last": 0})
        return writer.node("Transpose", [y], name, perm=[0, *range(2, rank), 1])
    parts = [writer.constant(f"{name}.{part}", given[part]) for part in ("weight", "bias")]
    attributes = {"num_groups": int(given["groups"]), "epsilon": float(given["epsilon"])}
    return writer.node("GroupNormalization", [given["input"], *parts], name, **attributes)


def instance_norm(writer: GraphWriter, name: str, given: Given) -> str:
    """Over each channel; weight and bias: [channels]."""
    parts = [writer.constant(f"{name}.{part}", given[part]) for part in ("weight", "bias")]
    return writer.node("InstanceNormalization", [given["input"], *parts], name, epsilon=float(given["epsilon"]))


def rms_norm(writer: GraphWriter, name: str, given: Given) -> str:
    """x over the root of its mean square along the axes from ``axis`` on, each below zero; times the weight.

    (Of simple ops: ONNX has the norm from opset 23 on.)
    """
    squares = writer.node("Mul", [given["input"], given["input"]], f"{name}.squares")
    axes = writer.constant(f"{name}.axes", np.arange(int(given["axis"]), 0), "int64")
    mean = writer.node("ReduceMean", [squares, axes], f"{name}.mean")
    mean = writer.node("Add", [mean, writer.constant(f"{name}.epsilon", given["epsilon"])], f"{name}.shifted")
    root = writer.node("Sqrt", [mean], f"{name}.root")
    if given.get("weight") is None:
        return writer.node("Div", [given["input"], root], name)
    normed = writer.node("Div", [given["input"], root], f"{name}.normed")
    return writer.node("Mul", [normed, writer.constant(f"{name}.weight", given["weight"])], name)
