"""Running an ONNX model in onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.onnx.requirements import require

Array = NDArray[Any]


def load(model: Any) -> Any:
    """The ModelProto of a path, of bytes, or of itself. Raises ModelError where there is none to read."""
    onnx = require("onnx")
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        if isinstance(model, (str, PathLike)):
            model = Path(model).read_bytes()
        return onnx.load_model_from_string(bytes(model))
    except OSError as error:
        raise ModelError(f"cannot read the ONNX model {error.filename}: {error.strerror}") from None
    except Exception as error:
        raise ModelError(f"this is no ONNX model: {error}") from None


def session(model: Any, optimized: bool = True, threads: int = 1) -> Any:
    """An InferenceSession of onnxruntime on the CPU; optimized: with all of its graph optimizations, or none."""
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False  # it doubles to many times what large batches need, and keeps it
    levels = runtime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    return runtime.InferenceSession(load(model).SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(running: Any, feeds: Sequence[Array], names: Sequence[str] | None = None) -> list[Array]:
    """The outputs of a session. Raises ModelError where the inputs are not those of the model."""
    inputs = running.get_inputs()
    if len(inputs) != len(feeds):
        raise ModelError(f"the ONNX model takes {len(inputs)} inputs, got {len(feeds)}")
    for wanted, array in zip(inputs, feeds, strict=True):
        fits = len(wanted.shape) == array.ndim and all(
            size == given for size, given in zip(wanted.shape, array.shape, strict=True) if isinstance(size, int)
        )
        if not fits:
            raise ModelError(
                f"input {wanted.name!r} of the ONNX model has shape {wanted.shape}, got {list(array.shape)}; only "
                "dimensions with a name are dynamic: export again with an example of this shape"
            )
    feed = {wanted.name: np.asarray(array, np.float32) for wanted, array in zip(inputs, feeds, strict=True)}
    return list(running.run(names, feed))


def with_outputs(proto: Any, names: Sequence[str]) -> Any:
    """The same model with these tensors among its outputs."""
    onnx = require("onnx")
    inferred = onnx.shape_inference.infer_shapes(proto)
    known = {info.name: info for info in [*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input]}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    present = {info.name for info in copy.graph.output}
    for name in dict.fromkeys(names):
        if name in present:
            continue
        if name in constants:
            tensor = constants[name]
            copy.graph.output.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
        elif name in known:
            copy.graph.output.append(known[name])
        elif any(name in node.output for node in proto.graph.node):  # of an op whose shapes onnx does not infer
            copy.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        else:
            raise ModelError(f"the ONNX model has no tensor {name!r}; it was made from another model")
    return copy


def tail_of(proto: Any, ends: Sequence[str]) -> Any:
    """The part of a model that computes its other outputs from the tensors in ``ends``, which are its inputs.

    What it reads of the model's own inputs is an input too.
    """
    onnx = require("onnx")
    makers = {name: node for node in proto.graph.node for name in node.output}
    wanted = [info for info in proto.graph.output if info.name not in ends]
    reached: set[str] = set()
    front = [info.name for info in wanted]
    while front:
        name = front.pop()
        if name and name not in reached:
            reached.add(name)
            front += list(makers[name].input) if name in makers and name not in ends else []
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for part in ("node", "input", "output", "initializer", "value_info"):
        copy.graph.ClearField(part)
    copy.graph.node.extend(n for n in proto.graph.node if any(o in reached and o not in ends for o in n.output))
    copy.graph.initializer.extend(t for t in proto.graph.initializer if t.name in reached)
    inner = [name for name in ends if name in reached]
    infos = {info.name: info for info in with_outputs(proto, inner).graph.output}
    copy.graph.input.extend(infos[name] for name in inner)
    copy.graph.input.extend(info for info in proto.graph.input if info.name in reached and info.name not in inner)
    copy.graph.output.extend(wanted)
    return copy


def metadata(proto: Any, key: str, otherwise: Any = None) -> Any:
    """What an export noted about itself, or ``otherwise``. Raises ModelError for a model of other makers."""
    for entry in proto.metadata_props:
        if entry.key == key:
            return json.loads(entry.value)
    if otherwise is not None:
        return otherwise
    raise ModelError("this ONNX model was not exported by mpq-plugins: it does not say which tensors to compare")
