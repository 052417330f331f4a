"""What each Keras layer is in nodes of a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import BATCH_NORM, Batch, Node, Shape
from mpq_plugins.graph.ops import spelled
from mpq_plugins.graph.weights import from_framework
from mpq_plugins.graph.windows import same_padding
from mpq_tfmot.keras import tf
from mpq_tfmot.reader import moving
from mpq_tfmot.reader.float_functions import of_activation, of_call, of_layer
from mpq_tfmot.reader.functions import CLAMPS, function_node, name_of, unknown

NOTHING = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "ActivityRegularization",
)
Sample = tuple[int, ...]
"""A shape for one sample."""


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    name: of the node that gives its output. owner: of the first call of the same layer, which its weight is named
    after. inputs: the nodes that it reads. in_shapes, shape: of one sample. kernel: the weight, where it is not the
    layer's own. node: Keras' record of the call. index: of the output, where there are several.
    """

    layer: Any
    node: Any
    name: str
    owner: str
    inputs: tuple[str, ...]
    in_shapes: Sequence[Sample]
    shape: Sample
    kernel: Any = None
    index: int | None = None

    @property
    def kind(self) -> str:
        """The name of the layer's class."""
        return type(self.layer).__name__

    @property
    def parts(self) -> list[Part]:
        """The tensors that it reads."""
        return [Part(name, self.whole(shape)) for name, shape in zip(self.inputs, self.in_shapes, strict=True)]

    def whole(self, shape: Sample | None = None) -> Shape:
        """The shape of the output (or another one) with the batch."""
        return (Batch(), *(self.shape if shape is None else shape))


FUNCTION_LAYERS = ("TFOpLambda", "SlicingOpLambda")
"""The layers that Keras makes of TensorFlow's functions."""


def nodes_of(call: Call) -> list[Node]:
    """The nodes of one call of a layer, the last of which gives its output; none for a layer that does nothing."""
    kind, layer = call.kind, call.layer
    if kind in NOTHING or (kind == "Activation" and name_of(layer.activation) == "linear"):
        return []
    if kind in _WEIGHTED:
        return _activated([_weighted(call)], call)
    if kind in ("SeparableConv2D", "SeparableConv1D"):
        return _activated(_separable(call), call)
    if kind.startswith("BatchNormalization") or kind == "SyncBatchNormalization":
        return [Node(call.name, BATCH_NORM, call.inputs, call.whole(), attrs=_statistics(call))]
    if kind == "Activation":
        return _activated([], call)
    if kind in FUNCTION_LAYERS:
        moves = moving.called(call.name, call.parts, str(layer.symbol), call.node, call.whole(), call.index)
        return [_called(call)] if moves is None else moves
    if kind in moving.LAYERS:
        return moving.moved(call.name, call.parts, moving.LAYERS[kind], layer, call.whole()) or []
    made = _UNWEIGHTED.get(kind)
    node = made(call) if made else None
    if node is not None:
        return [node]
    described = of_layer(layer, len(call.inputs), len(call.in_shapes[0]) + 1)
    held = sum(int(np.prod(weight.shape)) for weight in layer.weights if len(weight.shape) > 1)
    return [unknown(call.name, call.inputs, call.whole(), kind, described={**described, "weights": held})]


def call_again(layer: Any, name: str, tensors: Sequence[Any]) -> Any:
    """Call a new layer of the same configuration, under a name."""
    fresh = type(layer).from_config({**layer.get_config(), "name": name})
    return fresh(tensors[0] if len(tensors) == 1 else list(tensors))


def recall(node: Any, tensors: Sequence[Any]) -> Any:
    """Call a function layer again with other tensors in the place of those that it was called with."""
    by_id = {id(old): new for old, new in zip(node.keras_inputs, tensors, strict=True)}
    args, kwargs = tf.nest.map_structure(lambda a: by_id.get(id(a), a), (node.call_args, node.call_kwargs))
    return node.layer(*args, **kwargs)


def evaluator(layer: Any) -> Callable[..., Any]:
    """What a layer computes outside of training, from its tensors one by one."""
    options = {"training": False} if getattr(layer, "_expects_training_arg", False) else {}
    return lambda *x: layer(x[0] if len(x) == 1 else list(x), **options)


