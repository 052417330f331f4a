"""QuantizeConfig: how TF-MOT quantizes one layer onto power-of-two grids."""

from __future__ import annotations

from typing import Any

import tensorflow_model_optimization as tfmot

from mpq_plugins import plugins
from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_tfmot.quantizers import GridQuantizer

Base = tfmot.quantization.keras.QuantizeConfig
KERNELS = ("depthwise_kernel", "kernel")
UNSIGNED = ("relu", "relu6", "sigmoid", "hard_sigmoid", "softplus", "exponential")
Bits = int | None


class QuantizeConfig(Base):  # type: ignore[misc]
    """Power-of-two grids for the weight and the output of a layer.

    method: "msqe", whose thresholds follow the tensors while training.
    weight_bits, activation_bits: None leaves that tensor in float.
    per_channel: one step per output channel of the weight.
    weight_grid, activation_grid: fixed grids (a recipe's); they go before bits.

    ``quantize_annotate_layer(layer, QuantizeConfig(weight_bits=4, activation_bits=8))``
    Raises MPQError for bits to be searched while training, which method msqe cannot.
    """

    def __init__(
        self,
        method: str = "msqe",
        weight_bits: Bits = 8,
        activation_bits: Bits = 8,
        per_channel: bool = True,
        weight_grid: Grid | dict[str, Any] | None = None,
        activation_grid: Grid | dict[str, Any] | None = None,
    ) -> None:
        plugins.method(method)
        for name, bits in (("weight_bits", weight_bits), ("activation_bits", activation_bits)):
            if bits is not None and not isinstance(bits, int):
                raise MPQError(
                    f"{name}={bits!r}: method {method!r} trains at fixed bits, one number per layer; search for bits "
                    "with mpq_tfmot.search, and quantize with the recipe"
                )
        self.method = method
        self.weight_bits, self.activation_bits, self.per_channel = weight_bits, activation_bits, per_channel
        self.weight_grid, self.activation_grid = _grid(weight_grid), _grid(activation_grid)

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        """The kernel with its quantizer."""
        name = kernel_name(layer)
        if name is None or (self.weight_grid is None and self.weight_bits is None):
            return []
        return [(getattr(layer, name), self._weight_quantizer(name, layer))]

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        """The softmax of a layer: TF-MOT then quantizes what it reads. Other functions belong to the output."""
        if not _ends_in_softmax(layer) or not self._quantizes_output():
            return []
        return [(layer.activation, self._output_quantizer(layer))]

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """Let the layer compute with the quantized kernel."""
        if quantize_weights:
            setattr(layer, str(kernel_name(layer)), quantize_weights[0])

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """Let the layer compute with the quantized activation."""
        if quantize_activations:
            layer.activation = quantize_activations[0]

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        """The quantizer of the layer's output, its activation function included."""
        if _ends_in_softmax(layer) or not self._quantizes_output():
            return []
        return [self._output_quantizer(layer)]

    def get_config(self) -> dict[str, Any]:
        """Everything the constructor takes, as plain values."""
        return {
            "method": self.method,
            "weight_bits": self.weight_bits,
            "activation_bits": self.activation_bits,
            "per_channel": self.per_channel,
            "weight_grid": _plain(self.weight_grid),
            "activation_grid": _plain(self.activation_grid),
        }

    def without_output(self) -> QuantizeConfig:
        """The same for the weight alone."""
        return QuantizeConfig(self.method, self.weight_bits, None, self.per_channel, self.weight_grid)

    def of_output(self) -> QuantizeConfig:
        """The same for the output alone."""
        return QuantizeConfig(self.method, None, self.activation_bits, activation_grid=self.activation_grid)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QuantizeConfig) and self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]  # compared by value

    def _quantizes_output(self) -> bool:
        return self.activation_grid is not None or self.activation_bits is not None

    def _weight_quantizer(self, name: str, layer: Any) -> GridQuantizer:
        if self.weight_grid is not None:
            return GridQuantizer.of(self.weight_grid, weight=True)
        rank = getattr(layer, name).shape.rank
        before_last = name == "depthwise_kernel" or type(layer).__name__ == "Conv2DTranspose"
        axis = (rank - 2 if before_last else rank - 1) if self.per_channel else None
        return GridQuantizer(self.weight_bits, True, axis, weight=True)

    def _output_quantizer(self, layer: Any) -> GridQuantizer:
        if self.activation_grid is not None:
            return GridQuantizer.of(self.activation_grid)
        function = getattr(layer, "activation", None)
        rectified = type(layer).__name__ == "ReLU" or getattr(function, "__name__", "") in UNSIGNED
        return GridQuantizer(self.activation_bits, not rectified)


def kernel_name(layer: Any) -> str | None:
    """The attribute that holds the weight of a layer; None where it has none."""
    return next((name for name in KERNELS if hasattr(layer, name)), None)


def _ends_in_softmax(layer: Any) -> bool:
    function = getattr(layer, "activation", None)
    function = getattr(function, "activation", function)
    return getattr(function, "__name__", "") == "softmax"


def _grid(grid: Grid | dict[str, Any] | None) -> Grid | None:
    if isinstance(grid, dict):
        return Grid(grid["bits"], tuple(grid["steps"]), grid["signed"], grid["narrow"], grid["axis"])
    return grid


def _plain(grid: Grid | None) -> dict[str, Any] | None:
    if grid is None:
        return None
    return {
        "bits": grid.bits,
        "steps": list(grid.steps),
        "signed": grid.signed,
        "narrow": grid.narrow,
        "axis": grid.axis,
    }
