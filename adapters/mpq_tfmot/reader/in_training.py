"""Layers that a model calls with training=True: they compute what they do in training, whenever the model is called."""

from __future__ import annotations

from typing import Any

from mpq_tfmot.keras import keras

NOTHING = (
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomHeight",
    "RandomRotation",
    "RandomTranslation",
    "RandomWidth",
    "RandomZoom",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)
"""Layers that do nothing outside of training."""
INFERRING_ALIKE = ("PruneLowMagnitude", "SpectralNormalization")
"""Wrappers that change weights in training, and outside of it compute what the layer in them does."""
IN_TRAINING = (
    "it is called with training=True, and so computes what it does in training whenever the model is called; call it "
    "without"
)


def changes_in_training(layer: Any) -> bool:
    """Whether a layer, or one that it holds, computes something else in training."""
    return any(map(_changes, layer._flatten_layers()))


def _changes(layer: Any) -> bool:
    kind = type(layer).__name__
    if isinstance(layer, keras.layers.BatchNormalization):
        return bool(layer.trainable)
    if kind in NOTHING or kind.startswith("Random"):
        return bool(getattr(layer, "rate", 1))
    return kind in INFERRING_ALIKE or bool(getattr(layer, "dropout", 0) or getattr(layer, "recurrent_dropout", 0))
