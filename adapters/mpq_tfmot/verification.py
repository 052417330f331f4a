"""Does a LiteRT model give exactly the numbers that were simulated, and if not, where not?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError, PluginError
from mpq_plugins.silence import silenced
from mpq_plugins.verification import Verification
from mpq_tfmot.arithmetic import XNNPACK, zero_point_of
from mpq_tfmot.canonical import last_integer_ops
from mpq_tfmot.canonical_ops import FLOAT
from mpq_tfmot.keras import keras
from mpq_tfmot.simulation import Simulation

BATCH = 64


def interpreter(flat: bytes, kernels: str = XNNPACK) -> Any:
    """The LiteRT interpreter of a model; kernels: "xnnpack" or "builtin". Raises PluginError without LiteRT."""
    try:
        with silenced("stderr"):
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        raise PluginError("LiteRT is not installed; install it with: pip install ai-edge-litert") from None
    resolver = OpResolverType.AUTO if kernels == XNNPACK else OpResolverType.BUILTIN_REF
    with silenced("stderr"):
        return Interpreter(model_content=flat, experimental_op_resolver_type=resolver, num_threads=1)


def run_litert(flat: bytes, inputs: Any, kernels: str = XNNPACK, batch_size: int = BATCH) -> list[NDArray[Any]]:
    """The outputs of a LiteRT model on NumPy inputs (an array, or a list of them), computed batch by batch."""
    arrays = [np.asarray(a, np.float32) for a in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
    runner = interpreter(flat, kernels)
    details = runner.get_input_details()
    parts: list[list[NDArray[Any]]] = []
    size = None
    for start in range(0, len(arrays[0]), batch_size):
        chunk = [a[start : start + batch_size] for a in arrays]
        if len(chunk[0]) != size:
            size = len(chunk[0])
            for detail, array in zip(details, chunk, strict=True):
                runner.resize_tensor_input(detail["index"], array.shape)
            with silenced("stderr"):
                runner.allocate_tensors()
        for detail, array in zip(details, chunk, strict=True):
            runner.set_tensor(detail["index"], array)
        runner.invoke()
        parts.append([runner.get_tensor(d["index"]) for d in runner.get_output_details()])
    return [np.concatenate(p) for p in zip(*parts, strict=True)]


def verify(flat: bytes, simulated: Any, inputs: Any, kernels: str | None = None) -> Verification:
    """Compare a LiteRT model with its simulation, element by element.

    flat: what ``to_litert`` returned. simulated: what ``simulate`` returned, or the TF-MOT model that
    was converted. inputs: an array [N, ...], or a list of them.
    kernels: what runs it; by default those of the simulation's target.
    Where the model ends in float (softmax), the last integer tensors are compared.
    """
    if isinstance(simulated, keras.Model):
        from mpq_tfmot.api import simulate
        from mpq_tfmot.hardening import harden

        simulated = simulate(simulated, harden(simulated, freeze=False))
    if not isinstance(simulated, Simulation):
        raise ModelError("verify needs what mpq_tfmot.simulate returned, or a quantized model, as its second argument")
    kernels = kernels or simulated.kernels
    names = integer_outputs(flat, simulated)
    got = run_litert(with_outputs(flat, names), inputs, kernels)
    wanted = _simulated(simulated, names, inputs)
    mismatched = off_by_one = elements = 0
    largest = 0.0
    for name, codes, values in zip(names, got, wanted, strict=True):
        grid = simulated.grid(simulated.model[name])
        difference = codes.astype(np.int64) - zero_point_of(grid) - np.rint(values / grid.steps[0])
        elements += difference.size
        mismatched += int(np.count_nonzero(difference))
        off_by_one += int(np.count_nonzero(np.abs(difference) == 1))
        largest = max(largest, float(np.abs(difference).max(initial=0)) * grid.steps[0])
    first = first_difference(flat, simulated, inputs, kernels) if mismatched else None
    return Verification(not mismatched, largest, mismatched, elements, first, off_by_one)


def first_difference(flat: bytes, simulated: Simulation, inputs: Any, kernels: str) -> str | None:
    """The first op, in the order of execution, whose codes differ."""
    tensors = tensor_names(flat)
    names = [op.name for op in simulated.model.ops if op.kind != FLOAT and op.name in tensors]
    got = run_litert(with_outputs(flat, names), inputs, kernels)
    for name, codes, values in zip(names, got, _simulated(simulated, names, inputs), strict=True):
        grid = simulated.grid(simulated.model[name])
        if not np.array_equal(codes.astype(np.int64) - zero_point_of(grid), np.rint(values / grid.steps[0])):
            return name
    return None


def integer_outputs(flat: bytes, simulated: Simulation) -> list[str]:
    """The ops whose int8 tensors are compared; a ReLU that clips nothing has no tensor of its own."""
    tensors = tensor_names(flat)
    found = []
    for name in last_integer_ops(simulated.model):
        while name not in tensors and simulated.model[name].kind == "relu":
            name = simulated.model[name].inputs[0]
        found.append(name)
    return list(dict.fromkeys(found))


def tensor_names(flat: bytes) -> set[str]:
    """Names of all tensors of a flatbuffer."""
    graph = _unpacked(flat).subgraphs[0]
    return {tensor.name.decode() for tensor in graph.tensors}


def with_outputs(flat: bytes, names: list[str]) -> bytes:
    """The same model with other tensors as its outputs."""
    import flatbuffers

    model = _unpacked(flat)
    graph = model.subgraphs[0]
    index = {tensor.name.decode(): i for i, tensor in enumerate(graph.tensors)}
    missing = [name for name in names if name not in index]
    if missing:
        raise ModelError(f"the LiteRT model has no tensor {', '.join(missing)}; it was made from another model")
    graph.outputs = [index[name] for name in names]
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(flat))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _unpacked(flat: bytes) -> Any:
    from tensorflow.lite.python import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(bytearray(flat), 0)


def _simulated(simulated: Simulation, names: list[str], inputs: Any) -> list[NDArray[Any]]:
    arrays = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    parts = []
    for start in range(0, len(arrays[0]), BATCH):
        values = simulated.run([a[start : start + BATCH] for a in arrays])
        parts.append([np.asarray(values[name]) for name in names])
    return [np.concatenate(p) for p in zip(*parts, strict=True)]
