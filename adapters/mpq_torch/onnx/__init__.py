"""ONNX for torch models: ``export`` a recipe as QuantizeLinear / DequantizeLinear, ``verify`` it in onnxruntime.

Needs the extra ``[onnx]``. Search with ``target="onnxruntime"`` (``mpq_torch.fx.search``, ``constrain``
and ``simulate`` as for any target).
"""

from mpq_torch.onnx.exporting import export
from mpq_torch.onnx.verification import verify

__all__ = ["export", "verify"]
