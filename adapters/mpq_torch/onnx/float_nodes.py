"""ONNX nodes for the ops that a recipe leaves in float: one table of modules, functions and methods."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.exporters.onnx.writer import GraphWriter
from mpq_torch.canonical_ops import Add, Clamp
from mpq_torch.layer_matrix import TRANSPOSED
from mpq_torch.onnx.integer_nodes import geometry

Arguments = Mapping[str, Any]
"""Tensors by the names of the graph, numbers as they are; "input", and what the op calls the others."""
FloatOp = Callable[[GraphWriter, str, Arguments], str]


def _plain(op: str, **attributes: Any) -> FloatOp:
    return lambda writer, name, given: writer.node(op, [given["input"]], name, **attributes)


def _along(op: str) -> FloatOp:
    """An op along one axis, softmax and the like."""

    def emit(writer: GraphWriter, name: str, given: Arguments) -> str:
        return writer.node(op, [given["input"]], name, axis=-1 if given.get("dim") is None else given["dim"])

    return emit


def _two(op: str) -> FloatOp:
    """An op of two tensors, or of a tensor and a number."""

    def emit(writer: GraphWriter, name: str, given: Arguments) -> str:
        operands = []
        for key in ("input", "other"):
            value = given[key]
            operands.append(value if isinstance(value, str) else writer.constant(f"{name}.{key}", float(value)))
        return writer.node(op, operands, name)

    return emit


def _gelu(writer: GraphWriter, name: str, given: Arguments) -> str:
    return writer.node("Gelu", [given["input"]], name, approximate=given.get("approximate", "none"))


def _silu(writer: GraphWriter, name: str, given: Arguments) -> str:
    gate = writer.node("Sigmoid", [given["input"]], f"{name}.gate")
    return writer.node("Mul", [given["input"], gate], name)


def _elu(writer: GraphWriter, name: str, given: Arguments) -> str:
    return writer.node("Elu", [given["input"]], name, alpha=float(given.get("alpha", 1.0)))


def _leaky(writer: GraphWriter, name: str, given: Arguments) -> str:
    return writer.node("LeakyRelu", [given["input"]], name, alpha=float(given.get("negative_slope", 0.01)))


def _clip(writer: GraphWriter, name: str, given: Arguments) -> str:
    bounds = [given.get("min"), given.get("max")]
    names = ["" if b is None else writer.constant(f"{name}.bound{i}", b) for i, b in enumerate(bounds)]
    return writer.node("Clip", [given["input"], *names], name)


def _bounded(writer: GraphWriter, name: str, given: Arguments) -> str:
    return _clip(writer, name, {**given, "min": given["low"], "max": given["high"]})


def _relu6(writer: GraphWriter, name: str, given: Arguments) -> str:
    return _clip(writer, name, {**given, "min": 0.0, "max": 6.0})


def _hardtanh(writer: GraphWriter, name: str, given: Arguments) -> str:
    return _clip(writer, name, {**given, "min": given.get("min_val", -1.0), "max": given.get("max_val", 1.0)})


def _layer(writer: GraphWriter, name: str, given: Arguments) -> str:
    layer = given["module"]
    weight = layer.weight.detach().numpy()
    linear = isinstance(layer, nn.Linear)
    inputs = [given["input"], writer.constant(f"{name}.weight", weight.T if linear else weight)]
    bias = [] if layer.bias is None else [writer.constant(f"{name}.bias", layer.bias.detach().numpy())]
    if not linear:
        op = "ConvTranspose" if isinstance(layer, TRANSPOSED) else "Conv"
        return writer.node(op, [*inputs, *bias], name, **geometry(layer))
    if not bias:
        return writer.node("MatMul", inputs, name)
    return writer.node("Add", [writer.node("MatMul", inputs, f"{name}.product"), *bias], name)


def _layer_norm(writer: GraphWriter, name: str, given: Arguments) -> str:
    norm = given["module"]
    scale = torch.ones(norm.normalized_shape) if norm.weight is None else norm.weight.detach()
    inputs = [given["input"], writer.constant(f"{name}.weight", scale.numpy())]
    if norm.bias is not None:
        inputs.append(writer.constant(f"{name}.bias", norm.bias.detach().numpy()))
    axis = -len(norm.normalized_shape)
    return writer.node("LayerNormalization", inputs, name, axis=axis, epsilon=norm.eps)


def _same(writer: GraphWriter, name: str, given: Arguments) -> str:
    return str(given["input"])


MODULES: dict[Any, tuple[FloatOp, tuple[str, ...]]] = {
    nn.Softmax: (_along("Softmax"), ("dim",)),
    nn.LogSoftmax: (_along("LogSoftmax"), ("dim",)),
    nn.Sigmoid: (_plain("Sigmoid"), ()),
    nn.Tanh: (_plain("Tanh"), ()),
    nn.GELU: (_gelu, ("approximate",)),
    nn.SiLU: (_silu, ()),
    nn.ELU: (_elu, ("alpha",)),
    nn.LeakyReLU: (_leaky, ("negative_slope",)),
    nn.Softplus: (_plain("Softplus"), ()),
    nn.Hardsigmoid: (_plain("HardSigmoid", alpha=1 / 6, beta=0.5), ()),
    nn.Hardswish: (_plain("HardSwish"), ()),
    nn.ReLU: (_plain("Relu"), ()),
    Add: (_two("Add"), ()),
    Clamp: (_bounded, ("low", "high")),
    nn.ReLU6: (_relu6, ()),
    nn.Hardtanh: (_hardtanh, ("min_val", "max_val")),
    (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d): (_same, ()),
    (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear): (_layer, ()),
    nn.LayerNorm: (_layer_norm, ()),
}
"""Module -> how to write it, and the attributes that it has as arguments."""

_UNARY = {
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "exp": _plain("Exp"),
    "log": _plain("Log"),
    "sqrt": _plain("Sqrt"),
    "abs": _plain("Abs"),
    "neg": _plain("Neg"),
    "relu": _plain("Relu"),
}
_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "truediv": "Div", "div": "Div"}

FUNCTIONS: dict[Any, tuple[FloatOp, tuple[str, ...]]] = {
    **{getattr(torch, name): (op, ("input",)) for name, op in _UNARY.items()},
    **{name: (op, ("input",)) for name, op in _UNARY.items()},
    **{getattr(torch, name): (_two(op), ("input", "other")) for name, op in _BINARY.items() if name != "truediv"},
    **{getattr(operator, name): (_two(op), ("input", "other")) for name, op in _BINARY.items() if name != "div"},
    **{name: (_two(op), ("input", "other")) for name, op in _BINARY.items() if name != "truediv"},
    **dict.fromkeys([F.sigmoid], (_plain("Sigmoid"), ("input",))),
    **dict.fromkeys([F.tanh], (_plain("Tanh"), ("input",))),
    **dict.fromkeys([F.relu], (_plain("Relu"), ("input",))),
    **dict.fromkeys([F.softmax, torch.softmax, "softmax"], (_along("Softmax"), ("input", "dim"))),
    **dict.fromkeys([F.log_softmax, torch.log_softmax, "log_softmax"], (_along("LogSoftmax"), ("input", "dim"))),
    F.gelu: (_gelu, ("input", "approximate")),
    F.silu: (_silu, ("input",)),
    F.elu: (_elu, ("input", "alpha")),
    F.leaky_relu: (_leaky, ("input", "negative_slope")),
    F.softplus: (_plain("Softplus"), ("input",)),
    F.hardsigmoid: (_plain("HardSigmoid", alpha=1 / 6, beta=0.5), ("input",)),
    F.hardswish: (_plain("HardSwish"), ("input",)),
    F.relu6: (_relu6, ("input",)),
    F.hardtanh: (_hardtanh, ("input", "min_val", "max_val")),
    F.dropout: (_same, ("input",)),
    **dict.fromkeys([torch.clamp, torch.clip, "clamp", "clip"], (_clip, ("input", "min", "max"))),
}
"""Function or method -> how to write it, and the names of its arguments in their order."""
