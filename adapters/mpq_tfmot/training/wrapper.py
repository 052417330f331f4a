"""TF-MOT's wrapper of a quantized layer, which the .keras format can load again."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2

from mpq_plugins.errors import MPQError
from mpq_plugins.graph.accumulator import INT32_LIMIT
from mpq_tfmot.array_ops.ops import OPS
from mpq_tfmot.keras import tf

PREFIX = "quant_"


class QuantizeGridWrapper(QuantizeWrapperV2):  # type: ignore[misc]
    """QuantizeWrapperV2 whose variables are saved by name.

    TF-MOT 0.8 counts the variables of a wrapper differently before and after its layer is built, so the
    .keras format refuses to load what it saved.

    A layer with a quantized weight computes with its bias on the accumulator's steps, once they are known: the variable
    ``bias_steps``, [channels], of zeros before.
    """

    def build(self, input_shape: Any) -> None:
        """Build the layer and all variables."""
        super().build(input_shape)
        self.bias_steps = None
        # past Keras, for which it would be a variable of the wrapper too, frozen or not
        object.__setattr__(self, "_bias", getattr(self.layer, "bias", None) if self._weight_vars else None)
        if self._bias is not None:
            self.bias_steps = self.add_weight(
                "bias_steps",
                shape=self._bias.shape,
                initializer="zeros",
                trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                experimental_autocast=False,
            )
            self.round_bias(self.quantize_config.bias_steps)

    def round_bias(self, steps: Sequence[float] | NDArray[np.float64] | None) -> None:
        """From here on compute with the bias on these steps, one or one per channel; None leaves all as it is."""
        if self.bias_steps is not None and steps is not None:
            self.bias_steps.assign(tf.broadcast_to(tf.constant(steps, tf.float32), self.bias_steps.shape))

    def call(self, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        """What the layer computes, quantized."""
        # past Keras, which would take a variable for gone whose attribute is another tensor for a while
        layer: dict[str, Any] = self.layer.__dict__
        object.__setattr__(self, "_read", inputs)
        if self.bias_steps is None:
            return super().call(inputs, training, **kwargs)
        self.quantize_config.rounded_bias = self._rounded_bias
        try:
            return super().call(inputs, training, **kwargs)
        finally:
            layer["bias"] = self._bias

    def _rounded_bias(self) -> Any:
        bias, steps = tf.convert_to_tensor(self._bias), tf.convert_to_tensor(self.bias_steps)
        known = steps > 0
        limit = tf.constant(float(INT32_LIMIT))
        rounded = OPS.fake_quantize(bias, tf.where(known, steps, 1.0), -limit, limit)
        return tf.where(known, rounded, bias)

    def _make_quantizer_fn(self, quantizer: Any, x: Any, training: bool, quantizer_vars: Any) -> Any:
        return lambda: quantizer(x, training, weights=quantizer_vars, read=self._read)

    @property
    def trainable_weights(self) -> list[Any]:
        """TF-MOT's, without the weight of a layer that its user froze: only its grid is trained."""
        frozen = self._frozen()
        return [variable for variable in super().trainable_weights if id(variable) not in frozen]

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The others."""
        known = {id(variable) for variable in super().non_trainable_weights}
        frozen = [v for key, v in self._frozen().items() if key not in known]
        return [*super().non_trainable_weights, *frozen]

    def _frozen(self) -> dict[int, Any]:
        if self.layer.trainable:
            return {}
        return {id(weight): weight for weight, _, _ in getattr(self, "_weight_vars", ())}

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Store every variable of wrapper and layer under its own name."""
        for variable in self.weights:
            store[_short(variable)] = variable.numpy()

    def load_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Assign what ``save_own_variables`` stored. Raises MPQError where it is of another method or another phase."""
        missing = sorted({_short(variable) for variable in self.weights} - set(store.keys()))
        if missing:
            raise MPQError(
                f"layer {self.name!r}: the checkpoint has no {', '.join(missing[:3])}; it is of a model with another "
                "method, or with fixed grids (build the model as the checkpoint's was, and harden it if that was)"
            )
        for variable in self.weights:
            value = store[_short(variable)]
            if tuple(value.shape) != tuple(variable.shape):
                raise MPQError(
                    f"layer {self.name!r}: {_short(variable)} has the shape {tuple(value.shape)} in the checkpoint and "
                    f"{tuple(variable.shape)} here; it is of another model, or of a version before banks of grids, "
                    "whose searches cannot go on (harden it with that version, and start from the recipe)"
                )
            variable.assign(value)


def _short(variable: Any) -> str:
    return str(variable.name).split(":")[0].split("/")[-1]
