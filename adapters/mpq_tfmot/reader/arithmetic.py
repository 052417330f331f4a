"""Sums, differences, products and quotients of Keras tensors with each other and with constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpq_plugins.graph.constants import ADD, AFFINE, MUL, SUB, chained, power, quotient, with_constant
from mpq_plugins.graph.node import Node, Shape
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.record import is_symbol

DIVISIONS = ("__operators__.truediv", "math.truediv", "math.divide")
LAYERS = {"Add": ADD, "Multiply": MUL, "Subtract": SUB, "Average": ADD}
"""Layers of several tensors, by class: the op."""
FUNCTIONS = {
    **{f"__operators__.{name}": name for name in (ADD, SUB, MUL)},
    **{"math.add": ADD, "math.subtract": SUB, "math.multiply": MUL},
    **{"compat.v1.math.scalar_mul": MUL, "math.scalar_mul": MUL, "math.add_n": ADD},
    "nn.bias_add": ADD,
    "math.squared_difference": "square",
    **dict.fromkeys(DIVISIONS, "div"),
    **dict.fromkeys(("__operators__.neg", "math.negative"), "neg"),
    **dict.fromkeys(("__operators__.pow", "math.pow", "math.square"), "pow"),
}
"""TensorFlow's functions by symbol: the op, or "div", "neg" or "pow"."""


def of_layers(kind: str, name: str, inputs: tuple[str, ...], shapes: Sequence[Shape], out: Shape) -> list[Node]:
    """The nodes of a layer of several tensors; none of one tensor.

    shapes: of the inputs, batch included. Keras gives what has fewer axes more of them behind that of the samples.
    """
    if len(inputs) < 2:
        return []
    rank, made, read = max(map(len, shapes)), list[Node](), list[str]()
    for index, (source, shape) in enumerate(zip(inputs, shapes, strict=True)):
        if len(shape) < rank:
            wide = (shape[0], *(1,) * (rank - len(shape)), *shape[1:])
            made.append(Node(f"{name}.input{index}", "reshape", (source,), wide))
        read.append(made[-1].name if len(shape) < rank else source)
    if kind != "Average":
        return [*made, Node(name, LAYERS[kind], tuple(read), out)]
    total = Node(f"{name}.sum", ADD, tuple(read), out)
    return [*made, total, Node(name, AFFINE, (total.name,), out, attrs={"scale": 1 / len(inputs), "offset": 0.0})]


def of_function(
    symbol: str,
    name: str,
    inputs: Mapping[int, str],
    shapes: Sequence[Shape],
    out: Shape,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> list[Node]:
    """The nodes of a call of a function of ``FUNCTIONS``; none for one that has no form here.

    inputs: nodes by the id of the tensor that they give, shapes in the same order. args, kwargs: of the call.
    """
    word = FUNCTIONS[symbol]
    given = [*args, *(kwargs[key] for key in ("inputs", "scalar", "value", "x", "y", "bias") if key in kwargs)]
    operands = [operand for operand in (given[0] if isinstance(given[0], list) else given) if operand is not None]
    read = [inputs.get(id(operand)) for operand in operands]
    if word == "neg":
        return [Node(name, AFFINE, (str(read[0]),), out, attrs={"scale": -1.0, "offset": 0.0})]
    if word == "square":
        below = of_function("math.subtract", f"{name}.difference", inputs, shapes, out, args, kwargs)
        return [*below, Node(name, MUL, (below[-1].name,) * 2, out)] if below else []
    if word == "pow":
        found = power(2 if len(operands) == 1 else _number(operands[1]))
        if found is None or read[0] is None:
            return []
        op, times, attrs = found
        return [Node(name, op, (read[0],) * times, out, attrs=attrs)]
    if None not in read and len(read) > 1:
        alike = word != "div" and len({len(shape) for shape in shapes}) == 1
        return [Node(name, word, tuple(map(str, read)), out)] if alike else []
    if len(operands) != 2:
        return []
    swapped = read[0] is None
    constant = _number(operands[0] if swapped else operands[1])
    if constant is not None and word == "div" and swapped:
        (source,) = inputs.values()
        return quotient(name, source, shapes[0], out, constant, "NHWC")
    affine = None if constant is None else with_constant(word, constant, shapes[0], out, "NHWC", swapped)
    return [] if affine is None else [Node(name, AFFINE, tuple(inputs.values()), out, attrs=affine)]


def _number(operand: Any) -> Any:
    if isinstance(operand, tf.Variable) or tf.is_tensor(operand):
        return None if is_symbol(operand) else np.asarray(operand, np.float64)
    return operand if isinstance(operand, (int, float, np.ndarray, np.number, list)) else None


def rescaling(layer: Any, name: str, inputs: tuple[str, ...], shape: Shape) -> Node | None:
    """keras.layers.Rescaling."""
    steps = [
        with_constant(word, value, shape, shape, "NHWC")
        for word, value in (("mul", layer.scale), ("add", layer.offset))
    ]
    return _affine(name, inputs, shape, steps)


def normalization(layer: Any, name: str, inputs: tuple[str, ...], shape: Shape) -> Node | None:
    """keras.layers.Normalization, with the statistics that it was given or has seen."""
    mean, spread = np.asarray(layer.mean, np.float64), np.sqrt(np.asarray(layer.variance, np.float64))
    spread = np.maximum(spread, keras.backend.epsilon())
    steps = (("mul", spread), ("add", mean)) if getattr(layer, "invert", False) else (("sub", mean), ("div", spread))
    return _affine(name, inputs, shape, [with_constant(word, value, shape, shape, "NHWC") for word, value in steps])


def _affine(name: str, inputs: tuple[str, ...], shape: Shape, steps: Sequence[Any]) -> Node | None:
    return None if None in steps else Node(name, AFFINE, inputs, shape, attrs=chained(*steps))
