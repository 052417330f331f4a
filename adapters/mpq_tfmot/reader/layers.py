"""What each Keras layer is in nodes of a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mpq_plugins.graph.node import BATCH_NORM, Node
from mpq_plugins.graph.ops import spelled
from mpq_tfmot.keras import keras
from mpq_tfmot.reader import arithmetic, moving
from mpq_tfmot.reader.arithmetic import normalization, of_function, of_layers, rescaling
from mpq_tfmot.reader.attention import of_attention, of_dot_attention, of_products
from mpq_tfmot.reader.attention_layer import HeadsAttention
from mpq_tfmot.reader.call import Call
from mpq_tfmot.reader.called import called, pooled
from mpq_tfmot.reader.einsum import einsum_dense
from mpq_tfmot.reader.float_functions import of_activation, of_call, of_layer
from mpq_tfmot.reader.float_macs import macs
from mpq_tfmot.reader.functional_layers import functional_layer
from mpq_tfmot.reader.functions import CLAMPS, attributes, function_node, is_function, name_of, unknown
from mpq_tfmot.reader.in_training import NOTHING
from mpq_tfmot.reader.local import KINDS as LOCAL
from mpq_tfmot.reader.local import locally_connected
from mpq_tfmot.reader.more_given import objection
from mpq_tfmot.reader.norms import along_another_axis, statistics
from mpq_tfmot.reader.own_tensors import constant_node
from mpq_tfmot.reader.record import Record, is_function_layer, recall, under
from mpq_tfmot.reader.weighted import WEIGHTED, separable, weighted
from mpq_tfmot.reader.written_layers import OfRecord, OwnTensor

NOTHING_CALLED = ("identity", "stop_gradient", "convert_to_tensor", "ensure_shape", "debugging.check_numerics")
"""TensorFlow's functions that do nothing."""
CASTS = ("cast", "saturate_cast")


def nodes_of(call: Call) -> list[Node]:
    """The nodes of one call of a layer, the last of which gives its output; none for a layer that does nothing."""
    kind, layer = call.kind, call.layer
    refused = "" if is_function_layer(layer) else objection(call)
    if refused:
        return [unknown(call.name, call.inputs, call.whole(), kind, refused, _held(call))]
    linear = kind == "Activation" and name_of(layer.activation) == "linear"
    if kind in NOTHING or kind == "ActivityRegularization" or linear:
        return []
    if isinstance(layer, OwnTensor):
        return [constant_node(call.name, layer.value.numpy())]
    if isinstance(layer, OfRecord):
        return [layer.read(call.name, call.inputs, call.whole())]
    if kind in WEIGHTED:
        return _checked(weighted(call), call)
    if kind in ("SeparableConv2D", "SeparableConv1D"):
        return _checked(separable(call), call)
    if kind in LOCAL:
        return _checked(locally_connected(call), call)
    if kind.startswith("BatchNormalization") or kind == "SyncBatchNormalization":
        found = statistics(call)
        if isinstance(found, str):
            return along_another_axis(call) or [unknown(call.name, call.inputs, call.whole(), kind, found)]
        return [Node(call.name, BATCH_NORM, call.inputs, call.whole(), attrs=found)]
    if kind == "Activation":
        return _activated([], call)
    if is_function_layer(layer):
        if str(layer.symbol) in NOTHING_CALLED or _casts_to_its_own(call):
            return []
        kernels = functional_layer(call)
        if kernels:
            return kernels
        moves = moving.called(call.name, call.parts, str(layer.symbol), call.node, call.whole(), call.index)
        return _called(call) if moves is None else moves
    if kind in moving.LAYERS:
        moves = moving.moved(call.name, call.parts, moving.LAYERS[kind], layer, call.whole())
        if moves is not None:
            return moves
    if kind == "EinsumDense":
        products = einsum_dense(call)
        if products:
            return _activated(products, call)
    if kind in arithmetic.LAYERS:
        made_of = of_layers(kind, call.name, call.inputs, [call.whole(shape) for shape in call.in_shapes], call.whole())
        if made_of:
            return made_of
    if kind == "MultiHeadAttention":
        attended = of_attention(call)
        if attended is not None:
            return attended
    made = _UNWEIGHTED.get(kind)
    node = made(call) if made else None
    if node is not None:
        return [node]
    described = of_layer(layer, len(call.inputs), len(call.in_shapes[0]) + 1)
    described = of_dot_attention(call) if kind == "Attention" else described
    several = spelled("keras").get(kind)
    if several is not None and several.steps and len(call.inputs) == several.arity and not layer.weights:
        return [Node(call.name, several.word, call.inputs, call.whole())]
    if len(call.inputs) == 1 and is_function(layer):
        return [function_node(call.name, call.inputs, call.whole(), kind, evaluator(layer), None, described)]
    if isinstance(layer, HeadsAttention):
        described = of_products(layer, len(call.inputs) > 3)
    return [unknown(call.name, call.inputs, call.whole(), kind, described={**described, **_held(call)})]


