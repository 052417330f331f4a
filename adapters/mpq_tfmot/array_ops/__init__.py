"""The array functions of trainable methods in TensorFlow, with gradients."""
