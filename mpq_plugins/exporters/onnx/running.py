"""Running an ONNX model in onnxruntime, and comparing it with what was simulated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.onnx.requirements import require
from mpq_plugins.exporters.onnx.writer import INTEGER_OUTPUTS, SITES
from mpq_plugins.verification import Verification

Array = NDArray[Any]


@dataclass(frozen=True)
class Simulated:
    """What a simulation gives for one batch, as float arrays of grid values.

    feeds: of the model, by the order of its inputs. ends: the outputs of the integer part. sites: by name, in the
    order of execution, each with its step.
    """

    feeds: Sequence[Array]
    ends: Sequence[Array]
    sites: Callable[[], Mapping[str, tuple[Array, float]]]


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


def compare(model: Any, batches: Iterable[Simulated], optimized: bool = True) -> Verification:
    """Compare an exported model in onnxruntime with its simulation, element by element.

    The ends of the integer part are compared; where they differ, every site of that batch, to name the first.
    """
    proto = load(model)
    ends = _metadata(proto, INTEGER_OUTPUTS)
    running = session(with_outputs(proto, ends), optimized)
    mismatched = elements = 0
    largest, first = 0.0, None
    for batch in batches:
        if len(ends) != len(batch.ends):
            raise ModelError(f"the ONNX model has {len(ends)} integer outputs, its simulation {len(batch.ends)}")
        different = 0
        for got, wanted in zip(run(running, batch.feeds, ends), batch.ends, strict=True):
            if got.shape != wanted.shape:
                raise ModelError(f"the ONNX model returns {list(got.shape)}, its simulation {list(wanted.shape)}")
            difference = np.abs(got.astype(np.float64) - wanted)
            elements += difference.size
            different += int(np.count_nonzero(difference))
            largest = max(largest, float(difference.max(initial=0)))
        if different:
            mismatched += different
            first = first or first_difference(proto, batch, optimized)
    return Verification(not mismatched, largest, mismatched, elements, first)


def first_difference(proto: Any, batch: Simulated, optimized: bool = True) -> str | None:
    """The first site, in the order of execution, whose codes differ; None where all are equal."""
    tensors = _metadata(proto, SITES)
    wanted = {site: value for site, value in batch.sites().items() if site in tensors}
    names = [tensors[site][0] for site in wanted]
    got = run(session(with_outputs(proto, names), optimized), batch.feeds, names)
    for (site, (values, step)), stored in zip(wanted.items(), got, strict=True):
        codes = stored.astype(np.int64) - tensors[site][1]
        if codes.shape != values.shape or not np.array_equal(codes, np.rint(values.astype(np.float64) / step)):
            return site
    return None


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
        else:
            raise ModelError(f"the ONNX model has no tensor {name!r}; it was made from another model")
    return copy


def _metadata(proto: Any, key: str) -> Any:
    for entry in proto.metadata_props:
        if entry.key == key:
            return json.loads(entry.value)
    raise ModelError("this ONNX model was not exported by mpq-plugins: it does not say which tensors to compare")
