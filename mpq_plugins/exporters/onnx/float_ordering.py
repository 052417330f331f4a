"""Ordered elements, and elements taken from and put to places that are computed, in ONNX floats.

Places are floats too, as the file's inputs and outputs are; what reads them makes them whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpq_plugins.exporters.onnx.writer import GraphWriter

Given = Mapping[str, Any]
Emit = Callable[[GraphWriter, str, Given], str]


def _places(writer: GraphWriter, given: Given, name: str, key: str = "index") -> str:
    """Places as ONNX takes them."""
    return writer.node("Cast", [given[key]], f"{name}.{key}", to=writer.onnx.TensorProto.INT64)


def _largest(writer: GraphWriter, name: str, given: Given, largest: bool) -> tuple[str, str]:
    """So many of the largest, or smallest, elements along an axis in their order, and their places as floats."""
    count = writer.constant(f"{name}.count", [int(given["count"])], "int64")
    how = {"axis": int(given["axis"]), "largest": int(largest), "sorted": 1}
    outputs = [f"{name}.values", f"{name}.places"]
    writer.nodes.append(writer.helper.make_node("TopK", [given["input"], count], outputs, name=f"{name}.topk", **how))
    return outputs[0], writer.floats(outputs[1], f"{name}.indices")


def topk(writer: GraphWriter, name: str, given: Given) -> str:
    """The largest (or smallest) elements along an axis, and their places: a tuple of both."""
    writer.tuples[name] = _largest(writer, name, given, bool(given.get("largest", True)))
    return name


def argsort(writer: GraphWriter, name: str, given: Given) -> str:
    """The places of the elements along an axis in their order."""
    return writer.node("Identity", [_largest(writer, name, given, bool(given["largest"]))[1]], name)


def kth(writer: GraphWriter, name: str, given: Given) -> str:
    """The element that so many, with itself, are not above, and its place: a tuple of both."""
    last = writer.constant(f"{name}.last", [-1] if given["keepdims"] else -1, "int64")
    axis = int(given["axis"])
    found = zip(("element", "place"), _largest(writer, name, given, False), strict=True)
    writer.tuples[name] = tuple(writer.node("Gather", [x, last], f"{name}.{part}", axis=axis) for part, x in found)
    return name


def extreme(writer: GraphWriter, name: str, given: Given) -> str:
    """The largest or smallest element along an axis, and its place: a tuple of both."""
    axis, keeps = int(given["axis"]), int(bool(given["keepdims"]))
    word = "Max" if given["largest"] else "Min"
    axes = writer.constant(f"{name}.axes", [axis], "int64")
    value = writer.node(f"Reduce{word}", [given["input"], axes], f"{name}.element", keepdims=keeps)
    place = writer.node(f"Arg{word}", [given["input"]], f"{name}.place", axis=axis, keepdims=keeps)
    writer.tuples[name] = (value, writer.floats(place, f"{name}.index"))
    return name


def one_hot(writer: GraphWriter, name: str, given: Given) -> str:
    """One at the place that a whole number says along a new last axis, zeros elsewhere."""
    count = writer.constant(f"{name}.count", int(given["count"]), "int64")
    ends = writer.constant(f"{name}.ends", [0.0, 1.0])
    return writer.node("OneHot", [_places(writer, given, name, "input"), count, ends], name, axis=-1)


def bucketize(writer: GraphWriter, name: str, given: Given) -> str:
    """How many of the bounds lie below each element; or not above it, where right says so."""
    last = writer.constant(f"{name}.axis", [-1], "int64")
    each = writer.node("Unsqueeze", [given["input"], last], f"{name}.each")
    bounds = writer.constant(f"{name}.bounds", given["bounds"])
    below = writer.node("LessOrEqual" if given["right"] else "Less", [bounds, each], f"{name}.below")
    return writer.node("ReduceSum", [writer.floats(below, f"{name}.counted"), last], name, keepdims=0)


def gather(writer: GraphWriter, name: str, given: Given) -> str:
    """The elements whose places along an axis a tensor of as many axes has."""
    return writer.node("GatherElements", [given["input"], _places(writer, given, name)], name, axis=int(given["axis"]))


def scatter(writer: GraphWriter, name: str, given: Given) -> str:
    """Elements put to the places along an axis that a tensor has."""
    return writer.node(
        "ScatterElements",
        [given["input"], _places(writer, given, name), given["source"]],
        name,
        axis=int(given["axis"]),
    )


def max_pool_places(writer: GraphWriter, name: str, given: Given) -> str:
    """The largest of each window, and its place in an image of so many elements: a tuple of both."""
    sizes = {
        "kernel_shape": list(given["kernel"]),
        "strides": list(given["stride"]),
        "pads": [*given["padding"]] * 2,
        "dilations": list(given["dilation"]),
        "ceil_mode": int(bool(given["ceil_mode"])),
    }
    outputs = [f"{name}.values", f"{name}.places"]
    writer.nodes.append(writer.helper.make_node("MaxPool", [given["input"]], outputs, name=f"{name}.pool", **sizes))
    image = writer.constant(f"{name}.image", int(given["image"]), "int64")  # ONNX counts on through all images
    place = writer.node("Mod", [outputs[1], image], f"{name}.place")
    writer.tuples[name] = (outputs[0], writer.floats(place, f"{name}.index"))
    return name


def unpool(writer: GraphWriter, name: str, given: Given) -> str:
    """Elements at their places in images of zeros. sizes: channels and the sides of these."""
    channels, *sides = given["sizes"]
    flat = writer.constant(f"{name}.flat", [0, 0, -1], "int64")
    x = writer.node("Reshape", [given["input"], flat], f"{name}.elements")
    index = writer.node("Reshape", [_places(writer, given, name), flat], f"{name}.places")
    zeros = writer.constant(f"{name}.zeros", np.zeros((1, channels, int(np.prod(sides)))))
    one = writer.constant(f"{name}.one", [0], "int64")
    samples = writer.node("Gather", [writer.node("Shape", [x], f"{name}.shape"), one], f"{name}.samples", axis=0)
    ones = writer.constant(f"{name}.ones", [1, 1], "int64")
    shape = writer.node("Concat", [samples, ones], f"{name}.expanded", axis=0)
    empty = writer.node("Expand", [zeros, shape], f"{name}.empty")
    put = writer.node("ScatterElements", [empty, index, x], f"{name}.put", axis=2)
    return writer.node("Reshape", [put, writer.constant(f"{name}.sizes", [0, *given["sizes"]], "int64")], name)


FORMS: Mapping[str, tuple[Emit, tuple[str, ...]]] = {
    "argsort": (argsort, ("input", "axis", "count", "largest")),
    "bucketize": (bucketize, ("input", "bounds", "right")),
    "extreme": (extreme, ("input", "axis", "largest", "keepdims")),
    "gather": (gather, ("input", "axis", "index")),
    "kth": (kth, ("input", "axis", "count", "keepdims")),
    "max_pool_places": (
        max_pool_places,
        ("input", "kernel", "stride", "padding", "dilation", "ceil_mode", "image"),
    ),
    "one_hot": (one_hot, ("input", "count")),
    "scatter": (scatter, ("input", "axis", "index", "source")),
    "top_k": (topk, ("input", "axis", "count", "largest")),  # equal elements in the order of their places
    "topk": (topk, ("input", "axis", "count", "largest")),
    "unpool": (unpool, ("input", "index", "sizes")),
}
"""By the word of the function: what writes it, and the arguments that it knows."""
