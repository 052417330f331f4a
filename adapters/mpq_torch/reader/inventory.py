"""The inventory of a torch model: what a recipe for it must give grids to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from mpq_plugins import plugins
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory
from mpq_plugins.search.signs import signed_inputs
from mpq_torch.calling.arguments import takes_of
from mpq_torch.calling.batches import as_batch
from mpq_torch.reader.reading import read_model


def inventory(
    model: nn.Module, example_inputs: Any, keep_float: Iterable[str] = (), target: str | Target | None = None
) -> Inventory:
    """All sites of a model: what a recipe for it must give grids to.

    example_inputs: a tensor, or a tuple of the model's arguments, with a batch axis. target: as of ``search``, since
    one may compute an op in several steps (torch's engines SiLU); None for a site per op.
    """
    example = as_batch(example_inputs, takes_of(model))
    reading = read_model(model, example, keep_float, target=None if target is None else plugins.target(target))
    return take_sites(reading.graph, signed_inputs(reading.graph, reading.runner, reading.given(example))).inventory
