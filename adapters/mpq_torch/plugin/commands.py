"""What the command line does with a torch model: see mpq_plugins.workspace.command_protocol."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mpq_plugins import plugins
from mpq_plugins.errors import ModelError
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.hardware.target import Target
from mpq_plugins.integers.program import Program
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_plugins.search.measurement import Measurements
from mpq_plugins.search.signs import signed_inputs
from mpq_plugins.terminal.progress import stage
from mpq_plugins.workspace.command_protocol import Measured
from mpq_plugins.workspace.runtime_files import compared
from mpq_torch import fx
from mpq_torch.calling.arguments import called, flat, rebuilt, takes_of
from mpq_torch.calling.batches import Batch, as_batches
from mpq_torch.integer_program import integers as lower
from mpq_torch.integer_program import verify_integers
from mpq_torch.plugin.exports import EXPORTS
from mpq_torch.plugin.layer_noise import site_values
from mpq_torch.reader.data import chunks_of, read_with_data
from mpq_torch.reader.exported_program import load_program
from mpq_torch.reader.reading import read_model

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


def load_model(path: Path) -> nn.Module:
    """The module of an exported program (.pt2, torch.export.save)."""
    return load_program(path)


def batches(model: nn.Module, calibration: Any, keep_float: Sequence[str] = ()) -> list[Batch]:
    """Calibration data as tuples of tensors, after one sample went through the model."""
    given = [calibration] if isinstance(calibration, (np.ndarray, Tensor, Mapping)) else calibration
    try:
        found = as_batches([_as_tensors(batch) for batch in given], takes_of(model))
    except TypeError as error:
        raise ModelError(f"calibration data are arrays or an iterable of batches: {error}") from error
    sample = rebuilt(found[0], lambda t: t[:1] if isinstance(t, Tensor) and t.dim() else t)
    try:
        with torch.no_grad():
            called(copy.deepcopy(model).eval(), sample)
    except Exception as error:
        shapes = ", ".join(str(tuple(t.shape)) if isinstance(t, Tensor) else type(t).__name__ for t in flat(found[0]))
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"calibration data of the shape {shapes} do not go through the model: {reason}") from error
    return found


def fingerprint(model: nn.Module, batches: Sequence[Batch], keep_float: Sequence[str] = ()) -> str:
    """SHA-256 of the traced model, its parameters and buffers, what stays float, the data, and torch's version."""
    digest = hashlib.sha256(torch.__version__.encode())
    reading = read_model(model, batches[0], keep_float)
    digest.update(reading.traced.code.encode() + " ".join(reading.graph.float_ops).encode())
    for name, value in reading.traced.state_dict().items():
        digest.update(name.encode())
        _update(digest, value)
    for batch in batches:
        for value in flat(batch):
            _update(digest, value)
    return digest.hexdigest()


def inventory(
    model: nn.Module, batches: Sequence[Batch], keep_float: Sequence[str] = (), target: Target | None = None
) -> Inventory:
    """All sites of the model."""
    return fx.inventory(model, batches[0], keep_float, target)


def measure(
    model: nn.Module,
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
        reading, given = read_with_data(model, batches, keep_float, target)
    sites = take_sites(reading.graph, signed_inputs(reading.graph, reading.runner, reading.given(given[0])))
    check(sites.inventory)
    chunks = chunks_of(reading, given, memory=memory)
    measured = Measurements(reading.graph, sites, reading.runner, chunks, progress, memory=memory, kept=kept)
    measured.check_gradients()
    return Measured(measured, f"torch {torch.__version__}")


def constrain(model: nn.Module, recipe: Recipe, batches: Sequence[Batch]) -> nn.Module:
    """The float model on the recipe's grids."""
    return fx.constrain(model, recipe, list(batches))


def integers(on_grid: nn.Module, recipe: Recipe, batches: Sequence[Batch]) -> tuple[Program, Verification]:
    """The model as integers, and a comparison of what NumPy computes from them with the simulation."""
    program = lower(on_grid, recipe, batches[0])
    return program, verify_integers(program, on_grid, recipe, list(batches))


def verify(on_grid: nn.Module, recipe: Recipe, batches: Sequence[Batch]) -> Verification:
    """The model, converted for what runs the recipe's target, against its simulation, on the batches."""
    found = compared("mpq_torch", on_grid, recipe, batches)
    if found is not None:
        return found
    runtime = plugins.target_of(recipe).runtime
    simulated = fx.simulate(on_grid, recipe, example_inputs=batches[0])
    if runtime is not None and runtime.engine == "pt2e":
        from mpq_torch import pt2e

        return pt2e.verify(pt2e.quantize(on_grid, recipe, batches[0]), simulated, list(batches))
    return fx.verify(fx.quantize(on_grid, recipe, batches[0]), simulated, list(batches))


def _as_tensors(batch: Any) -> Any:
    if isinstance(batch, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(batch))
    if isinstance(batch, (tuple, list)):
        return tuple(_as_tensors(part) for part in batch)
    if isinstance(batch, Mapping):
        return {name: _as_tensors(part) for name, part in batch.items()}
    return batch


def _update(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        array = value.detach().cpu().contiguous()
        digest.update(f"{array.dtype}{tuple(array.shape)}".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().tobytes() if array.numel() else b"")
    else:
        digest.update(repr(value).encode())
