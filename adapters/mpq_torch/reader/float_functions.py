"""Functions of torch without a record, as a word of the core and all of their arguments: for what stays float."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_plugins.graph.node import Operand
from mpq_torch.modules.attention import Products, Shares
from mpq_torch.modules.long_series import Recurrence
from mpq_torch.reader import float_choices, float_logic, float_recurrent, float_sums
from mpq_torch.reader.call import Call, array_of
from mpq_torch.reader.float_attention import of_call, of_products, of_shares

WITHOUT_MEANING = (
    *("_stacklevel", "inplace", "momentum"),
    *("padding_idx", "norm_type", "scale_grad_by_freq", "sparse"),  # of embedding, in training
)
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
_EPSILON = {"eps": "epsilon"}
_GROUPS = {"eps": "epsilon", "num_groups": "groups"}
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
    nn.Softmax2d: Known("softmax", ""),
    nn.LayerNorm: Known("layer_norm", "normalized_shape eps weight bias", _EPSILON),
    nn.RMSNorm: Known("rms_norm", "normalized_shape eps weight", _EPSILON),
    nn.GroupNorm: Known("group_norm", "num_groups eps weight bias", _GROUPS),
    **dict.fromkeys(
        [nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d],
        Known("instance_norm", "eps weight bias track_running_stats", _EPSILON, {"track_running_stats": False}),
    ),
    nn.Embedding: Known("embedding", "weight max_norm"),
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
    **dict.fromkeys([F.selu, torch.selu], Known("selu", "input inplace")),
    F.leaky_relu: Known("leaky_relu", "input negative_slope inplace", _SLOPE),
    F.softplus: Known("softplus", "input beta threshold", neutral=_SOFTPLUS),
    F.softsign: Known("softsign"),
    F.hardsigmoid: Known("hardsigmoid", "input inplace"),
    F.hardswish: Known("hardswish", "input inplace"),
    **dict.fromkeys(
        [F.layer_norm, torch.layer_norm], Known("layer_norm", "input normalized_shape weight bias eps", _EPSILON)
    ),
    **dict.fromkeys(
        [F.rms_norm, torch.rms_norm], Known("rms_norm", "input normalized_shape weight eps", _EPSILON, {"eps": None})
    ),
    **dict.fromkeys([F.group_norm, torch.group_norm], Known("group_norm", "input num_groups weight bias eps", _GROUPS)),
    F.instance_norm: Known(
        "instance_norm",
        "input running_mean running_var weight bias use_input_stats momentum eps",
        _EPSILON,
        {"use_input_stats": True},
    ),
    F.normalize: Known("normalize", "input p dim eps out", {"p": "power", "dim": "axis", "eps": "epsilon"}),
    **{
        target: Known(word, "input dim keepdim", {"dim": "axis", "keepdim": "keepdims"})
        for word in ("argmax", "argmin")
        for target in (getattr(torch, word), word)
    },
    F.embedding: Known("embedding", "input weight padding_idx max_norm"),
    **dict.fromkeys([torch.bmm, "bmm"], Known("matmul", "input mat2", {"mat2": "other"})),
    **dict.fromkeys([torch.mm, "mm"], Known("matmul", "input mat2", {"mat2": "other"})),
    **dict.fromkeys([torch.clamp, torch.clip, "clamp", "clip"], Known("clip", "input min max", _CLIP)),
}


def _einsum(call: Call) -> tuple[str, dict[str, Any]] | None:
    """Of one or two tensors, one by one or in a list."""
    equation, *operands = call.node.args
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    if not isinstance(equation, str) or len(operands) not in (1, 2):
        return None
    return "einsum", {"equation": equation, **dict(zip(("input", "other"), operands, strict=False))}


def _padded(call: Call) -> tuple[str, dict[str, Any]] | None:
    """F.pad and nn.ConstantPad2d with a number, along all axes but the first."""
    layer: Any = call.module
    if layer is not None:
        pads, mode, value = layer.padding, "constant", layer.value
    else:
        pads, mode, value = call.argument(1, "pad"), call.argument(2, "mode", "constant"), call.argument(3, "value")
    if mode != "constant" or not all(isinstance(side, int) for side in pads):
        return None
    pairs = list(zip(pads[::2], pads[1::2], strict=True))[::-1]
    whole = [(0, 0)] * (len(call.in_shape) - len(pairs)) + pairs
    return "pad", {"input": call.tensor(), "pads": whole, "value": 0.0 if value is None else float(value)}


SPECIAL: dict[Any, Callable[[Call], tuple[str, dict[str, Any]] | None]] = {
    F.scaled_dot_product_attention: of_call,
    Products: of_products,
    Shares: of_shares,
    **dict.fromkeys([torch.einsum, torch.functional.einsum], _einsum),
    **dict.fromkeys([F.pad, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d], _padded),
    **float_choices.SPECIAL,
    **float_sums.SPECIAL,
    **float_logic.SPECIAL,
    nn.LSTM: float_recurrent.of_layer,
    nn.GRU: float_recurrent.of_layer,
    nn.RNN: float_recurrent.of_layer,
    Recurrence: float_recurrent.of_recurrence,
    operator.getitem: float_recurrent.of_item,
}
"""Functions and modules whose arguments are not the core's one by one."""
_DEFAULTS = {"approximate": "none", "alpha": 1.0, "negative_slope": 0.01, "eps": 1e-5}
"""What arguments are where a function is not given them."""


