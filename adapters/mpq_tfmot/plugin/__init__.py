"""The TF-MOT adapter's plug-in: found by this distribution's own entry point. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.registry.adapter import Framework, PackagedAdapter, is_instance


class TfmotFramework(PackagedAdapter):
    """What the core knows of TF-MOT before TensorFlow is imported."""

    def __init__(self) -> None:
        super().__init__(
            name="tfmot",
            summary="TensorFlow Model Optimization on tf_keras, down to LiteRT",
            requirement="mpq-plugins[tfmot]",
            package="mpq_tfmot",
            facade="mpq_tfmot",
            needed={"tensorflow": "tensorflow", "tf_keras": "tf_keras", "tensorflow_model_optimization": "TF-MOT"},
            model_suffixes=(".keras", ".h5"),
            export_formats=("litert", "onnx"),
            environment={"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def owns(self, model: Any) -> bool:
        """Whether a model is Keras', of either generation: the adapter says what to do with a Keras 3 model."""
        return is_instance(model, "keras", "Model") or is_instance(model, "tf_keras", "Model")


@hookimpl
def mpq_register_frameworks(register: Callable[[Framework], None]) -> None:
    """Register tfmot."""
    register(TfmotFramework())
