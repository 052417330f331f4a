"""onnxruntime's CPU kernels on QuantizeLinear and DequantizeLinear graphs: half to even throughout."""

from mpq_plugins.graph.runtimes.runtime import Entry, Runtime

FRAMEWORK = "onnxruntime"
CPU = Runtime(FRAMEWORK, "cpu", Entry(by="reciprocal"), functions=("hardswish",))
RUNTIMES = (CPU,)
