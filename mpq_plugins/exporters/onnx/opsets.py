"""Which versions of ONNX's operator set can say what a quantized graph needs."""

from __future__ import annotations

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.onnx.requirements import require

OLDEST_OPSET = 21
"""The first with int4 in QuantizeLinear, DequantizeLinear and Cast."""


def check_opset(opset: int) -> None:
    """Raise ModelError unless ``opset`` is 21 or later and known to the installed onnx."""
    newest = require("onnx").defs.onnx_opset_version()
    if isinstance(opset, bool) or not isinstance(opset, int):
        raise ModelError(f"an opset is a number, for example {OLDEST_OPSET}, and not {opset!r}")
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"opset {opset} is too old: quantized graphs need {OLDEST_OPSET} or later, where QuantizeLinear, "
            f"DequantizeLinear and Cast know the 4-bit types; pass opset={OLDEST_OPSET}"
        )
    if opset > newest:
        raise ModelError(f"opset {opset} is newer than the installed onnx knows (up to {newest}); upgrade onnx")
