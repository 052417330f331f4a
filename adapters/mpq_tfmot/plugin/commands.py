"""What the command line does with a Keras model: see mpq_plugins.workspace.command_protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpq_plugins.graph.node import INPUT
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.hardware.target import Target
from mpq_plugins.integers.program import Program
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_plugins.search.measurement import Measurements
from mpq_plugins.terminal.progress import stage
from mpq_plugins.workspace.command_protocol import Measured
from mpq_plugins.workspace.runtime_files import compared, written
from mpq_tfmot import api
from mpq_tfmot.calibration.batches import Batch, as_batches, as_chunks
from mpq_tfmot.integer_program import integers as lower
from mpq_tfmot.integer_program import verify_integers
from mpq_tfmot.keras import FRAMEWORK, keras, tf
from mpq_tfmot.plugin.exports import EXPORTS
from mpq_tfmot.plugin.layer_noise import site_values
from mpq_tfmot.reader.reading import read_model

__all__ = [
    "EXPORTS",
    "batches",
    "constrain",
    "fingerprint",
    "integers",
    "inventory",
    "load_model",
    "measure",
    "site_values",
    "verify",
]


def load_model(path: Path) -> Any:
    """The model of a .keras or .h5 file, without its optimizer; TF-MOT's layers are known."""
    from mpq_tfmot.training.scheme import quantize_scope

    with quantize_scope():
        return keras.models.load_model(path, compile=False)


def batches(model: Any, calibration: Any, keep_float: Sequence[str] = ()) -> list[Batch]:
    """Calibration data as tuples of float32 arrays, after a check that their shapes fit the model."""
    return as_batches(calibration, read_model(model, keep_float).graph.arguments)


def fingerprint(model: Any, batches: Sequence[Batch], keep_float: Sequence[str] = ()) -> str:
    """SHA-256 of the model's configuration, its weights, the data, and TensorFlow's version."""
    digest = hashlib.sha256(f"{tf.__version__} {keras.__version__}".encode())
    config = {key: value for key, value in model.get_config().items() if key != "name"}  # Keras counts its models
    digest.update(json.dumps(config, sort_keys=True, default=repr).encode())
    for node in read_model(model, keep_float).graph.nodes:
        for weight in (node.weight, node.bias):
            _update(digest, weight)
    for batch in batches:
        for array in batch:
            _update(digest, array)
    return digest.hexdigest()


def inventory(
    model: Any, batches: Sequence[Batch], keep_float: Sequence[str] = (), target: Target | None = None
) -> Inventory:
    """All sites of the model; signs of its inputs are those of the data."""
    graph = read_model(model, keep_float, target=target).graph
    lowest = {
        node.name: min(float(batch[index].min()) for batch in batches) for index, node in enumerate(graph.arguments)
    }
    signed = {node.site: lowest.get(node.inputs[0], -1.0) < 0 for node in graph.nodes if node.op == INPUT}
    return take_sites(graph, signed).inventory


def measure(
    model: Any,
    batches: Sequence[Batch],
    check: Callable[[Inventory], None],
    keep_float: Sequence[str] = (),
    progress: bool | None = None,
    target: Target | None = None,
    memory: int | None = None,
    kept: Path | None = None,
) -> Measured:
    """One forward and one backward pass of the float model."""
    with stage("reading the model", progress):
        reading = read_model(model, keep_float, target=target, refusing=True)
    sites = take_sites(reading.graph)
    check(sites.inventory)
    chunks = as_chunks(list(batches), reading, memory=memory)
    measured = Measurements(reading.graph, sites, reading.runner, chunks, progress, memory=memory, kept=kept)
    measured.check_gradients()
    return Measured(measured, FRAMEWORK)


def constrain(model: Any, recipe: Recipe, batches: Sequence[Batch]) -> Any:
    """The float model on the recipe's grids."""
    return api.constrain(model, recipe, list(batches))


def integers(on_grid: Any, recipe: Recipe, batches: Sequence[Batch]) -> tuple[Program, Verification]:
    """The model as integers, and a comparison of what NumPy computes from them with the simulation."""
    program = lower(on_grid, recipe)
    return program, verify_integers(program, on_grid, recipe, list(batches))


def verify(on_grid: Any, recipe: Recipe, batches: Sequence[Batch]) -> Verification:
    """The LiteRT or, for onnxruntime, the ONNX model against its simulation, on the batches."""
    found = compared("mpq_tfmot", on_grid, recipe, batches)
    # LiteRT says of the target of another framework why it does not run it
    return written("mpq_tfmot", "litert", on_grid, recipe, batches)[1] if found is None else found


def _update(digest: Any, array: Any) -> None:
    if array is not None:
        plain = np.ascontiguousarray(array)
        digest.update(f"{plain.dtype}{plain.shape}".encode())
        digest.update(plain.tobytes())
