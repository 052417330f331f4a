"""onnxruntime's CPU kernels on QuantizeLinear and DequantizeLinear graphs: half to even throughout."""

from mpq_plugins.graph.runtimes.runtime import Entry, Runtime

CPU = Runtime("onnxruntime", "cpu", Entry(by="reciprocal"), functions=("hardswish",))
RUNTIMES = (CPU,)
