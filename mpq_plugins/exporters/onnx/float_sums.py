"""Running sums, products and norms along axes, and sampling at places that are computed, in ONNX floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mpq_plugins.exporters.onnx.writer import GraphWriter

Given = Mapping[str, Any]
Emit = Callable[[GraphWriter, str, Given], str]
_MODES = {"bilinear": "linear", "bicubic": "cubic", "nearest": "nearest"}
"""ONNX's words for the ways to sample an image."""


def cumsum(writer: GraphWriter, name: str, given: Given) -> str:
    """The sum of all elements up to each one along an axis."""
    return writer.node("CumSum", [given["input"], writer.constant(f"{name}.axis", int(given["axis"]), "int64")], name)


def _reduced(op: str) -> Emit:
    """A function along axes that go, or stay with one element."""

    def emit(writer: GraphWriter, name: str, given: Given) -> str:
        axes = writer.constant(f"{name}.axes", given["axes"], "int64")
        return writer.node(op, [given["input"], axes], name, keepdims=int(bool(given["keepdims"])))

    return emit


def norm(writer: GraphWriter, name: str, given: Given) -> str:
    """The root of the sum of squares, or the sum of sizes, along axes. power: 2 or 1."""
    return _reduced(f"ReduceL{int(given['power'])}")(writer, name, given)


def xlogy(writer: GraphWriter, name: str, given: Given) -> str:
    """``x * log(y)``, and zero where x is."""
    x, y = (
        given[key] if isinstance(given[key], str) else writer.constant(f"{name}.{key}", given[key])
        for key in ("input", "other")
    )
    product = writer.node("Mul", [x, writer.node("Log", [y], f"{name}.log")], f"{name}.product")
    zero = writer.constant(f"{name}.zero", 0.0)
    return writer.node("Where", [writer.node("Equal", [x, zero], f"{name}.nothing"), zero, product], name)


def nan_to_num(writer: GraphWriter, name: str, given: Given) -> str:
    """Numbers in the place of NaN and of the infinities."""
    x = given["input"]
    for key, found in (
        ("nan", writer.node("IsNaN", [x], f"{name}.isnan")),
        ("high", writer.node("IsInf", [x], f"{name}.above", detect_negative=0)),
        ("low", writer.node("IsInf", [x], f"{name}.below", detect_positive=0)),
    ):
        end = name if key == "low" else f"{name}.{key}"
        x = writer.node("Where", [found, writer.constant(f"{name}.{key}.number", given[key]), x], end)
    return str(x)


def local_response(writer: GraphWriter, name: str, given: Given) -> str:
    """Every element over a power of the squares of so many channels around it."""
    sizes = {"size": int(given["size"]), "bias": float(given["k"])}
    return writer.node("LRN", [given["input"]], name, alpha=float(given["alpha"]), beta=float(given["beta"]), **sizes)


def grid_sample(writer: GraphWriter, name: str, given: Given) -> str:
    """An image at the places that a grid has, from -1 to 1 along each side."""
    how = {"mode": _MODES[given["mode"]], "padding_mode": given["padding_mode"]}
    corners = int(bool(given["align_corners"]))
    return writer.node("GridSample", [given["input"], given["grid"]], name, align_corners=corners, **how)


def affine_grid(writer: GraphWriter, name: str, given: Given) -> str:
    """The places of an image's elements in another, by a matrix. sizes: of its sides."""
    one = writer.constant(f"{name}.one", [0], "int64")
    shape = writer.node("Shape", [given["input"]], f"{name}.shape")
    samples = writer.node("Gather", [shape, one], f"{name}.samples", axis=0)
    sides = writer.constant(f"{name}.sides", [1, *given["sizes"]], "int64")
    wanted = writer.node("Concat", [samples, sides], f"{name}.wanted", axis=0)
    return writer.node("AffineGrid", [given["input"], wanted], name, align_corners=int(bool(given["align_corners"])))


def embedding_bag(writer: GraphWriter, name: str, given: Given) -> str:
    """The mean, sum or maximum of the rows of a table that a sample names."""
    index = writer.node("Cast", [given["input"]], f"{name}.index", to=writer.onnx.TensorProto.INT64)
    rows = writer.node("Gather", [writer.constant(f"{name}.weight", given["weight"]), index], f"{name}.rows")
    axis = writer.constant(f"{name}.axis", [1], "int64")
    return writer.node(f"Reduce{given['mode'].capitalize()}", [rows, axis], name, keepdims=0)


FORMS: Mapping[str, tuple[Emit, tuple[str, ...]]] = {
    "affine_grid": (affine_grid, ("input", "sizes", "align_corners")),
    "cumsum": (cumsum, ("input", "axis")),
    "embedding_bag": (embedding_bag, ("input", "weight", "mode")),
    "grid_sample": (grid_sample, ("input", "grid", "mode", "padding_mode", "align_corners")),
    "local_response": (local_response, ("input", "size", "alpha", "beta", "k")),
    "log_sum_exp": (_reduced("ReduceLogSumExp"), ("input", "axes", "keepdims")),
    "nan_to_num": (nan_to_num, ("input", "nan", "high", "low")),
    "norm": (norm, ("input", "axes", "power", "keepdims")),
    "prod": (_reduced("ReduceProd"), ("input", "axes", "keepdims")),
    "xlogy": (xlogy, ("input", "other")),
}
"""By the word of the function: what writes it, and the arguments that it knows."""
