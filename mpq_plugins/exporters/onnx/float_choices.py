"""Norms of vectors, choices by position, the place of the largest, sums of products by an equation, in ONNX floats.

What gives whole numbers gives them as floats, as the file's inputs and outputs are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpq_plugins.exporters.onnx.writer import GraphWriter

Given = Mapping[str, Any]


def normalize(writer: GraphWriter, name: str, given: Given) -> str:
    """x over its norm along an axis, which is at least epsilon. power: 1 or 2."""
    axes = writer.constant(f"{name}.axes", [int(given["axis"])], "int64")
    op = {1: "ReduceL1", 2: "ReduceL2"}[int(given.get("power", 2))]
    norm = writer.node(op, [given["input"], axes], f"{name}.norm", keepdims=1)
    least = writer.constant(f"{name}.epsilon", float(given.get("epsilon", 1e-12)))
    return writer.node("Div", [given["input"], writer.node("Max", [norm, least], f"{name}.bounded")], name)


def argmax(writer: GraphWriter, name: str, given: Given) -> str:
    """Where the largest element along an axis is."""
    return _place(writer, "ArgMax", name, given)


def argmin(writer: GraphWriter, name: str, given: Given) -> str:
    """Where the smallest element along an axis is."""
    return _place(writer, "ArgMin", name, given)


def _place(writer: GraphWriter, op: str, name: str, given: Given) -> str:
    keeps = {"axis": int(given["axis"]), "keepdims": int(bool(given.get("keepdims", False)))}
    return writer.floats(writer.node(op, [given["input"]], f"{name}.place", **keeps), name)


def where(writer: GraphWriter, name: str, given: Given) -> str:
    """Elements where a constant condition holds, and others elsewhere: those of another tensor, or numbers."""
    keep = writer.constant(f"{name}.condition", given["condition"], bool)
    other = given.get("other", given.get("fill", 0.0))
    other = other if isinstance(other, str) else writer.constant(f"{name}.other", other)
    return writer.node("Where", [keep, given["input"], other], name)


def pad(writer: GraphWriter, name: str, given: Given) -> str:
    """A number around every axis. pads: before and after, for each axis."""
    before, after = zip(*given["pads"], strict=True)
    pads = writer.constant(f"{name}.pads", [*before, *after], np.int64)
    return writer.node("Pad", [given["input"], pads, writer.constant(f"{name}.value", given["value"])], name)


def einsum(writer: GraphWriter, name: str, given: Given) -> str:
    """The sums of products that an equation names, of one or two tensors."""
    operands = [given[key] for key in ("input", "other") if given.get(key) is not None]
    names = [v if isinstance(v, str) else writer.constant(f"{name}.{i}", v) for i, v in enumerate(operands)]
    return writer.node("Einsum", names, name, equation=str(given["equation"]))
