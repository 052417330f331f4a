"""Clamps and functions of one element."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_plugins.graph.composing import Composing
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Batch, Node
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.registry import once_known
from mpq_torch.modules.written import Clamp, Input, OfOne, OfRecord
from mpq_torch.reader.call import Call, Made, Rule, array_of, function_name, whole
from mpq_torch.reader.moving import begun
from mpq_torch.reader.spelled import called_as


def clamp_to(low: float | None, high: float | None) -> Rule:
    """A clamp with constant bounds."""
    return lambda call: call.made("clamp", low=low, high=high)


def hardtanh(call: Call) -> Node:
    """nn.Hardtanh and F.hardtanh."""
    if call.module is not None:
        low, high = call.setting("min_val"), call.setting("max_val")
    else:
        low, high = call.argument(1, "min_val", -1.0), call.argument(2, "max_val", 1.0)
    return call.made("clamp", low=float(low), high=float(high))


def clamp_function(call: Call) -> Node:
    """torch.clamp."""
    given = [call.argument(1, "min"), call.argument(2, "max")]
    bounds = [None if bound is None else call.constant(bound) for bound in given]
    if any(g is not None and (b is None or np.size(b) != 1) for g, b in zip(given, bounds, strict=True)):
        return call.unknown("the bounds of a clamp must be constant numbers")
    low, high = (None if bound is None else float(np.reshape(bound, ())) for bound in bounds)
    return call.made("clamp", low=low, high=high)


def filled(value: float | None) -> Rule:
    """A tensor like another one, of one number: on its grid, as a clamp between equal bounds."""

    def rule(call: Call) -> Node:
        number = call.argument(1, "fill_value") if value is None else value
        if not isinstance(number, (int, float)) or call.node.kwargs.get("dtype") is not None:
            return call.unknown("a tensor filled with anything but a number has no integer kernel")
        return call.made("clamp", low=float(number), high=float(number))

    return rule


def zeros_of_a_size(call: Call) -> Made:
    """Tensor.new_zeros, of as many samples: an element of each of the tensor's as zero, and zeros around it."""
    shape, samples = call.shape, call.in_shape[:1]
    alone = shape[:1] == samples and not any(isinstance(size, Batch) for size in (*shape[1:], *call.in_shape[1:]))
    if not alone or samples != (Batch(),) or call.node.kwargs.get("dtype") is not None:
        return call.unknown("zeros of these sizes have no integer kernel")
    moving, x = begun(call)
    x = moving.clamp(moving.slice(x, {axis: range(1) for axis in range(1, len(x.shape))}), 0.0, 0.0)
    x = x if len(x.shape) == len(shape) else moving.reshape(x, (*samples, *[1] * (len(shape) - 1)))
    return moving.done(moving.pad(x, [(0, 0), *((0, whole(size) - 1) for size in shape[1:])]))


def one_bound(which: str) -> Rule:
    """A clamp with one bound, which is a number."""

    def rule(call: Call) -> Node:
        bound = call.argument(1, "min" if which == "low" else "max")
        if not isinstance(bound, (int, float)):
            return call.unknown("the bounds of a clamp must be constants")
        clamped: dict[str, Any] = {which: float(bound)}
        return call.made("clamp", **clamped)

    return rule


def clamp_module(call: Call) -> Node:
    """The clamp of a model that was constrained."""
    module: Any = call.module
    return call.made("clamp", low=_number(module.low), high=_number(module.high))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def nothing(call: Call) -> fx.Node:
    """What does nothing outside of training."""
    return call.tensor()


def perhaps_nothing(call: Call) -> Node | fx.Node:
    """Dropout and the like, conversions and copies: nothing where they gave the very tensor that they were given.

    In a function of dropout ``training=False`` says it too.
    """
    said = call.argument(2, "training", call.argument(2, "train"))
    if call.node in call.observed.same or said is False:
        return call.tensor()
    return call.unknown(f"{function_name(call.node)} changes its input here, and has no integer kernel")


def function_of_one(word: str) -> Rule:
    """A function of one element, with the attrs that say which."""
    known = ARGUMENTS.get(word, ())

    def rule(call: Call) -> Node:
        attrs: dict[str, Any] = {}
        for attr, position, name, default in known:
            module = call.module
            given = call.argument(position, name, default) if module is None else getattr(module, name, default)
            if attr:
                attrs[attr] = given == "tanh" if isinstance(given, str) else given
            elif given != default:
                return call.unknown(f"{word} with {name}={given} has no integer kernel")
        return call.made("elu" if word == "celu" and attrs["alpha"] == 1 else word, attrs=attrs)

    return rule


