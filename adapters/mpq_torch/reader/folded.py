"""Which calls of a traced model are constants of the graph: what it computes from nothing but its own tensors."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F
from torch import fx

from mpq_torch.reader.float_calls import Spread
from mpq_torch.reader.shape_values import computes_sizes
from mpq_torch.reader.shapes import FILLED, Observed

OF_TWO = (
    *(operator.add, operator.iadd, torch.add, "add", "add_"),
    *(operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_"),
    *(operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_"),
    *(torch.maximum, torch.minimum, torch.max, torch.min, "maximum", "minimum", "max", "min"),
)
"""Sums, products and the like, whose operands may have one sample for all, and fewer axes."""
CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)
PAIRS = (F.grid_sample, torch.grid_sampler, torch.ops.aten.grid_sampler.default)
"""Functions that pair the samples of their operands, and have no record."""
SPREADING = (*OF_TWO, *CONCATENATIONS, *PAIRS)
"""Functions that take a constant of one sample for one that is repeated for every sample."""


def folds(node: fx.Node, observed: Observed) -> bool:
    """Whether a call is a constant of the graph.

    What the model has for every sample is one sample of it, for those that spread it over theirs.
    """
    value = observed.constants.get(node)
    if value is None or not value.is_floating_point() or not value.dim() or node.target in FILLED:
        return False
    return node not in observed.repeated or all(_spreads(user, observed) for user in node.users)


def _spreads(user: fx.Node, observed: Observed) -> bool:
    inside = user in observed.constants and (user not in observed.repeated or folds(user, observed))
    return inside or computes_sizes(user, ()) or user.target in SPREADING


def missing_axes(node: fx.Node, observed: Observed, axes: int) -> int:
    """How many axes a constant of so many lacks in front, where sums and products of more alone read it."""
    ranks = (len(observed.shapes.get(user, ())) if user.target in OF_TWO else 0 for user in node.users)
    return max(0, min(ranks, default=0) - axes)


def spread(node: fx.Node, observed: Observed) -> dict[fx.Node, Spread]:
    """The constants that a function in float reads for every sample, by what has all of them."""
    if node.target not in (*CONCATENATIONS, *PAIRS):
        return {}
    constants = [source for source in node.all_input_nodes if source in observed.repeated and folds(source, observed)]
    others = [source for source in node.all_input_nodes if source not in observed.constants]
    if not others:
        return {}
    axes = len(observed.shapes[others[0]])
    return {source: Spread(others[0], axes, observed.constants[source].dim() - 1) for source in constants}
