"""Running exported files by their runtimes' own interfaces, and judging what comes out."""

from __future__ import annotations

import numpy as np

FLOAT_ENDS = 1e-5


def judged(outputs, wanted, ends, verified):
    """Whether converted outputs are the simulation's; those of a float end may differ in their last digits.

    verified: what ``verify`` said of the same outputs.
    """
    verdict = "verified" if verified else "not verified"
    if all(np.array_equal(a, b) for a, b in zip(outputs, wanted, strict=True)) and not ends:
        return f"as simulated, {verdict}"
    if ends and all(np.allclose(a, b, atol=FLOAT_ENDS) for a, b in zip(outputs, wanted, strict=True)):
        return f"as simulated up to the float end, {verdict}"
    return f"not as simulated, {verdict}"


def run_onnx(content, inputs, way):
    """The outputs of an ONNX file in onnxruntime; way: "optimized" or "as written"."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if way == "optimized" else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def run_litert(content, inputs, kernels):
    """The outputs of a .tflite file; kernels: "xnnpack" or "builtin"."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if kernels == "xnnpack" else OpResolverType.BUILTIN_REF
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver, num_threads=1)
    details = interpreter.get_input_details()
    for detail, array in zip(details, inputs, strict=True):
        interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail, array in zip(details, inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
