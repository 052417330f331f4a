"""TensorFlow's functions, called on Keras tensors, that are what layers of Keras are too."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.runner import Sides, Sizes
from mpq_plugins.graph.windows import same_padding
from mpq_tfmot.reader.call import Call
from mpq_tfmot.reader.record import is_symbol

Given = Mapping[str, Any]
"""The arguments of a call by TensorFlow's names."""


def called(call: Call) -> Node | None:
    """The node of a call of a function; None where no record describes it."""
    rule = RULES.get(str(call.layer.symbol))
    if rule is None:
        return None
    given = inspect.signature(call.layer.function).bind(*call.node.call_args, **call.node.call_kwargs)
    given.apply_defaults()
    plain = {name: value for name, value in given.arguments.items() if name != "name"}
    return rule(call, plain)


def _made(call: Call, op: str, attrs: Mapping[str, Any] | None = None, **fields: Any) -> Node:
    return Node(call.name, op, call.inputs, call.whole(), attrs=attrs or {}, **fields)


def _rank(call: Call) -> int:
    return len(call.in_shapes[0]) + 1


def _concat(call: Call, given: Given) -> Node | None:
    axis = given["axis"]
    if not isinstance(axis, int) or len(call.inputs) != len(given["values"]):
        return None
    return _made(call, "concat", {"axis": axis % _rank(call)}) if axis % _rank(call) else None


def _reshape(call: Call, given: Given) -> Node | None:
    """Of the first tensor: sizes that the model computes are tensors too."""
    known = not any(size is None for size in call.shape)
    return replace(_made(call, "reshape"), inputs=call.inputs[:1]) if known or len(call.inputs) == 1 else None


def _pad(call: Call, given: Given) -> Node | None:
    if str(given["mode"]).upper() != "CONSTANT" or given["constant_values"] != 0:
        return None
    pads = tuple((int(before), int(after)) for before, after in np.asarray(given["paddings"]))
    return None if any(pads[0]) else _made(call, "pad", {"pads": pads})


def _clip(call: Call, given: Given) -> Node | None:
    bounds = [_number(given[f"clip_value_{name}"]) for name in ("min", "max")]
    return None if None in bounds else _made(call, "clamp", low=bounds[0], high=bounds[1])


def _number(value: Any) -> float | None:
    """A constant that is one number; None for others."""
    if value is None or isinstance(value, str) or is_symbol(value) or np.size(value) != 1:
        return None
    return float(np.reshape(np.asarray(value), ()))


def _bound(which: str) -> Callable[[Call, Given], Node | None]:
    """The larger, or the smaller, of a tensor and a number."""

    def rule(call: Call, given: Given) -> Node | None:
        numbers = [number for value in given.values() if (number := _number(value)) is not None]
        if not len(numbers) == 1 == len(call.inputs):
            return None
        bound: dict[str, Any] = {which: numbers[0]}
        return _made(call, "clamp", **bound)

    return rule


def _transpose(call: Call, given: Given) -> Node | None:
    order = given["perm"]
    if order is None or len(call.inputs) > 1 or int(order[0]) != 0:
        return None
    return _made(call, "transpose", {"order": tuple(int(axis) for axis in order)})


def _pool(op: str) -> Callable[[Call, Given], Node | None]:
    def rule(call: Call, given: Given) -> Node | None:
        known = given.get("data_format") in (None, "NHWC") and isinstance(given["padding"], str)
        if not known or len(call.in_shapes[0]) != 3:
            return None
        return pooled(call, op, _pair(given["ksize"]), _pair(given["strides"]), given["padding"])

    return rule


def pooled(call: Call, op: str, kernel: Sizes, stride: Sizes, padding: str) -> Node:
    """A max_pool or an avg_pool, which counts no padding; padding: as Keras or TensorFlow calls it."""
    sides: Sides = ((0, 0),) * len(kernel)
    if padding.upper() == "SAME":
        sides = tuple(same_padding(*each) for each in zip(call.in_shapes[0][:-1], kernel, stride, strict=True))
    more = {"dilation": (1,) * len(kernel)} if op == "max_pool" else {"counts_padding": False}
    return _made(call, op, {"kernel": kernel, "stride": stride, "padding": sides, **more})


def _pair(sizes: Any) -> tuple[int, int]:
    listed = [int(size) for size in np.atleast_1d(np.asarray(sizes))]
    rows, columns = listed[1:3] if len(listed) == 4 else listed * (2 // len(listed))
    return rows, columns


RULES: dict[str, Callable[[Call, Given], Node | None]] = {
    "concat": _concat,
    **dict.fromkeys(["reshape", "squeeze", "compat.v1.squeeze", "expand_dims"], _reshape),
    **dict.fromkeys(["pad", "compat.v1.pad"], _pad),
    "clip_by_value": _clip,
    "math.maximum": _bound("low"),
    "math.minimum": _bound("high"),
    **dict.fromkeys(["transpose", "compat.v1.transpose"], _transpose),
    **dict.fromkeys(["nn.max_pool2d", "nn.max_pool"], _pool("max_pool")),
    **dict.fromkeys(["nn.avg_pool2d", "nn.avg_pool"], _pool("avg_pool")),
}
