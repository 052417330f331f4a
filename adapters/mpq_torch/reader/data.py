"""A model together with calibration data that go through it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.evaluation import FloatModel
from mpq_plugins.targets import Target
from mpq_torch.batches import Batch, arguments_of, as_batches
from mpq_torch.reader.reading import Reading, read_model

SAMPLES = 4
TOLERANCE = 1e-3


def read_with_data(
    model: nn.Module, calibration: Iterable[Any] | Tensor, keep_float: Iterable[str] = (), target: Target | None = None
) -> tuple[Reading, list[Batch]]:
    """The model as a graph, and the calibration set as a list of batches.

    Raises as as_batches, read_model and check_reading do.
    """
    batches = as_batches(calibration, arguments_of(model))
    reading = read_model(model, batches[0], keep_float, target=target)
    check_reading(model, reading, batches[0])
    return reading, batches


def check_reading(model: nn.Module, reading: Reading, batch: Batch) -> None:
    """Raise ModelError where the graph and the model differ by more than rounding, as a fraction of the largest output.

    torch.fx records ``y += z`` as a new tensor and does not see writing into a view, so a model that
    reads the old name later is traced as another model.
    """
    few = tuple(t[:SAMPLES] if isinstance(t, Tensor) and t.dim() else t for t in batch)
    with torch.no_grad():
        returned = torch.utils._pytree.tree_flatten(copy.deepcopy(model).eval()(*few))[0]
        got = FloatModel(reading.graph, reading.runner).outputs(few)
    wanted = [leaf for leaf in returned if isinstance(leaf, Tensor)]
    for index, (a, b) in enumerate(zip(wanted, got, strict=True)):
        if not a.is_floating_point():
            continue
        scale = float(a.abs().max()) if a.numel() else 0.0
        difference = float((a - b).abs().max()) if a.numel() else 0.0
        if difference > TOLERANCE * scale:
            raise ModelError(
                f"traced by torch.fx, output {index} of the model differs by up to {difference:.3g}: look for in-place "
                "arithmetic (y += z) whose result is read under another name, or writing into a slice"
            )
