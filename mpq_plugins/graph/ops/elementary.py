"""Functions of one element that every array library has: roots, logarithms, sines, whole numbers.

Outside of its domain a function is what it is at the edge: a table of codes has a value for each, and a root or a
logarithm of an activation on a signed grid is asked of codes that no input gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mpq_plugins.graph.op import Op, always, any_negative, never
from mpq_plugins.graph.runner import Runner, Tensor

SMALLEST = 2.0**-126
"""The smallest normal number of float32, which stands for zero where zero has no value."""
BELOW_ONE = 1 - 2.0**-24
"""The largest number of float32 below one."""


def _reciprocal(run: Runner, x: Tensor) -> Tensor:
    return 1.0 / run.where(run.abs(x) < SMALLEST, SMALLEST, x)


def _reciprocal_no_nan(run: Runner, x: Tensor) -> Tensor:
    """Nothing of zero, as TensorFlow has it."""
    return run.sign(x) * run.sign(x) * _reciprocal(run, x)


def _acosh(run: Runner, x: Tensor) -> Tensor:
    x = run.maximum(x, 1.0)
    return run.log(x + run.sqrt(x * x - 1.0))


def _asin(run: Runner, x: Tensor) -> Tensor:
    x = run.minimum(run.maximum(x, -1.0), 1.0)
    return run.atan(x / run.sqrt(run.maximum(1.0 - x * x, SMALLEST)))


def _asinh(run: Runner, x: Tensor) -> Tensor:
    size = run.abs(x)
    return run.sign(x) * run.log(size + run.sqrt(size * size + 1.0))


def _atanh(run: Runner, x: Tensor) -> Tensor:
    """At one and beyond, that of the float32 next to one."""
    return run.atanh(run.minimum(run.maximum(x, -BELOW_ONE), BELOW_ONE))


def _log(run: Runner, x: Tensor, base: float = math.e) -> Tensor:
    found = run.log(run.maximum(x, SMALLEST))
    return found if base == math.e else found / math.log(base)


def _trunc(run: Runner, x: Tensor) -> Tensor:
    return run.sign(x) * run.floor(run.abs(x))


FUNCTIONS: dict[str, tuple[Callable[[Any, Any], Any], Any, str]] = {
    "acos": (lambda run, x: math.pi / 2 - _asin(run, x), never, "Acos"),
    "acosh": (_acosh, never, "Acosh"),
    "asin": (_asin, any_negative, "Asin"),
    "asinh": (_asinh, any_negative, "Asinh"),
    "atan": (lambda run, x: run.atan(x), any_negative, "Atan"),
    "atanh": (_atanh, any_negative, "Atanh"),
    "ceil": (lambda run, x: -run.floor(-x), any_negative, "Ceil"),
    "cos": (lambda run, x: run.sin(x + math.pi / 2), always, "Cos"),
    "cosh": (lambda run, x: (run.exp(x) + run.exp(-x)) / 2.0, never, "Cosh"),
    "erf": (lambda run, x: run.erf(x), any_negative, "Erf"),
    "exp2": (lambda run, x: run.exp2(x), never, ""),
    "expm1": (lambda run, x: run.exp(x) - 1.0, any_negative, ""),
    "floor": (lambda run, x: run.floor(x), any_negative, "Floor"),
    "frac": (lambda run, x: x - _trunc(run, x), any_negative, ""),
    "log": (_log, always, "Log"),
    "log10": (lambda run, x: _log(run, x, 10.0), always, ""),
    "log1p": (lambda run, x: run.log(run.maximum(1.0 + x, SMALLEST)), any_negative, ""),
    "log2": (lambda run, x: _log(run, x, 2.0), always, ""),
    "reciprocal": (_reciprocal, any_negative, "Reciprocal"),
    "reciprocal_no_nan": (_reciprocal_no_nan, any_negative, ""),
    "round": (lambda run, x: run.nearest(x), any_negative, "Round"),
    "rsqrt": (lambda run, x: 1.0 / run.sqrt(run.maximum(x, SMALLEST)), never, ""),
    "sign": (lambda run, x: run.sign(x), any_negative, "Sign"),
    "sin": (lambda run, x: run.sin(x), always, "Sin"),
    "sinh": (lambda run, x: (run.exp(x) - run.exp(-x)) / 2.0, any_negative, "Sinh"),
    "sqrt": (lambda run, x: run.sqrt(run.maximum(x, 0.0)), never, "Sqrt"),
    "tan": (lambda run, x: run.sin(x) / run.sin(x + math.pi / 2), always, "Tan"),
    "trunc": (_trunc, any_negative, ""),
}
"""By the word, which is torch's and TensorFlow's too: the value, its sign, and what ONNX calls it."""
TENSORFLOW_ALONE = ("reciprocal_no_nan",)


def _op(word: str) -> Op:
    value, negative, onnx = FUNCTIONS[word]
    torch = (f"torch.{word}", f".{word}", *((f"torch.special.{word}",) if word == "erf" else ()))
    return Op(
        word,
        lambda run, node, x: value(run, x),
        table=True,
        negative=negative,
        spellings={
            "torch": () if word in TENSORFLOW_ALONE else torch,
            "keras": (word, "rint") if word == "round" else (word,),
            "onnx": (onnx,) if onnx else (),
        },
    )


OPS = tuple(map(_op, FUNCTIONS))