def described(call: Call, sources: Sequence[fx.Node]) -> dict[str, Any]:
    """The attrs "function" and "arguments" of a call that no record describes; none where it is not known here.

    sources: the nodes that the float part reads. Sizes that depend on the number of samples are no plain values, so
    that a call with such an argument is not described.
    """
    called: Any = call.node.target if call.module is None else type(call.module)
    special = SPECIAL.get(called)
    known = FUNCTIONS.get(called) if call.module is None else MODULES.get(called)
    if special:
        found = special(call)
    else:
        found = (known.word, _renamed(call, known)) if known and _given(call, known) else None
    if found is None:
        return {}
    word, given = found
    if call.node in call.observed.truths:
        word = {"add": "logical_or", "mul": "logical_and"}.get(word, word)
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, fx.Node):
            held = call.held(value)
            if held is None and value not in sources:
                return {}
            value = Operand(list(sources).index(value)) if held is None else held
        if value is not None:
            arguments[name] = array_of(value) if isinstance(value, torch.Tensor) else value
    return {"function": word, "arguments": arguments if special else _in_core_terms(word, arguments, call)}


def _renamed(call: Call, known: Known) -> dict[str, Any]:
    """All arguments that say something, by the core's names."""
    return {
        known.renamed.get(name, name): value
        for name, value in _given(call, known).items()
        if name not in WITHOUT_MEANING
        and not (name in known.neutral and not isinstance(value, fx.Node) and value == known.neutral[name])
    }


def _given(call: Call, known: Known) -> dict[str, Any]:
    """All arguments by torch's names; none where there are more than is known of."""
    observed = call.observed

    def plain(node: fx.Node) -> Any:
        return node if node in observed.by_batch else observed.values.get(node, node)

    names, args = known.parameters.split(), call.node.args
    if call.module is not None:
        return {"input": args[0], **{name: getattr(call.module, name) for name in names}}
    if len(args) > len(names):
        return {}
    implied = {name: _DEFAULTS[name] for name in names if name in _DEFAULTS and name not in known.neutral}
    given: dict[str, Any] = fx.node.map_arg({**dict(zip(names, args, strict=False)), **call.node.kwargs}, plain)
    return {**implied, **given}


def _in_core_terms(word: str, arguments: dict[str, Any], call: Call) -> dict[str, Any]:
    if word in ("softmax", "log_softmax"):
        rank = len(call.in_shape)
        # without a dim torch takes the first axis of tensors of no, one and three axes, and the second one of others
        axis = arguments.get("axis", 0 if rank in (0, 1, 3) else 1)
        return {**arguments, "axis": int(axis) % max(rank, 1)}
    if word in ("argmax", "argmin", "normalize"):
        axis = arguments.get("axis", 1 if word == "normalize" else None)
        return arguments if axis is None else {**arguments, "axis": int(axis) % len(call.in_shape)}
    if word == "gelu":
        return {**arguments, "approximate": arguments["approximate"] == "tanh"}
    if word in ("layer_norm", "rms_norm"):
        shape = arguments.pop("normalized_shape")
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if word == "rms_norm":
            return {"epsilon": float(np.finfo(np.float32).eps), **arguments, "axis": -len(shape)}
        return {"weight": np.ones(shape), **arguments, "axis": len(call.in_shape) - len(shape)}
    if word in ("group_norm", "instance_norm"):
        channels = call.in_shape[1]
        return {"weight": np.ones(channels), "bias": np.zeros(channels), **arguments}
    return arguments
