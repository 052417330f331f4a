"""Activation functions of Keras and TensorFlow as records of ops, and the proof that they compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mpq_plugins.graph.node import UNKNOWN, Node, Shape
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.ops import op_of, spelled
from mpq_tfmot.keras import tf

CLAMPS: dict[str, tuple[float | None, float | None]] = {"relu": (0.0, None), "relu6": (0.0, 6.0)}
WITH_ATTRS: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu_tanh": ("gelu", {"approximate": True}),
    "exp": ("exponential", {}),
    "leaky_relu": ("LeakyReLU", {"slope": 0.2}),
}
"""Names that say more than a record's: its spelling, and the attrs."""
PROBES = np.linspace(-8.0, 8.0, 65, dtype=np.float32)
TOLERANCE = 1e-4


def name_of(activation: Any) -> str:
    """The name of an activation function or object; "linear" for none."""
    if activation is None:
        return "linear"
    if type(activation).__name__ in ("QuantizeAwareActivation", "NoOpActivation"):
        activation = getattr(activation, "activation", None)
    return str(getattr(activation, "__name__", type(activation).__name__))


def function_node(
    name: str,
    inputs: tuple[str, ...],
    shape: Shape,
    what: str,
    compute: Callable[[Any], Any],
    attrs: Mapping[str, Any] | None = None,
    described: Mapping[str, Any] | None = None,
) -> Node:
    """The node of a function of one element that Keras calls ``what``.

    compute: the function itself. A function of a known name that computes something else is "unknown", as is a
    function of no known name; described: what is known of it then.
    """
    if what in CLAMPS:
        low, high = CLAMPS[what]
        return Node(name, "clamp", inputs, shape, low=low, high=high)
    what, implied = WITH_ATTRS.get(what, (what, {}))
    attrs = {**implied, **(attrs or {})}
    found = spelled("keras").get(what)
    if found is None or not found.table:
        return unknown(name, inputs, shape, what, described=described)
    node = Node(name, found.word, inputs, shape, attrs=attrs)
    if not _computes(node, compute):
        return unknown(name, inputs, shape, what, f"it is called {what} and computes another function", described)
    return node


def is_known(what: str) -> bool:
    """Whether a name is that of a function of one element."""
    found = spelled("keras").get(WITH_ATTRS.get(what, (what,))[0])
    return what in CLAMPS or what == "linear" or (found is not None and found.table)


def attributes(what: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The attrs of the record of a function of TensorFlow, from the arguments that it is called with."""
    if what == "gelu":
        return {"approximate": bool(kwargs.get("approximate", args[1] if len(args) > 1 else False))}
    if what == "leaky_relu":
        return {"slope": float(kwargs.get("alpha", args[1] if len(args) > 1 else 0.2))}
    return {}


def is_function(layer: Any) -> bool:
    """Whether a layer without weights has the name of a record of a function of one element, as a vendor's own may."""
    found = spelled("keras").get(type(layer).__name__)
    return found is not None and found.table and not layer.weights


def unknown(
    name: str,
    inputs: tuple[str, ...],
    shape: Shape,
    what: str,
    reason: str | None = None,
    described: Mapping[str, Any] | None = None,
) -> Node:
    """A node that no record describes. what: in a word. described: its function and arguments, where they are known,
    and how many elements its weights have."""
    attrs = {"what": what, "reason": reason or f"no integer kernel for {what}", **(described or {})}
    return Node(name, UNKNOWN, inputs, shape, attrs=attrs)


def _computes(node: Node, compute: Callable[[Any], Any]) -> bool:
    """Whether a function gives the values of the node's record, but for float32's rounding, wherever it has any."""
    try:
        got = np.asarray(compute(tf.constant(PROBES)), np.float64)
    except Exception:  # a function that does not take such a tensor is none of one element
        return False
    wanted = op_of(node).value(NUMPY_RUNNER, node, PROBES.astype(np.float64))
    if got.shape != wanted.shape:
        return False
    has = np.isfinite(got)
    return bool(has.any() and np.allclose(got[has], wanted[has], rtol=TOLERANCE, atol=TOLERANCE))
