"""Modules that a written model is made of, and torch's own layers taken apart so that they can be quantized."""
