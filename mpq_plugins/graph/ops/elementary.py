"""Functions of one element that every array library has: roots, logarithms, sines, whole numbers.

Outside of its domain a function is what it is at the edge: a table of codes has a value for each, and a root or a
logarithm of an activation on a signed grid is asked of codes that no input gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mpq_plugins.graph.op import Op, always, any_negative, never

SMALLEST = 2.0**-126
"""The smallest normal number of float32, which stands for zero where zero has no value."""


def _reciprocal(run: Any, x: Any) -> Any:
    return 1.0 / run.where(run.abs(x) < SMALLEST, SMALLEST, x)


FUNCTIONS: dict[str, tuple[Callable[[Any, Any], Any], Any, str]] = {
    "ceil": (lambda run, x: -run.floor(-x), any_negative, "Ceil"),
    "cos": (lambda run, x: run.sin(x + math.pi / 2), always, "Cos"),
    "erf": (lambda run, x: run.erf(x), any_negative, "Erf"),
    "expm1": (lambda run, x: run.exp(x) - 1.0, any_negative, ""),
    "floor": (lambda run, x: run.floor(x), any_negative, "Floor"),
    "log": (lambda run, x: run.log(run.maximum(x, SMALLEST)), always, "Log"),
    "log1p": (lambda run, x: run.log(run.maximum(1.0 + x, SMALLEST)), any_negative, ""),
    "reciprocal": (_reciprocal, any_negative, "Reciprocal"),
    "round": (lambda run, x: run.nearest(x), any_negative, "Round"),
    "rsqrt": (lambda run, x: 1.0 / run.sqrt(run.maximum(x, SMALLEST)), never, ""),
    "sign": (lambda run, x: run.sign(x), any_negative, "Sign"),
    "sin": (lambda run, x: run.sin(x), always, "Sin"),
    "sqrt": (lambda run, x: run.sqrt(run.maximum(x, 0.0)), never, "Sqrt"),
}
"""By the word, which is torch's and TensorFlow's too: the value, its sign, and what ONNX calls it."""


def _op(word: str) -> Op:
    value, negative, onnx = FUNCTIONS[word]
    return Op(
        word,
        lambda run, node, x: value(run, x),
        table=True,
        negative=negative,
        spellings={
            "torch": (f"torch.{word}", f".{word}", *((f"torch.special.{word}",) if word == "erf" else ())),
            "keras": (word, "rint") if word == "round" else (word,),
            "onnx": (onnx,) if onnx else (),
        },
    )


OPS = tuple(map(_op, FUNCTIONS))
