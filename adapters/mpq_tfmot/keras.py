"""TensorFlow and tf_keras, imported once: with the legacy Keras that TF-MOT works on, and in silence."""

from __future__ import annotations

import os

from mpq_plugins.terminal.silence import silenced

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with silenced("stderr"):
    import tensorflow as tf
    import tf_keras as keras

tf.get_logger().setLevel("ERROR")

FRAMEWORK = f"tensorflow {tf.__version__}, tf_keras {keras.__version__}"
"""What recipes say that they were found with."""

__all__ = ["FRAMEWORK", "keras", "tf"]
