"""ONNX nodes for float functions that have no record, as readers describe them (attrs: function, arguments).

Each form names the arguments that it writes; one that it does not name is refused, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.exporters.onnx import float_logic, float_ordering, float_sums
from mpq_plugins.exporters.onnx.attention import attention, heads_attention, heads_shares
from mpq_plugins.exporters.onnx.float_choices import argmax, argmin, einsum, normalize, pad, where
from mpq_plugins.exporters.onnx.float_norms import group_norm, instance_norm, layer_norm, rms_norm
from mpq_plugins.exporters.onnx.reals import WAY_OUT, softmax
from mpq_plugins.exporters.onnx.recurrent import gru, item, lstm, rnn
from mpq_plugins.exporters.onnx.writer import GraphWriter
from mpq_plugins.graph.node import Node, Operand
from mpq_plugins.graph.ops import all_ops

TENSORS = ("input", "other", "key", "value", "state", "cell", "condition", "index", "source", "grid", "mask")
"""The arguments that may be tensors which the model computes."""
Given = Mapping[str, Any]
"""Arguments by name; tensors as the names that they have in the ONNX graph."""


@dataclass(frozen=True)
class Form:
    """emit: writer, name of the tensor to make, arguments -> the tensor. arguments: that it writes."""

    emit: Callable[[GraphWriter, str, Given], str]
    arguments: tuple[str, ...]


def float_function(writer: GraphWriter, node: Node, name: str, inputs: list[str]) -> str | Node:
    """The output of a float node that only its function describes; or the node with a record that computes it.

    Raises UnsupportedOp, naming the node and the argument, for what has no form here.
    """
    word, arguments = node.attrs.get("function"), node.attrs.get("arguments", {})
    op = all_ops().get(str(word))
    form = FORMS.get(str(word))
    if form is None and (op is None or not op.table):
        raise UnsupportedOp(f"{node.name}: {node.attrs['what']} has no ONNX form here; {WAY_OUT}")
    known = form.arguments if form else ("input", *(op.attrs if op else ()))
    for argument, value in arguments.items():
        computed = isinstance(value, Operand) and argument not in TENSORS
        if argument not in known or computed:
            said = "a tensor" if computed else repr(value)
            raise UnsupportedOp(
                f"{node.name}: {node.attrs['what']} with {argument}={said} has no ONNX form here; {WAY_OUT}"
            )
    if form:
        given = {key: inputs[v.index] if isinstance(v, Operand) else v for key, v in arguments.items()}
        return form.emit(writer, name, given)
    attrs = {key: value for key, value in arguments.items() if key != "input"}
    return Node(node.name, str(word), node.inputs, node.shape, attrs=attrs)


def _along(op: str) -> Form:
    """An op along one axis."""
    return Form(
        lambda writer, name, given: writer.node(op, [given["input"]], name, axis=int(given["axis"])), ("input", "axis")
    )


def _one(op: str) -> Form:
    return Form(lambda writer, name, given: writer.node(op, [given["input"]], name), ("input",))


def _two(op: str) -> Form:
    """An op of two tensors, or of a tensor and a number."""

    def emit(writer: GraphWriter, name: str, given: Given) -> str:
        operands = []
        for key in ("input", "other"):
            value = given[key]
            operands.append(value if isinstance(value, str) else writer.constant(f"{name}.{key}", value))
        return writer.node(op, operands, name)

    return Form(emit, ("input", "other"))


def _matmul(writer: GraphWriter, name: str, given: Given) -> str:
    """turn_input, turn_other: the order of axes in which an operand is multiplied, where that is another."""
    operands = dict(given)
    for key in ("input", "other"):
        if given.get(f"turn_{key}"):
            operands[key] = writer.node("Transpose", [given[key]], f"{name}.{key}", perm=given[f"turn_{key}"])
    return _two("MatMul").emit(writer, name, operands)


def _clip(writer: GraphWriter, name: str, given: Given) -> str:
    bounds = [given.get("low"), given.get("high")]
    names = ["" if b is None else writer.constant(f"{name}.bound{i}", b) for i, b in enumerate(bounds)]
    return writer.node("Clip", [given["input"], *names], name)


def _softmax(writer: GraphWriter, name: str, given: Given) -> str:
    return softmax(writer, name, given["input"], int(given["axis"]))


def _embedding(writer: GraphWriter, name: str, given: Given) -> str:
    """The rows of a table; the file's inputs are float32, so that numbers of rows are made whole here."""
    index = writer.node("Cast", [given["input"]], f"{name}.index", to=writer.onnx.TensorProto.INT64)
    return writer.node("Gather", [writer.constant(f"{name}.weight", given["weight"]), index], name)


FORMS: Mapping[str, Form] = {
    **{
        word: Form(*form)
        for forms in (float_logic.FORMS, float_ordering.FORMS, float_sums.FORMS)
        for word, form in forms.items()
    },
    "abs": _one("Abs"),
    "add": _two("Add"),
    "argmax": Form(argmax, ("input", "axis", "keepdims")),
    "argmin": Form(argmin, ("input", "axis", "keepdims")),
    "attention": Form(attention, ("input", "key", "value", "scale", "mask", "shows", "hides")),
    "clip": Form(_clip, ("input", "low", "high")),
    "einsum": Form(einsum, ("input", "other", "equation")),
    "embedding": Form(_embedding, ("input", "weight")),
    "group_norm": Form(group_norm, ("input", "groups", "epsilon", "weight", "bias", "channels_last")),
    "heads_attention": Form(
        heads_attention, ("input", "key", "value", "heads", "batch_first", "scale", "mask", "shows", "hides")
    ),
    "heads_shares": Form(heads_shares, ("input", "key", "heads", "batch_first", "scale", "mask", "shows", "averaged")),
    "gru": Form(gru, ("input", "layers", "batch_first", "last", "reset_after", "state")),
    "instance_norm": Form(instance_norm, ("input", "epsilon", "weight", "bias")),
    "item": Form(item, ("input", "index")),
    "layer_norm": Form(layer_norm, ("input", "axis", "epsilon", "weight", "bias")),
    "log": _one("Log"),
    "log_softmax": _along("LogSoftmax"),
    "lstm": Form(lstm, ("input", "layers", "batch_first", "last", "state", "cell")),
    "matmul": Form(_matmul, ("input", "other", "turn_input", "turn_other")),
    "mul": _two("Mul"),
    "neg": _one("Neg"),
    "normalize": Form(normalize, ("input", "axis", "power", "epsilon")),
    "pad": Form(pad, ("input", "pads", "value")),
    "rms_norm": Form(rms_norm, ("input", "axis", "epsilon", "weight")),
    "rnn": Form(rnn, ("input", "layers", "batch_first", "activation", "state")),
    "softmax": Form(_softmax, ("input", "axis")),
    "sqrt": _one("Sqrt"),
    "sub": _two("Sub"),
    "where": Form(where, ("input", "condition", "fill", "other")),
}
"""By the word that readers have for a function."""
