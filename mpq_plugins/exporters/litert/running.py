"""Running and timing a LiteRT file in its interpreter, batch by batch, with any of its tensors as results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.litert.flatbuffer import as_bytes, unpacked
from mpq_plugins.exporters.litert.requirements import require
from mpq_plugins.exporters.litert.writer import METADATA
from mpq_plugins.latency.clock import Timing, time_in_turns
from mpq_plugins.latency.measuring import ROUNDS
from mpq_plugins.terminal.silence import silenced

XNNPACK = "xnnpack"
RESOLVERS = {XNNPACK: "AUTO", "builtin": "BUILTIN_REF", "optimized": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}
"""LiteRT's kernels: of the delegate that it takes by default, for reference, and those that run without a delegate."""
BATCH = 64


def interpreter(flat: bytes, kernels: str = XNNPACK) -> Any:
    """The LiteRT interpreter of a model; kernels: a word of RESOLVERS.

    Raises ModelError for another word, and PluginError without LiteRT.
    """
    module = require("ai_edge_litert.interpreter")
    if kernels not in RESOLVERS:
        raise ModelError(f"LiteRT has no kernels {kernels!r}; it has {', '.join(RESOLVERS)}")
    resolver = getattr(module.OpResolverType, RESOLVERS[kernels])
    with silenced("stderr"):
        return module.Interpreter(model_content=flat, experimental_op_resolver_type=resolver, num_threads=1)


def on_random(flat: bytes, kernels: str, batch: int) -> Any:
    """The interpreter of a model with random inputs of so many samples, ready to be called again and again."""
    runner = interpreter(flat, kernels)
    for detail in runner.get_input_details():
        runner.resize_tensor_input(detail["index"], (batch, *detail["shape"][1:]))
    with silenced("stderr"):
        runner.allocate_tensors()
    random = np.random.default_rng(0)
    for detail in runner.get_input_details():
        shape, floats = tuple(detail["shape"]), detail["dtype"] is np.float32
        given = random.random(shape, np.float32) if floats else random.integers(-128, 128, shape, np.int8)
        runner.set_tensor(detail["index"], given)
    return runner


def time_models(
    flats: Mapping[str, bytes], kernels: str = XNNPACK, batch: int = 1, rounds: int = ROUNDS
) -> dict[str, Timing]:
    """End to end: seconds of a call of each LiteRT model (``litert.export``), in interleaved rounds."""
    return time_in_turns({name: on_random(flat, kernels, batch).invoke for name, flat in flats.items()}, rounds)


def run_litert(flat: bytes, inputs: Any, kernels: str = XNNPACK, batch_size: int = BATCH) -> list[NDArray[Any]]:
    """The outputs of a LiteRT model on NumPy inputs (an array, or a list of them), computed batch by batch."""
    given = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    runner = interpreter(flat, kernels)
    details = runner.get_input_details()
    arrays = [np.asarray(a, detail["dtype"]) for a, detail in zip(given, details, strict=True)]
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


def read(exported: str | PathLike[str] | bytes) -> bytes:
    """The bytes of a file, or these themselves. Raises ModelError for a file that cannot be read, and what is none."""
    if isinstance(exported, bytes):
        return exported
    if not isinstance(exported, (str, PathLike)):
        raise ModelError(f"a .tflite file is needed, or its bytes (what litert.export returned), got {type(exported)}")
    try:
        return Path(exported).read_bytes()
    except OSError as error:
        raise ModelError(f"{exported} cannot be read: {error.strerror or error}") from None


def tensor_names(flat: bytes) -> set[str]:
    """Names of all tensors of a file."""
    return {tensor.name.decode() for tensor in unpacked(flat).subgraphs[0].tensors}


def with_outputs(flat: bytes, names: Sequence[str]) -> bytes:
    """The same model with other tensors as its outputs. Raises ModelError for tensors that it does not have."""
    model = unpacked(flat)
    graph = model.subgraphs[0]
    index = {tensor.name.decode(): i for i, tensor in enumerate(graph.tensors)}
    missing = [name for name in names if name not in index]
    if missing:
        raise ModelError(f"the LiteRT model has no tensor {', '.join(missing)}; it was made from another model")
    graph.outputs = [index[name] for name in names]
    model.signatureDefs = []
    return as_bytes(model)


def facts_of(flat: bytes) -> dict[str, Any]:
    """What ``write_litert`` kept in a file. Raises ModelError for a file that it did not write."""
    try:
        model = unpacked(flat)
        entries = {entry.name.decode(): model.buffers[entry.buffer].data for entry in model.metadata or ()}
        found: dict[str, Any] = json.loads(bytes(entries[METADATA]))
    except Exception as error:  # a damaged flatbuffer raises whatever its bytes lead to
        raise ModelError(f"this is no LiteRT file that mpq-plugins wrote ({type(error).__name__}: {error})") from None
    return found