def _held(call: Call) -> dict[str, int]:
    """The attrs "weights", and "macs" where they are not one for each weight and position."""
    held = sum(int(np.prod(weight.shape)) for weight in call.layer.weights if len(weight.shape) > 1)
    return {"weights": held, **macs(call)}


def _casts_to_its_own(call: Call) -> bool:
    """Whether a cast gives the type that its tensor has, or images of 8 bits as floats."""
    symbols, made = call.node.keras_inputs, getattr(call.node.outputs, "dtype", None)
    if len(symbols) != 1 or made is None or str(call.layer.symbol).removeprefix("compat.v1.") not in CASTS:
        return False
    given = symbols[0].dtype
    return bool(given == made or (given.is_integer and given.size == 1 and made.is_floating))


def call_again(layer: Any, name: str, record: Record, tensors: Sequence[Any], **changed: Any) -> Any:
    """Call a new layer of the same configuration, under a name, with some options changed, as it was called."""
    fresh = type(layer).from_config({**layer.get_config(), "name": name, **changed})
    return recall(replace(record, layer=fresh), tensors)


def called_as(made: Any, name: str) -> Any:
    """The same call again, of a function or a layer of another name."""
    if isinstance(made, partial) and made.func is recall:
        return partial(recall, under(made.args[0], name))
    if isinstance(made, partial) and made.func is call_again:
        return partial(call_again, made.args[0], name, *made.args[2:])
    return made


def evaluator(layer: Any) -> Callable[..., Any]:
    """What a layer computes outside of training, from its tensors one by one."""
    options = {"training": False} if getattr(layer, "_expects_training_arg", False) else {}
    return lambda *x: layer(x[0] if len(x) == 1 else list(x), **options)


def _checked(made: list[Node] | str, call: Call) -> list[Node]:
    """The nodes with the layer's activation; of a layer that has no integer form, for the reason that is given, one
    node without a record that stands for both."""
    if not isinstance(made, str):
        return _activated(made, call)
    return [unknown(call.name, call.inputs, call.whole(), call.kind, made, _held(call))]


def _activated(nodes: list[Node], call: Call) -> list[Node]:
    """The nodes followed by the layer's activation function, named after the layer if it is all that there is."""
    activation = call.layer.activation
    function = name_of(activation)
    if function == "linear":
        return nodes
    if isinstance(activation, keras.layers.Layer) and type(activation).__name__ in ("Activation", *_ACTIVATIONS):
        inputs = (nodes[-1].name,) if nodes else call.inputs
        name = f"{call.name}.activation" if nodes else call.name
        return [*nodes, *nodes_of(replace(call, layer=activation, name=name, inputs=inputs, in_shapes=(call.shape,)))]
    name = f"{call.name}.activation" if nodes else call.name
    inputs = (nodes[-1].name,) if nodes else call.inputs
    described = of_activation(call.layer.activation, len(call.shape) + 1)
    return [*nodes, function_node(name, inputs, call.whole(), function, call.layer.activation, None, described)]


def _relu(call: Call) -> Node:
    layer = call.layer
    slope, threshold = float(layer.negative_slope), float(layer.threshold)
    high = None if layer.max_value is None else float(layer.max_value)
    if not slope and not threshold:
        return Node(call.name, "clamp", call.inputs, call.whole(), low=0.0, high=high)
    attrs = {"slope": slope, "threshold": threshold, "high": high}
    return Node(call.name, "threshold_relu", call.inputs, call.whole(), attrs=attrs)


def _leaky_relu(call: Call) -> Node:
    return Node(call.name, "leaky_relu", call.inputs, call.whole(), attrs={"slope": float(call.layer.alpha)})


