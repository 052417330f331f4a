"""Attention as ONNX nodes in float: softmax(scale * q k^T + mask) v.

mask: a constant, or a tensor; with shows it holds truth values, of which those that do not show an element hide it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpq_plugins.exporters.onnx.reals import masked
from mpq_plugins.exporters.onnx.writer import GraphWriter

Given = Mapping[str, Any]


def attention(writer: GraphWriter, name: str, given: Given) -> str:
    """Of tensors [batch, ..., steps, features]."""
    return _attended(writer, name, [given[part] for part in ("input", "key", "value")], given)


def heads_attention(writer: GraphWriter, name: str, given: Given) -> str:
    """Of tensors [batch, steps, heads * features], or with steps first; the result lies as they do."""
    first, heads = bool(given["batch_first"]), int(given["heads"])
    split = [_split(writer, f"{name}.{part}", given[part], heads, first) for part in ("input", "key", "value")]
    y = _attended(writer, f"{name}.attended", split, given)
    # back to the order of the inputs, and heads and features one axis; zeros keep a size as it is
    y = writer.node("Transpose", [y], f"{name}.back", perm=[0, 2, 1, 3] if first else [2, 0, 1, 3])
    return writer.node("Reshape", [y, writer.constant(f"{name}.joined", [0, 0, -1], "int64")], name)


def heads_shares(writer: GraphWriter, name: str, given: Given) -> str:
    """What the values of such attention are summed with, [batch, heads, steps, steps]; averaged: the heads' mean."""
    first, heads = bool(given["batch_first"]), int(given["heads"])
    split = [_split(writer, f"{name}.{part}", given[part], heads, first) for part in ("input", "key")]
    averaged = bool(given.get("averaged", False))
    shares = _shares(writer, f"{name}.each" if averaged else name, split, given)
    if not averaged:
        return shares
    return writer.node("ReduceMean", [shares, writer.constant(f"{name}.axes", [1], "int64")], name, keepdims=0)


def _split(writer: GraphWriter, name: str, x: str, heads: int, first: bool) -> str:
    sizes = writer.constant(f"{name}.sizes", [0, 0, heads, -1], "int64")
    apart = writer.node("Reshape", [x, sizes], f"{name}.apart")
    return writer.node("Transpose", [apart], f"{name}.heads", perm=[0, 2, 1, 3] if first else [1, 2, 0, 3])


def _attended(writer: GraphWriter, name: str, parts: list[str], given: Given) -> str:
    shares = _shares(writer, f"{name}.shares", parts[:2], given)
    return writer.node("MatMul", [shares, parts[2]], name)


def _shares(writer: GraphWriter, name: str, parts: list[str], given: Given) -> str:
    (q, k), mask = parts, given.get("mask")
    turned = writer.node("Transpose", [k], f"{name}.turned", perm=[0, 1, 3, 2])
    products = writer.node("MatMul", [q, turned], f"{name}.products")
    factor = writer.constant(f"{name}.scale", np.float32(given["scale"]))
    scores = writer.node("Mul", [products, factor], f"{name}.scaled")
    if mask is not None:
        mask = mask if isinstance(mask, str) else writer.constant(f"{name}.mask", mask)
        scores = masked(writer, name, scores, mask, given.get("shows"), float(given.get("hides", -np.inf)))
    return writer.node("Softmax", [scores], name, axis=-1)