ARGUMENTS: dict[str, tuple[tuple[str, int, str, Any], ...]] = {
    "celu": (("alpha", 1, "alpha", 1.0),),
    "elu": (("alpha", 1, "alpha", 1.0),),
    "gelu": (("approximate", 1, "approximate", "none"),),
    "hardshrink": (("bound", 1, "lambd", 0.5),),
    "leaky_relu": (("slope", 1, "negative_slope", 0.01),),
    "power": (("exponent", 1, "exponent", 2),),
    "round": (("", 1, "decimals", 0),),
    "softshrink": (("bound", 1, "lambd", 0.5),),
    "threshold": (("threshold", 1, "threshold", 0.0), ("value", 2, "value", 0.0)),
    "softplus": (("", 1, "beta", 1.0), ("", 2, "threshold", 20.0)),
}
"""What functions of one element take: the attr that it becomes, none where it must be the default; place, name and
default in torch."""


def prelu(call: Call) -> Made:
    """nn.PReLU and F.prelu, whose slopes lie along the second axis."""
    try:
        slopes = call.parameter(1, "weight") if call.module is None else array_of(call.setting("weight"))
    except KeyError:
        return call.unknown("PReLU with slopes that are computed has no integer kernel")
    if slopes.size > 1 and len(call.in_shape) == 1:
        return call.unknown("PReLU along the samples of a batch has no integer kernel")
    made = Composing(call.name, "NCHW")
    return made.done(made.prelu(Part(call.inputs[0], call.in_shape), slopes))


def written_of_one(call: Call) -> Made:
    """A module that this package has written."""
    return of_records()[getattr(torch, call.setting("function"))](call)


def written_of_record(call: Call) -> Node:
    """The same of a function that torch has not."""
    module: Any = call.module
    return call.made(module.word, attrs=module.attrs)


MODULES: dict[Any, Rule] = {
    OfOne: written_of_one,
    nn.PReLU: prelu,
    OfRecord: written_of_record,
    nn.ReLU: clamp_to(0.0, None),
    nn.ReLU6: clamp_to(0.0, 6.0),
    nn.Hardtanh: hardtanh,
    Clamp: clamp_module,
    (nn.modules.dropout._DropoutNd, nn.Identity, Input): nothing,
}
FUNCTIONS: dict[Any, Rule] = {
    **dict.fromkeys([F.relu, torch.relu, F.relu_, torch.relu_, "relu", "relu_"], clamp_to(0.0, None)),
    **dict.fromkeys([F.prelu, torch.prelu, "prelu"], prelu),
    F.relu6: clamp_to(0.0, 6.0),
    **dict.fromkeys([F.hardtanh, F.hardtanh_], hardtanh),
    **dict.fromkeys([torch.clamp, torch.clip, "clamp", "clamp_", "clip"], clamp_function),
    **dict.fromkeys(
        [F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, torch.dropout],
        perhaps_nothing,
    ),
    **dict.fromkeys([torch.clamp_min, "clamp_min", "clamp_min_"], one_bound("low")),
    **dict.fromkeys([torch.clamp_max, "clamp_max", "clamp_max_"], one_bound("high")),
    **dict.fromkeys([torch.sgn, "sgn"], function_of_one("sign")),
    "new_zeros": zeros_of_a_size,
    torch.zeros_like: filled(0.0),
    torch.ones_like: filled(1.0),
    torch.full_like: filled(None),
    **dict.fromkeys(["to", "float", "type_as", "cpu", "cuda"], perhaps_nothing),
    **dict.fromkeys(["contiguous", "detach", "clone", torch.clone, torch.detach], nothing),
}
BY_NAME: dict[str, Rule] = dict.fromkeys(["stochastic_depth", "drop_path", "drop_block2d"], perhaps_nothing)
"""Functions of other packages that torch.fx does not look into, as torchvision's."""


def function_of_several(op: Op) -> Rule:
    """An op of several activations that is made of steps."""

    def rule(call: Call) -> Node:
        given = [*call.node.args, *call.node.kwargs.values()]
        names = [call.names[a] for a in given if isinstance(a, fx.Node) and a in call.names and call.held(a) is None]
        shapes = [call.observed.shapes.get(a, ()) for a in given if isinstance(a, fx.Node)]
        if len(names) != len(given) or len(names) != op.arity or {len(shape) for shape in shapes} != {len(call.shape)}:
            return call.unknown(f"{op.word} is of {op.arity} activations with as many axes as it gives")
        return call.made(op.word, tuple(names))

    return rule


@once_known
def of_records() -> dict[Any, Rule]:
    """The rules of what the records of functions of one element spell: modules, functions and methods."""
    ops = [op for op in all_ops().values() if op.table or op.steps]
    rules = {op.word: function_of_one(op.word) if op.table else function_of_several(op) for op in ops}
    spellings = [(name, op.word) for op in ops for name in op.spellings.get("torch", ())]
    return {target: rules[word] for name, word in spellings for target in called_as(name)}
