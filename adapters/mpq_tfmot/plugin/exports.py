"""The files that ``mpq export`` makes of a Keras model."""

from __future__ import annotations

from mpq_plugins.workspace.runtime_files import formats
from mpq_tfmot.convert import constrain

EXPORTS = formats(
    "mpq_tfmot",
    constrain,
    {
        "litert": "LiteRT flatbuffer of integer ops; input and output are float32",
        "onnx": "ONNX with QuantizeLinear and DequantizeLinear, channels last",
    },
)
"""By the name that ``--to`` takes."""
