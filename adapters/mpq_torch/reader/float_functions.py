"""Functions of torch without a record, as a word of the core and all of their arguments: for what stays float."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_plugins.graph.node import Operand
from mpq_torch.reader.call import Call, array_of

WITHOUT_MEANING = ("_stacklevel", "inplace")
"""Arguments that change nothing of what comes out."""


@dataclass(frozen=True)
class Known:
    """A function or module of torch.

    word: of the core. parameters: the names of its arguments in their order, of a module those of its attributes.
    renamed: the core's names of them, where they are others. neutral: values at which an argument says nothing.
    """

    word: str
    parameters: str = "input"
    renamed: Mapping[str, str] = field(default_factory=dict)
    neutral: Mapping[str, Any] = field(default_factory=dict)


_DIM = {"dim": "axis"}
_SLOPE = {"negative_slope": "slope"}
_SOFTPLUS = {"beta": 1, "threshold": 20}
_CLIP = {"min": "low", "max": "high"}
_BINARY: dict[str, tuple[str, Mapping[str, Any]]] = {
    "add": ("input other alpha out", {"alpha": 1}),
    "sub": ("input other alpha out", {"alpha": 1}),
    "mul": ("input other out", {}),
    "div": ("input other rounding_mode out", {}),
    "matmul": ("input other out", {}),
}
_UNARY = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "exp": "exponential",
    "log": "log",
    "sqrt": "sqrt",
    "abs": "abs",
    "neg": "neg",
}

MODULES: dict[type[nn.Module], Known] = {
    nn.Softmax: Known("softmax", "dim", _DIM),
    nn.LogSoftmax: Known("log_softmax", "dim", _DIM),
    nn.Sigmoid: Known("sigmoid", ""),
    nn.Tanh: Known("tanh", ""),
    nn.GELU: Known("gelu", "approximate"),
    nn.SiLU: Known("silu", "inplace"),
    nn.ELU: Known("elu", "alpha inplace"),
    nn.SELU: Known("selu", "inplace"),
    nn.LeakyReLU: Known("leaky_relu", "negative_slope inplace", _SLOPE),
    nn.Softplus: Known("softplus", "beta threshold", neutral=_SOFTPLUS),
    nn.Softsign: Known("softsign", ""),
    nn.Hardsigmoid: Known("hardsigmoid", "inplace"),
    nn.Hardswish: Known("hardswish", "inplace"),
    nn.LayerNorm: Known("layer_norm", "normalized_shape eps weight bias", {"eps": "epsilon"}),
}
FUNCTIONS: dict[Any, Known] = {
    **{getattr(torch, name): Known(word, "input out") for name, word in _UNARY.items()},
    **{name: Known(word) for name, word in _UNARY.items()},
    **{getattr(torch, word): Known(word, names, neutral=plain) for word, (names, plain) in _BINARY.items()},
    **{word: Known(word, names, neutral=plain) for word, (names, plain) in _BINARY.items()},
    **{getattr(operator, word): Known(word, "input other") for word in ("add", "iadd", "sub", "mul", "matmul")},
    operator.truediv: Known("div", "input other"),
    operator.neg: Known("neg"),
    F.sigmoid: Known("sigmoid"),
    F.tanh: Known("tanh"),
    F.softmax: Known("softmax", "input dim _stacklevel dtype", _DIM),
    F.log_softmax: Known("log_softmax", "input dim _stacklevel dtype", _DIM),
    **dict.fromkeys([torch.softmax, "softmax"], Known("softmax", "input dim dtype", _DIM)),
    **dict.fromkeys([torch.log_softmax, "log_softmax"], Known("log_softmax", "input dim dtype", _DIM)),
    F.gelu: Known("gelu", "input approximate"),
    F.silu: Known("silu", "input inplace"),
    F.elu: Known("elu", "input alpha inplace"),
    F.selu: Known("selu", "input inplace"),
    F.leaky_relu: Known("leaky_relu", "input negative_slope inplace", _SLOPE),
    F.softplus: Known("softplus", "input beta threshold", neutral=_SOFTPLUS),
    F.softsign: Known("softsign"),
    F.hardsigmoid: Known("hardsigmoid", "input inplace"),
    F.hardswish: Known("hardswish", "input inplace"),
    **dict.fromkeys([torch.clamp, torch.clip, "clamp", "clip"], Known("clip", "input min max", _CLIP)),
}
_DEFAULTS = {"approximate": "none", "alpha": 1.0, "negative_slope": 0.01}
"""What arguments are where a function is not given them."""


def described(call: Call, sources: Sequence[fx.Node]) -> dict[str, Any]:
    """The attrs "function" and "arguments" of a call that no record describes; none where it is not known here.

    sources: the nodes that the float part reads. Sizes that the model computes are no plain values, so that a call
    with such an argument is not described.
    """
    known = FUNCTIONS.get(call.node.target) if call.module is None else MODULES.get(type(call.module))
    given = {} if known is None else _given(call, known)
    if known is None or not given:
        return {}
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        if name in WITHOUT_MEANING or (name in known.neutral and value == known.neutral[name]):
            continue
        if isinstance(value, fx.Node):
            if value not in sources:
                return {}
            value = Operand(list(sources).index(value))
        if value is not None:
            arguments[known.renamed.get(name, name)] = array_of(value) if isinstance(value, torch.Tensor) else value
    return {"function": known.word, "arguments": _in_core_terms(known.word, arguments, call)}


def _given(call: Call, known: Known) -> dict[str, Any]:
    """All arguments by torch's names; none where there are more than is known of."""
    names, args = known.parameters.split(), call.node.args
    if call.module is not None:
        return {"input": args[0], **{name: getattr(call.module, name) for name in names}}
    if len(args) > len(names):
        return {}
    implied = {name: _DEFAULTS[name] for name in names if name in _DEFAULTS and name not in known.neutral}
    return {**implied, **dict(zip(names, args, strict=False)), **call.node.kwargs}


def _in_core_terms(word: str, arguments: dict[str, Any], call: Call) -> dict[str, Any]:
    if word in ("softmax", "log_softmax"):
        rank = len(call.in_shape)
        # without a dim torch takes the first axis of tensors of no, one and three axes, and the second one of others
        axis = arguments.get("axis", 0 if rank in (0, 1, 3) else 1)
        return {**arguments, "axis": int(axis) % max(rank, 1)}
    if word == "gelu":
        return {**arguments, "approximate": arguments["approximate"] == "tanh"}
    if word == "layer_norm":
        shape = arguments.pop("normalized_shape")
        return {"weight": np.ones(shape), **arguments, "axis": len(call.in_shape) - len(shape)}
    return arguments
