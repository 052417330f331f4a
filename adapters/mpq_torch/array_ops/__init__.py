"""The array functions of trainable methods in torch, with gradients."""
