"""QuantizeConfig: how TF-MOT quantizes one layer, onto fixed grids or onto those that a method trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
from numpy.typing import NDArray

from mpq_plugins.errors import MPQError
from mpq_plugins.graph.output_rounding import OutputRounding
from mpq_plugins.grid import Grid
from mpq_plugins.training.method import TrainingMethod
from mpq_tfmot.training.method_config import Described, describe, method_of
from mpq_tfmot.training.quantizers import OBSERVING, TRAINING, GridQuantizer

Base: Any = tfmot.quantization.keras.QuantizeConfig
KERNELS = ("depthwise_kernel", "kernel")
UNSIGNED = ("relu", "relu6", "sigmoid", "hard_sigmoid", "softplus", "exponential")
Bits = int | Sequence[int] | None


class QuantizeConfig(Base):  # type: ignore[misc]
    """Grids for the weight and the output of a layer.

    method: what trains the grids: the name of a training method, or one with hyper-parameters of your own.
    weight_bits, activation_bits: the bits, or increasing candidates for a method that searches; None
        leaves that tensor in float.
    per_channel: one step per output channel of the weight.
    weight_grid, activation_grid: fixed grids (a recipe's); they go before bits.
    activation_signed: whether the output goes below zero; None to tell by the layer's function.
    narrow: whether the weight's codes are symmetric about zero. seed: of the method's noise.
    observed: whether the method has started on the output; a search sets it.
    rounding, bias_steps: of fixed grids, what the target's runtime does: how the output is rounded, and the steps of
        the accumulator, one per channel, on which the bias lies. ``harden`` and a recipe's scheme set them.

    ``quantize_annotate_layer(layer, QuantizeConfig(method="hmq", weight_bits=(2, 4, 8), activation_bits=8))``
    ``quantize_apply(annotated, QuantizeScheme())`` folds batch norms, and quantizes the inputs. Without our scheme
    TF-MOT's own applies, which folds nothing, and drops the config of a layer whose ReLU is a layer of its own.
    Raises MPQError for candidates that are missing or do not increase, or that the method cannot choose from.
    """

    rounded_bias: Callable[[], Any] | None = None
    """What gives the bias that the layer computes with; of the wrapper that calls it."""

    def __init__(
        self,
        method: Described | TrainingMethod = "msqe",
        weight_bits: Bits = 8,
        activation_bits: Bits = 8,
        per_channel: bool = True,
        weight_grid: Grid | dict[str, Any] | None = None,
        activation_grid: Grid | dict[str, Any] | None = None,
        activation_signed: bool | None = None,
        narrow: bool = False,
        seed: int = 0,
        observed: bool = False,
        rounding: OutputRounding | dict[str, Any] | None = None,
        bias_steps: Sequence[float] | NDArray[np.float64] | None = None,
    ) -> None:
        self.rounding = OutputRounding.from_dict(rounding) if isinstance(rounding, dict) else rounding
        self.bias_steps = None if bias_steps is None else tuple(float(step) for step in bias_steps)
        self.weight_grid, self.activation_grid = _grid(weight_grid), _grid(activation_grid)
        self.weight_bits = candidate_bits("weight_bits", weight_bits)
        self.activation_bits = candidate_bits("activation_bits", activation_bits)
        self.per_channel, self.narrow, self.seed, self.observed = per_channel, narrow, seed, observed
        self.activation_signed = activation_signed
        self.method = method
        for name, bits, grid in (
            ("weight_bits", self.weight_bits, self.weight_grid),
            ("activation_bits", self.activation_bits, self.activation_grid),
        ):
            if grid is None and bits is not None:
                check_trains(method_of(method), name, bits)

    @property
    def method_name(self) -> str:
        """Name of the method."""
        return self.method["name"] if isinstance(self.method, dict) else getattr(self.method, "name", str(self.method))

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
        """Let the layer compute with the quantized kernel, and with its bias as its wrapper rounds it.

        The layer computes right behind: replicas, which share it and take turns where variables are set, do not meet.
        """
        if quantize_weights:
            setattr(layer, str(kernel_name(layer)), quantize_weights[0])
        if self.rounded_bias is not None:
            vars(layer)["bias"] = self.rounded_bias()

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
            "method": self.method if isinstance(self.method, dict) else describe(self.method),
            "weight_bits": _plain(self.weight_bits),
            "activation_bits": _plain(self.activation_bits),
            "per_channel": self.per_channel,
            "weight_grid": _plain(self.weight_grid),
            "activation_grid": _plain(self.activation_grid),
            "activation_signed": self.activation_signed,
            "narrow": self.narrow,
            "seed": self.seed,
            "observed": self.observed,
            "rounding": _plain(self.rounding),
            "bias_steps": _plain(self.bias_steps),
        }

    def but(self, **changes: Any) -> QuantizeConfig:
        """The same with other arguments."""
        own = {name: getattr(self, name) for name in self.get_config()}
        return type(self)(**{**own, **changes})

    def without_output(self) -> QuantizeConfig:
        """The same for the weight alone."""
        return self.but(activation_bits=None, activation_grid=None)

    def of_output(self) -> QuantizeConfig:
        """The same for the output alone."""
        return self.but(weight_bits=None, weight_grid=None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QuantizeConfig) and self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]  # compared by value

    def _quantizes_output(self) -> bool:
        return self.activation_grid is not None or self.activation_bits is not None

    def _weight_quantizer(self, name: str, layer: Any) -> GridQuantizer:
        if self.weight_grid is not None:
            return GridQuantizer.of(self.weight_grid, weight=True)
        assert self.weight_bits is not None, "without bits the weight stays float"
        rank = getattr(layer, name).shape.rank
        before_last = name == "depthwise_kernel" or type(layer).__name__ == "Conv2DTranspose"
        axis = (rank - 2 if before_last else rank - 1) if self.per_channel else None
        return GridQuantizer(
            self.weight_bits, True, axis, weight=True, method=self.method, narrow=self.narrow, seed=self.seed
        )

    def _output_quantizer(self, layer: Any) -> GridQuantizer:
        if self.activation_grid is not None:
            return GridQuantizer.of(self.activation_grid, rounding=self.rounding)
        assert self.activation_bits is not None, "without bits the output stays float"
        function = getattr(layer, "activation", None)
        rectified = type(layer).__name__ == "ReLU" or getattr(function, "__name__", "") in UNSIGNED
        signed = not rectified if self.activation_signed is None else self.activation_signed
        phase = TRAINING if self.observed else OBSERVING
        return GridQuantizer(self.activation_bits, signed, method=self.method, phase=phase, seed=self.seed)


def kernel_name(layer: Any) -> str | None:
    """The attribute that holds the weight of a layer; None where it has none."""
    return next((name for name in KERNELS if hasattr(layer, name)), None)


def candidate_bits(name: str, bits: Bits) -> tuple[int, ...] | None:
    """Bits as a tuple of candidates; raises MPQError where there are none or they do not increase."""
    if bits is None:
        return None
    found = (bits,) if isinstance(bits, int) else tuple(bits)
    if not found or any(not isinstance(b, int) for b in found):
        raise MPQError(f"{name}={bits!r}: give a number of bits, or several whole ones")
    if list(found) != sorted(set(found)):
        raise MPQError(f"{name}={bits!r}: candidate bit-widths must increase")
    return found


def check_trains(method: TrainingMethod, name: str, bits: Sequence[int]) -> None:
    """Raise MPQError where the method is to choose from several bit-widths and cannot."""
    if len(bits) > 1 and not method.searches_bits:
        raise MPQError(
            f"{name}={tuple(bits)}: method {method.name!r} trains at fixed bits, one number per layer; take a method "
            "that searches, or search with mpq_tfmot.search and quantize with the recipe"
        )


def _ends_in_softmax(layer: Any) -> bool:
    function = getattr(layer, "activation", None)
    function = getattr(function, "activation", function)
    return getattr(function, "__name__", "") == "softmax"


def _grid(grid: Grid | dict[str, Any] | None) -> Grid | None:
    return Grid(**grid) if isinstance(grid, dict) else grid


def _plain(value: Any) -> Any:
    """A tuple as the list that JSON has, a grid and a rounding as dicts; None as it is."""
    return list(value) if isinstance(value, tuple) else None if value is None else asdict(value)
