"""ONNX graphs of QuantizeLinear and DequantizeLinear: written from integer codes and grids, run, compared."""