def _thresholded_relu(call: Call) -> Node:
    attrs = {"slope": 0.0, "threshold": float(call.layer.theta), "high": None}
    return Node(call.name, "threshold_relu", call.inputs, call.whole(), attrs=attrs)


def _concat(call: Call) -> Node:
    axis = int(call.layer.axis) % (len(call.shape) + 1)
    return Node(call.name, "concat", call.inputs, call.whole(), attrs={"axis": axis})


def _pool(call: Call) -> Node:
    op = "max_pool" if call.kind.startswith("Max") else "avg_pool"
    return pooled(call, op, tuple(call.layer.pool_size), tuple(call.layer.strides), call.layer.padding)


def _global_average(call: Call) -> Node:
    attrs = {"axes": tuple(range(1, len(call.in_shapes[0]))), "keepdims": bool(call.layer.keepdims)}
    return Node(call.name, "global_avg_pool", call.inputs, call.whole(), attrs=attrs)


def _pad(call: Call) -> Node:
    padding = call.layer.padding
    sides = [padding] if call.kind.endswith("1D") else padding
    pads = ((0, 0), *(tuple(int(n) for n in pair) for pair in sides), (0, 0))
    return Node(call.name, "pad", call.inputs, call.whole(), attrs={"pads": pads})


def _reshape(call: Call) -> Node:
    return Node(call.name, "reshape", call.inputs, call.whole())


def _permute(call: Call) -> Node:
    order = (0, *(int(axis) for axis in call.layer.dims))
    return Node(call.name, "transpose", call.inputs, call.whole(), attrs={"order": order})


def _upsample(call: Call) -> Node:
    return Node(call.name, "upsample", call.inputs, call.whole(), attrs={"times": (1, int(call.layer.size), 1)})


_ACTIVATIONS = ("ReLU", "LeakyReLU", "ThresholdedReLU")
_UNWEIGHTED: dict[str, Callable[[Call], Node | None]] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ThresholdedReLU": _thresholded_relu,
    "ELU": lambda call: Node(call.name, "elu", call.inputs, call.whole(), attrs={"alpha": float(call.layer.alpha)}),
    "Rescaling": lambda call: rescaling(call.layer, call.name, call.inputs, call.whole()),
    "Normalization": lambda call: normalization(call.layer, call.name, call.inputs, call.whole()),
    "Concatenate": _concat,
    **dict.fromkeys(["MaxPooling2D", "MaxPooling1D", "AveragePooling2D", "AveragePooling1D"], _pool),
    **dict.fromkeys(["GlobalAveragePooling3D", "GlobalAveragePooling2D", "GlobalAveragePooling1D"], _global_average),
    **dict.fromkeys(["ZeroPadding3D", "ZeroPadding2D", "ZeroPadding1D"], _pad),
    **dict.fromkeys(["Reshape", "Flatten", "JoinedReshape"], _reshape),
    "Permute": _permute,
    "UpSampling1D": _upsample,
}


def _called(call: Call) -> list[Node]:
    """A TensorFlow function that was called on Keras tensors."""
    made = called(call)
    if made is not None:
        return [made]
    symbol = str(call.layer.symbol)
    what = symbol.split(".")[-1]
    described = of_call(symbol, call.node.keras_inputs, call.node.call_args, call.node.call_kwargs)
    if symbol in arithmetic.FUNCTIONS:
        node = call.node
        at = {id(tensor): name for tensor, name in zip(node.keras_inputs, call.inputs, strict=True)}
        shapes = [call.whole(shape) for shape in call.in_shapes]
        found = of_function(symbol, call.name, at, shapes, call.whole(), node.call_args, node.call_kwargs)
        reason = "only finite constants that are one number, or vary along the channels, have one"
        reason = f"{symbol} of these operands has no integer kernel; {reason}"
        return found or [unknown(call.name, call.inputs, call.whole(), symbol, reason, described)]
    if len(call.inputs) == 1 and (what not in CLAMPS or symbol.startswith("nn.")):
        attrs = attributes(what, call.node.call_args, call.node.call_kwargs)
        again = partial(recall, call.node)
        return [function_node(call.name, call.inputs, call.whole(), what, lambda x: again([x]), attrs, described)]
    return [unknown(call.name, call.inputs, call.whole(), symbol, described=described)]