_WEIGHTED = {
    "Conv1D": "conv1d",
    "Conv2D": "conv2d",
    "DepthwiseConv1D": "depthwise_conv1d",
    "DepthwiseConv2D": "depthwise_conv2d",
    "Conv2DTranspose": "conv_transpose2d",
    "Dense": "linear",
}


def _weighted(call: Call) -> Node:
    layer, op = call.layer, _WEIGHTED[call.kind]
    kernel = call.kernel
    if kernel is None:
        kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel
    own = _array(kernel)
    bias = _array(layer.bias) if layer.use_bias else None
    if op == "linear":
        return _node(call, op, own, bias, {})
    _check_convolution(layer, call.name, call.kind, own)
    return _node(call, op, own, bias, _geometry(layer, op, own.shape, call.in_shapes[0], call.shape))


def _node(
    call: Call, op: str, own: Any, bias: Any, attrs: dict[str, Any], name: str = "", shape: Sample | None = None
) -> Node:
    weight = from_framework(op, "NHWC", own, attrs.get("groups", 1))
    layer = None if call.owner == call.name else call.owner
    return Node(name or call.name, op, call.inputs, call.whole(shape), weight, bias, layer=layer, attrs=attrs)


def _geometry(layer: Any, op: str, kernel: Sample, in_shape: Sample, out_shape: Sample) -> dict[str, Any]:
    """stride, padding, dilation and groups in numbers. Strides of a depthwise kernel are equal in both directions."""
    sizes = kernel[: len(kernel) - 2]
    stride, dilation = tuple(layer.strides), tuple(layer.dilation_rate)
    groups = 1
    if op.startswith("depthwise"):
        stride, groups = (max(stride),) * len(sizes), kernel[-2]
    inside, outside = in_shape[:-1], out_shape[:-1]
    if op == "conv_transpose2d":
        padding = tuple(
            _cropping((n - 1) * s + k, out, layer.padding == "same")
            for n, s, k, out in zip(inside, stride, sizes, outside, strict=True)
        )
    elif layer.padding == "same":
        padding = tuple(same_padding(*each) for each in zip(inside, sizes, stride, dilation, strict=True))
    else:
        padding = ((0, 0),) * len(sizes)
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def _cropping(whole: int, wanted: int, same: bool) -> tuple[int, int]:
    before = max(whole - wanted, 0) // 2 if same else 0
    return before, whole - wanted - before


def _check_convolution(layer: Any, name: str, kind: str, weight: Any) -> None:
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise UnsupportedOp(f"{name}: channels_first convolutions do not run on LiteRT; build it channels_last")
    if layer.padding not in ("same", "valid"):
        raise UnsupportedOp(
            f"{name}: padding {layer.padding!r} is none of LiteRT's; pad with ZeroPadding and use 'valid'"
        )
    if getattr(layer, "groups", 1) != 1:
        raise UnsupportedOp(
            f"{name}: a convolution in {layer.groups} groups; only depthwise and full ones run in integers"
        )
    if kind.startswith("Depthwise") and weight.shape[-1] != 1:
        raise UnsupportedOp(
            f"{name}: a depthwise multiplier of {weight.shape[-1]}; only 1 is known here. Repeat the input's channels "
            "with a 1x1 convolution instead"
        )
    if kind == "Conv2DTranspose" and (set(layer.dilation_rate) != {1} or layer.output_padding is not None):
        raise UnsupportedOp(f"{name}: LiteRT's transposed convolution has neither dilation nor output_padding")


def _separable(call: Call) -> list[Node]:
    layer, flat = call.layer, "1d" if len(call.shape) == 2 else "2d"
    own = _array(layer.depthwise_kernel)
    _check_convolution(layer, call.name, "DepthwiseConv2D", own)
    middle = (*call.shape[:-1], call.in_shapes[0][-1])
    op = f"depthwise_conv{flat}"
    attrs = _geometry(layer, op, own.shape, call.in_shapes[0], middle)
    depthwise = _node(call, op, own, None, attrs, f"{call.name}.depthwise", middle)
    ones = len(attrs["stride"])
    plain = {"stride": (1,) * ones, "padding": ((0, 0),) * ones, "dilation": (1,) * ones, "groups": 1}
    bias = _array(layer.bias) if layer.use_bias else None
    weight = from_framework(f"conv{flat}", "NHWC", _array(layer.pointwise_kernel))
    name = f"{call.name}.pointwise"
    return [depthwise, Node(name, f"conv{flat}", (depthwise.name,), call.whole(), weight, bias, attrs=plain)]


