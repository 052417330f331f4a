"""Attention as ONNX nodes in float: softmax(scale * q k^T + mask) v."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpq_plugins.exporters.onnx.writer import GraphWriter

Given = Mapping[str, Any]


def attention(writer: GraphWriter, name: str, given: Given) -> str:
    """Of tensors [batch, ..., steps, features]; mask: what is added to the products, or None."""
    mask = given.get("mask")
    bias = None if mask is None else writer.constant(f"{name}.mask", mask)
    return _attended(writer, name, [given[part] for part in ("input", "key", "value")], float(given["scale"]), bias)


def heads_attention(writer: GraphWriter, name: str, given: Given) -> str:
    """Of tensors [batch, steps, heads * features], or with steps first; the result lies as they do.

    mask: added to the products, [steps, steps] or [batch, heads, steps, steps].
    """
    first, heads, mask = bool(given["batch_first"]), int(given["heads"]), given.get("mask")
    split = [_split(writer, f"{name}.{part}", given[part], heads, first) for part in ("input", "key", "value")]
    bias = None if mask is None else writer.constant(f"{name}.mask", mask)
    y = _attended(writer, f"{name}.attended", split, float(given["scale"]), bias)
    # back to the order of the inputs, and heads and features one axis; zeros keep a size as it is
    y = writer.node("Transpose", [y], f"{name}.back", perm=[0, 2, 1, 3] if first else [2, 0, 1, 3])
    return writer.node("Reshape", [y, writer.constant(f"{name}.joined", [0, 0, -1], "int64")], name)


def heads_shares(writer: GraphWriter, name: str, given: Given) -> str:
    """What the values of such attention are summed with, [batch, heads, steps, steps]; averaged: the heads' mean."""
    first, heads, mask = bool(given["batch_first"]), int(given["heads"]), given.get("mask")
    split = [_split(writer, f"{name}.{part}", given[part], heads, first) for part in ("input", "key")]
    bias = None if mask is None else writer.constant(f"{name}.mask", mask)
    averaged = bool(given.get("averaged", False))
    shares = _shares(writer, f"{name}.each" if averaged else name, split, float(given["scale"]), bias)
    if not averaged:
        return shares
    return writer.node("ReduceMean", [shares, writer.constant(f"{name}.axes", [1], "int64")], name, keepdims=0)


def _split(writer: GraphWriter, name: str, x: str, heads: int, first: bool) -> str:
    sizes = writer.constant(f"{name}.sizes", [0, 0, heads, -1], "int64")
    apart = writer.node("Reshape", [x, sizes], f"{name}.apart")
    return writer.node("Transpose", [apart], f"{name}.heads", perm=[0, 2, 1, 3] if first else [1, 2, 0, 3])


def _attended(writer: GraphWriter, name: str, parts: list[str], scale: float, bias: str | None) -> str:
    shares = _shares(writer, f"{name}.shares", parts[:2], scale, bias)
    return writer.node("MatMul", [shares, parts[2]], name)


def _shares(writer: GraphWriter, name: str, parts: list[str], scale: float, bias: str | None) -> str:
    q, k = parts
    turned = writer.node("Transpose", [k], f"{name}.turned", perm=[0, 1, 3, 2])
    products = writer.node("MatMul", [q, turned], f"{name}.products")
    factor = writer.constant(f"{name}.scale", np.float32(scale))
    scores = writer.node("Mul", [products, factor], f"{name}.scaled")
    if bias is not None:
        scores = writer.node("Add", [scores, bias], f"{name}.masked")
    return writer.node("Softmax", [scores], name, axis=-1)
