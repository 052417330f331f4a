"""Records that a model has no layer of its own for, as layers of Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.ops import op_of
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.runner.tensorflow_runner import TensorflowRunner

WRITTEN = (
    "slice",
    "reshape",
    "transpose",
    "concat",
    "pad",
    "max_pool",
    "avg_pool",
    "global_avg_pool",
    "upsample",
    "clamp",
)
"""Records that are written as they are, where no layer of the model's stands for one alone."""
RUNNER = TensorflowRunner({})


@keras.utils.register_keras_serializable("mpq_plugins")
class OfRecord(keras.layers.Layer):  # type: ignore[misc]
    """An op that Keras has no layer of. TF-MOT takes layers, and loses what functions are called with.

    op, attrs, low, high: as Node has them.
    """

    def __init__(self, op: str, attrs: Any = None, low: Any = None, high: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.record = Node(self.name, op, ("x",), low=low, high=high, attrs=_tuples(attrs or {}))

    def call(self, x: Any) -> Any:
        """The op, and its clamp."""
        y = op_of(self.record).value(RUNNER, self.record, *(x if isinstance(x, (list, tuple)) else [x]))
        y = y if self.record.low is None else RUNNER.maximum(y, self.record.low)
        return y if self.record.high is None else RUNNER.minimum(y, self.record.high)

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        record = self.record
        own = {"op": record.op, "attrs": dict(record.attrs), "low": record.low, "high": record.high}
        return {**super().get_config(), **own}

    def read(self, name: str, inputs: tuple[str, ...], shape: Any) -> Node:
        """The node that the layer was written from."""
        record = self.record
        return Node(name, record.op, inputs, shape, low=record.low, high=record.high, attrs=record.attrs)


@keras.utils.register_keras_serializable("mpq_plugins")
class JoinedReshape(keras.layers.Layer):  # type: ignore[misc]
    """A reshape that joins samples with other axes, or parts them again. sizes: of the other axes."""

    def __init__(self, sizes: Any, **options: Any) -> None:
        super().__init__(**options)
        self.sizes = tuple(int(size) for size in sizes)

    def call(self, x: Any) -> Any:
        """The same elements."""
        return tf.reshape(x, (-1, *self.sizes))

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return {**super().get_config(), "sizes": list(self.sizes)}


@keras.utils.register_keras_serializable("mpq_plugins")
class OwnTensor(keras.layers.Layer):  # type: ignore[misc]
    """A tensor of the model's own, one sample of it, whatever the layer is called on.

    shape: [1, ...].
    """

    def __init__(self, shape: Any, **options: Any) -> None:
        super().__init__(**options)
        self.value = self.add_weight("value", tuple(shape))

    def call(self, x: Any) -> Any:
        """The tensor."""
        return tf.convert_to_tensor(self.value)

    def get_config(self) -> dict[str, Any]:
        """What makes the layer again."""
        return {**super().get_config(), "shape": list(self.value.shape)}


def _tuples(value: Any) -> Any:
    """Lists, which JSON makes of tuples, as tuples again."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def clamp_layer(low: float | None, high: float | None, name: str) -> Any:
    """A clamp: a ReLU where it begins at zero."""
    return keras.layers.ReLU(high, name=name) if low == 0 else OfRecord("clamp", None, low, high, name=name)


def _is_padded(node: Node) -> bool:
    """Whether a max pooling has a border of its own."""
    return node.op == "max_pool" and any(side for sides in node.attrs["padding"] for side in sides)


def written(node: Node) -> Callable[[Any], Any] | None:
    """The layer of a record, by the node's name; None for one that is written otherwise."""
    a, layers = node.attrs, keras.layers
    made: Callable[[Any], Any] | None = None
    if node.op == "reshape":
        made = layers.Reshape(node.sample_shape, name=node.name)
    elif node.op == "transpose":
        made = layers.Permute(a["order"][1:], name=node.name)
    elif node.op == "concat":
        made = layers.Concatenate(a["axis"], name=node.name)
    elif node.op in ("pad", "slice", "avg_pool", "global_avg_pool", "matmul", "normalize", "softmax") or _is_padded(
        node
    ):
        made = OfRecord(node.op, dict(a), name=node.name)
    elif node.op == "leaky_relu":
        made = layers.LeakyReLU(a["slope"], name=node.name)
    elif node.op == "upsample":
        size = a["times"][1:-1]
        up = layers.UpSampling2D(size, name=node.name)
        made = up if len(size) == 2 else layers.UpSampling1D(*size, name=node.name)
    elif node.op == "max_pool":
        pool = (layers.MaxPooling1D, layers.MaxPooling2D)[len(a["kernel"]) - 1]
        made = pool(a["kernel"], a["stride"], name=node.name)
    return made