def _activated(nodes: list[Node], call: Call) -> list[Node]:
    """The nodes followed by the layer's activation function, named after the layer if it is all that there is."""
    function = name_of(call.layer.activation)
    if function == "linear":
        return nodes
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


def _of_two(call: Call) -> Node | None:
    """An op of two tensors of as many axes, sizes of one repeated; Keras itself lines up tensors of other shapes."""
    word = spelled("keras")[call.layer.symbol if call.kind == "TFOpLambda" else call.kind].word
    alike = len(call.inputs) == 2 and len(call.in_shapes[0]) == len(call.in_shapes[1])
    return Node(call.name, word, call.inputs, call.whole()) if alike else None


def _concat(call: Call) -> Node:
    axis = int(call.layer.axis) % (len(call.shape) + 1)
    return Node(call.name, "concat", call.inputs, call.whole(), attrs={"axis": axis})


def _pool(call: Call) -> Node:
    layer = call.layer
    kernel, stride = tuple(layer.pool_size), tuple(layer.strides)
    padding = ((0, 0),) * len(kernel)
    if layer.padding == "same":
        padding = tuple(same_padding(*each) for each in zip(call.in_shapes[0][:-1], kernel, stride, strict=True))
    attrs: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding}
    if call.kind.startswith("Max"):
        return Node(call.name, "max_pool", call.inputs, call.whole(), attrs={**attrs, "dilation": (1,) * len(kernel)})
    return Node(call.name, "avg_pool", call.inputs, call.whole(), attrs={**attrs, "counts_padding": False})


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


def _upsample(call: Call) -> Node | None:
    layer = call.layer
    if getattr(layer, "interpolation", "nearest") != "nearest":
        return None
    size = (layer.size,) if isinstance(layer.size, int) else tuple(layer.size)
    return Node(call.name, "upsample", call.inputs, call.whole(), attrs={"times": (1, *map(int, size), 1)})


_UNWEIGHTED: dict[str, Callable[[Call], Node | None]] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ThresholdedReLU": _thresholded_relu,
    **dict.fromkeys([name for name, op in spelled("keras").items() if op.arity == 2], _of_two),
    "Concatenate": _concat,
    **dict.fromkeys(["MaxPooling2D", "MaxPooling1D", "AveragePooling2D", "AveragePooling1D"], _pool),
    **dict.fromkeys(["GlobalAveragePooling2D", "GlobalAveragePooling1D"], _global_average),
    **dict.fromkeys(["ZeroPadding2D", "ZeroPadding1D"], _pad),
    **dict.fromkeys(["Reshape", "Flatten"], _reshape),
    "Permute": _permute,
    **dict.fromkeys(["UpSampling2D", "UpSampling1D"], _upsample),
}


def _called(call: Call) -> Node:
    """A TensorFlow function that was called on Keras tensors."""
    symbol = str(call.layer.symbol)
    what = symbol.split(".")[-1]
    described = of_call(symbol, call.node.keras_inputs, call.node.call_args, call.node.call_kwargs)
    made = _of_two(call) if symbol in _UNWEIGHTED else None
    if made is not None:
        return made
    if len(call.inputs) == 1 and (what not in CLAMPS or symbol.startswith("nn.")):
        attrs = {"approximate": bool(call.node.call_kwargs.get("approximate", False))} if what == "gelu" else {}
        again = partial(recall, call.node)
        return function_node(call.name, call.inputs, call.whole(), what, lambda x: again([x]), attrs, described)
    return unknown(call.name, call.inputs, call.whole(), symbol, described=described)


def _statistics(call: Call) -> dict[str, Any]:
    layer, channels = call.layer, call.shape[-1]
    axis = list(layer.axis) if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if axis != [len(call.shape)] and axis != [-1]:
        raise UnsupportedOp(f"{call.name}: a batch norm along axis {axis}; only the last axis can be folded")
    return {
        "gamma": _array(layer.gamma) if layer.scale else np.ones(channels),
        "beta": _array(layer.beta) if layer.center else np.zeros(channels),
        "mean": _array(layer.moving_mean),
        "variance": _array(layer.moving_variance),
        "epsilon": float(layer.epsilon),
        "axis": len(call.shape),
    }


def _array(variable: Any) -> Any:
    return np.asarray(variable.numpy(), dtype=np.float64)
