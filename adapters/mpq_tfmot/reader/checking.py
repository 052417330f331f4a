"""Which models can be read."""

from __future__ import annotations

from typing import Any

from mpq_plugins.errors import ModelError
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.expanding import is_graph

STOCK = "tensorflow_model_optimization."
"""Where the configurations of TF-MOT's own 8 bits come from."""


def _check_wrappers(layers: list[Any]) -> None:
    """Raise ModelError for a model whose layers are in wrappers of TF-MOT's that compute something else than they do.

    Layers of TF-MOT's own 8 bits may stand beside others that have a quantizer of ours.
    """
    clustered = next((layer for layer in layers if type(layer).__name__ == "ClusterWeights"), None)
    if clustered is not None:
        raise ModelError(
            f"{clustered.name} holds the weights of its layer as clusters; pass "
            "tfmot.clustering.keras.strip_clustering of the model"
        )
    wrapped = [layer for layer in layers if getattr(layer, "quantize_config", None) is not None]
    if wrapped and all(type(layer.quantize_config).__module__.startswith(STOCK) for layer in wrapped):
        raise ModelError(
            f"{wrapped[0].name} is on the 8 bits that TF-MOT's own quantize_model or quantize_apply gave it; pass the "
            "float model that it was made of"
        )


def check_model(model: Any) -> None:
    """Raise ModelError, in one clear sentence, unless ``model`` is a tf_keras model whose shapes are known."""
    if isinstance(model, (keras.Sequential, keras.Model)):
        if isinstance(model, keras.Sequential) and not model.built:
            raise ModelError(
                f"the Sequential model {model.name!r} is not built, so its shapes are unknown; "
                "give it an Input layer or call model.build(input_shape)"
            )
        if isinstance(model, keras.Sequential) and not is_graph(model):
            raise ModelError(f"the model {model.name!r} has no static graph; give it an Input layer")
        _check_wrappers(list(model._flatten_layers(include_self=False)))
        return
    if type(model).__module__.split(".")[0] == "keras" or any(
        base.__module__.split(".")[0] == "keras" for base in type(model).__mro__
    ):
        raise ModelError(
            f"{type(model).__name__} {getattr(model, 'name', '')!r} is a Keras 3 model, and TF-MOT works on tf_keras "
            "(Keras 2) alone: build or load it with tf_keras (pip install tf_keras, and set TF_USE_LEGACY_KERAS=1 "
            "before TensorFlow is imported to have tf.keras mean it)"
        )
    raise ModelError(f"a tf_keras Sequential or Functional model is needed, got {type(model).__name__}")
