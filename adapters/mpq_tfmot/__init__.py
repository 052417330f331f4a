"""The TensorFlow Model Optimization adapter of mpq-plugins; TensorFlow is imported on first use."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "GridQuantizer": "training.quantizers",
    "KeepBest": "training.best",
    "QuantizeConfig": "training.quantize_config",
    "QuantizeScheme": "training.scheme",
    "SearchCallback": "training.search_callback",
    "constrain": "convert",
    "equalize": "calibration.equalized",
    "harden": "training.hardening",
    "integers": "integer_program",
    "inventory": "api",
    "measure_latency": "latency.measure",
    "quantize": "training.scheme",
    "quantize_scope": "training.scheme",
    "search": "api",
    "sensitivity": "calibration.sensitivities",
    "simulate": "convert",
    "sizes": "litert",
    "synthetic_inputs": "calibration.synthetic",
    "time_models": "latency.measure",
    "time_recipe": "latency.measure",
    "to_litert": "api",
    "to_onnx": "onnx",
    "Verification": "litert",
    "verify": "api",
    "verify_integers": "integer_program",
    "verify_onnx": "onnx",
}

__all__ = sorted([*_HOMES, "litert", "onnx"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES and name not in ("litert", "onnx"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        importlib.import_module("mpq_tfmot.keras")  # first of all: it silences TensorFlow and chooses its Keras
        module = importlib.import_module(f"mpq_tfmot.{_HOMES.get(name, name)}")
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("tensorflow", "tf_keras", "tensorflow_model_optimization"):
            from mpq_plugins.errors import PluginError

            raise PluginError(
                f"{error.name} is not installed; install with: pip install 'mpq-plugins[tfmot]'"
            ) from None
        raise
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
